"""Labels from corpus to corpus, and what must not be trained on because it is evaluated."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from core_models.errors import UsageError
from core_models.labels import (
    EMODB7,
    EMORYNLP7,
    IEMOCAP4,
    IEMOCAP6,
    LABEL_SETS,
    MCED5,
    MELD7,
    PLUTCHIK9,
    RAVDESS8,
    label_map,
)
from train.corpora.dialogues import Corpus, Dialogue, Utterance, groups_of, relabel, without_groups
from train.corpora.emodb import read_emodb
from train.corpora.emorynlp import read_emorynlp
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess

EMORY = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode,Start_Time,End_Time"


def labelled(*labels: str | None) -> Corpus:
    lines = tuple(Utterance(f"a{number}", "Al", "Hm.", label) for number, label in enumerate(labels))
    return Corpus("test", IEMOCAP6, (Dialogue("a", lines, "s01e01"),))


def write_emory(folder: Path, *rows: str, header: str = EMORY) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "emorynlp_train_final.csv").write_text("\n".join((header, *rows)), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("source", "twins", "without"),
    [
        (IEMOCAP6, {"happy": "joy", "excited": "joy", "sad": "sadness", "angry": "anger"}, ("frustrated",)),
        (EMORYNLP7, {"joyful": "joy", "mad": "anger", "scared": "fear"}, ("peaceful", "powerful")),
        (EMODB7, {"happiness": "joy", "fear": "fear"}, ("boredom",)),
        (RAVDESS8, {"calm": "neutral", "happy": "joy", "surprised": "surprise"}, ()),
    ],
)
def test_every_corpus_has_its_twins_among_the_seven(
    source: object, twins: dict[str, str], without: tuple[str, ...]
) -> None:
    """What means the same is mapped, what means something else is left without a twin."""
    found = label_map(source, MELD7)  # type: ignore[arg-type]
    assert twins.items() <= found.mapping.items()
    assert found.mapping["neutral"] == "neutral"
    assert found.unmapped == without
    assert all(label in found.describe() for label in without)


def test_maps_lead_into_known_labels_alone() -> None:
    """Every map gives labels of its target, and a set maps to itself unchanged."""
    for source, target in product(LABEL_SETS.values(), LABEL_SETS.values()):
        try:
            found = label_map(source, target)
        except UsageError:
            assert target not in (MELD7, MCED5, IEMOCAP6, IEMOCAP4, EMORYNLP7)
            continue
        assert set(found.mapping) <= set(source.labels)
        assert set(found.mapping.values()) <= set(target.labels)
    assert label_map(IEMOCAP6, IEMOCAP4).mapping["excited"] == "happy"
    assert label_map(MELD7, MELD7).describe() == "own"


def test_relabelling_counts_what_it_leaves_out(tmp_path: Path) -> None:
    """Lines without a twin stay as context, are counted by their label, and the map's name says so."""
    corpus, left_out, name = relabel(labelled("excited", "frustrated", None, "frustrated", "angry"), MELD7)
    assert [line.label for line in corpus.utterances()] == ["joy", None, None, None, "anger"]
    assert left_out == {"frustrated": 2}
    assert name == corpus.label_map
    assert "no twin for frustrated" in name
    assert (corpus.labels, relabel(corpus, MELD7)) == (MELD7, (corpus, {}, name))


def test_emorynlp_scenes_are_dialogues_of_their_episode(tmp_path: Path) -> None:
    """Scenes of different episodes are apart though their numbers agree; several speakers are one."""
    rows = (
        "Second.,['Ann'],Mad,1,2,1,15,00:00:02.000,00:00:03.000",
        "\"First, too.\",['Bob'],Neutral,1,1,1,15,00:00:01.000,00:00:02.000",
        "\"Both!\",\"['Ann', 'Bob']\",Powerful,1,1,2,3,00:00:01.000,00:00:02.000",
    )
    corpus = read_emorynlp(write_emory(tmp_path, *rows), "train")
    assert [(d.group, [(line.speaker, line.text, line.label) for line in d.utterances]) for d in corpus.dialogues] == [
        ("s01e15", [("Bob", "First, too.", "neutral"), ("Ann", "Second.", "mad")]),
        ("s02e03", [("Ann + Bob", "Both!", "powerful")]),
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("Hm.,['Ann'],Bored,1,1,1,1,0,0", "line 2 .*'bored' is not one of emorynlp7"),
        ("Hm.,Ann,Mad,1,1,1,1,0,0", "line 2 .*list of speakers"),
        ("Hm.,__import__('os'),Mad,1,1,1,1,0,0", "list of speakers"),
        ("Hm.,['Ann'],Mad,one,1,1,1,0,0", "line 2 .*'one'"),
        ("Hm.,['Ann'],Mad,1,1", "another number of fields"),
    ],
)
def test_malformed_emorynlp_ends_in_one_sentence(tmp_path: Path, row: str, sentence: str) -> None:
    """A file that is not EmoryNLP's names its line and what is wrong there."""
    with pytest.raises(UsageError, match=sentence):
        read_emorynlp(write_emory(tmp_path, row), "train")


def test_what_is_evaluated_is_dropped_from_training_by_episode(tmp_path: Path) -> None:
    """Scenes of an episode that MELD evaluates go, since both name the episode alike."""
    rows = ("Hm.,['Ann'],Mad,1,1,8,21,0,0", "Ah.,['Ann'],Sad,1,1,8,20,0,0")
    emory = read_emorynlp(write_emory(tmp_path, *rows), "train")
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    row = '1,Hm.,Ann,anger,negative,4,1,8,21,"00:16:21,940","00:16:23,442"'
    (tmp_path / "dev_sent_emo.csv").write_text(f"{header}\n{row}")
    kept = without_groups(emory, groups_of(read_meld(tmp_path, "dev")))
    assert [dialogue.group for dialogue in kept.dialogues] == ["s08e20"]


def test_emodb_names_say_who_feels_what(tmp_path: Path) -> None:
    """Speaker and emotion come from the name; other files are passed over; nothing left is one sentence."""
    for name in ("03a01Fa.wav", "08b02Lb.wav", "16a05Wc.wav", "notes.wav", "03a01Xa.wav"):
        (tmp_path / name).touch()
    corpus = read_emodb(tmp_path)
    assert [(d.group, d.utterances[0].label) for d in corpus.dialogues] == [
        ("03", "happiness"), ("08", "boredom"), ("16", "anger"),
    ]  # fmt: skip
    assert relabel(corpus, MELD7)[1] == {"boredom": 1}
    assert [d.group for d in read_emodb(tmp_path, {8}).dialogues] == ["08"]
    with pytest.raises(UsageError, match="03a01Fa"):
        read_emodb(tmp_path, {99})


def test_ravdess_keeps_its_own_eight_where_they_are_wanted(tmp_path: Path) -> None:
    """Calm is a class of its own among the eight, and neutral among the seven."""
    (tmp_path / "03-01-02-01-01-01-04.wav").touch()
    assert next(read_ravdess(tmp_path, labels=RAVDESS8).utterances()).label == "calm"
    assert next(read_ravdess(tmp_path).utterances()).label == "neutral"


@pytest.mark.corpora
def test_the_corpora_share_as_many_episodes_as_was_counted(corpora: Path) -> None:
    """Of EmoryNLP's 7,551 training lines, 5,647 are left once MELD dev's episodes are dropped."""
    emory, meld = read_emorynlp(corpora / "emorynlp", "train"), read_meld(corpora / "meld", "dev")
    kept = without_groups(emory, groups_of(meld))
    assert (len(list(emory.utterances())), len(list(kept.utterances()))) == (7551, 5647)
    assert not groups_of(kept) & groups_of(meld)


def test_candidates_follow_the_map() -> None:
    """Of several labels those with a twin stay, one that stays alone becomes the label, and none is counted."""
    several = (("anger", "trust"), ("anger", "fear"), ("anticipation", "trust"))
    utterances = tuple(Utterance(f"a{n}", "Al", "Hm.", candidates=names) for n, names in enumerate(several))
    corpus, left_out, _ = relabel(Corpus("test", PLUTCHIK9, (Dialogue("a", utterances),)), MELD7)
    assert [(u.label, u.candidates) for u in corpus.utterances()] == [
        ("anger", ()),
        (None, ("anger", "fear")),
        (None, ()),
    ]
    assert left_out == {"any of several labels": 1}
