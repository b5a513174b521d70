"""IEMOCAP: the owner's tree in, dialogues out, with all that is odd in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from core_models.errors import UsageError
from core_models.labels import IEMOCAP4, MELD7
from train.corpora.dialogues import by_end, relabel
from train.corpora.iemocap import read_iemocap
from train.corpora.registry import CorpusConfig, read_corpus

# (turn, start, end, judged, words); None: nobody judged it.
TURNS = {
    "Ses01F_impro01": [
        ("F000", 1.5, 4.25, "neu", "I am here about the form."),
        ("M000", 3.0, 3.5, "fru", "Which form?"),
        ("MXX0", 3.6, 3.9, None, "Next, please."),
        ("F001", 5.0, 6.0, "xxx", "The long one."),
        ("M001", 6.0, 8.0, "exc", "We have it!"),
    ],
    "Ses01M_script01_1": [("M000", 0.5, 2.0, "ang", "No."), ("F000", 2.0, 3.0, "sur", "No?")],
    "Ses02F_script03_2a": [("F000", 0.5, 2.0, "hap", "Yes."), ("M000", 2.0, 3.0, "sad", "I see.")],
}


def write_iemocap(root: Path, turns: dict[str, list[tuple[str, float, float, str | None, str]]] = TURNS) -> Path:
    """The full release's tree, with the leavings of a Mac, the judges' own lines and lines without times."""
    for name, said in turns.items():
        session = root / f"Session{int(name[3:5])}"
        judged, words = session / "dialog" / "EmoEvaluation", session / "dialog" / "transcriptions"
        for folder in (judged, words, judged / "Categorical"):
            folder.mkdir(parents=True, exist_ok=True)
        (judged / f"._{name}.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X")
        (judged / "Categorical" / f"{name}_e2_cat.txt").write_text(f"{name}_F000 :Anger; ()\n")
        rows = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        # The owner's file lists one speaker after the other; the transcription lists turns by their start.
        for turn, start, end, code, _ in sorted(said):
            if code is not None:
                rows += [f"[{start:.4f} - {end:.4f}]\t{name}_{turn}\t{code}\t[2.5000, 2.5000, 2.5000]"]
                rows += ["C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
        (judged / f"{name}.txt").write_text("\n".join(rows), encoding="cp1252")
        lines = [f"{name}_{turn} [{start:08.4f}-{end:08.4f}]: {text}" for turn, start, end, _, text in said]
        (words / f"{name}.txt").write_text("\n".join([*lines[:1], "M: [BREATHING]", *lines[1:], ""]), encoding="cp1252")
    return root


def test_turns_are_those_that_were_judged_in_the_transcriptions_order(tmp_path: Path) -> None:
    """Ids, words, speakers, times and labels are the owner's; others in the room and lines without times are none."""
    corpus = read_iemocap(write_iemocap(tmp_path))
    dialogue = corpus.dialogues[0]
    assert [(x.id[15:], x.speaker, x.text, x.label, x.start_ms, x.end_ms) for x in dialogue.utterances] == [
        ("F000", "F", "I am here about the form.", "neutral", 1500, 4250),
        ("M000", "M", "Which form?", "frustrated", 3000, 3500),
        ("F001", "F", "The long one.", None, 5000, 6000),
        ("M001", "M", "We have it!", "excited", 6000, 8000),
    ]
    assert [(d.id, d.group, d.style) for d in corpus.dialogues] == [
        ("Ses01F_impro01", "1", "improvised"),
        ("Ses01M_script01_1", "1", "scripted"),
        ("Ses02F_script03_2a", "2", "scripted"),
    ]


def test_live_order_is_by_the_end_of_turns(tmp_path: Path) -> None:
    """A turn that began earlier and ended later stands after what was said meanwhile."""
    root = write_iemocap(tmp_path)
    live = read_corpus(CorpusConfig(corpus="iemocap", root=root, order="end")).dialogues[0]
    assert [line.id[15:] for line in live.utterances] == ["M000", "F000", "F001", "M001"]
    assert by_end(live) == live


def test_four_classes_count_excitement_as_happiness(tmp_path: Path) -> None:
    """Of four classes, happy holds the excited, and the frustrated have no label."""
    corpus = read_iemocap(write_iemocap(tmp_path), IEMOCAP4)
    assert Counter(line.label for line in corpus.utterances()) == {
        "neutral": 1, "happy": 2, "angry": 1, "sad": 1, None: 3,
    }  # fmt: skip


def test_sound_and_film_are_found_where_they_are(tmp_path: Path) -> None:
    """A turn has its own sound file, and the half of the dialogue's film that shows its speaker, or neither."""
    root = write_iemocap(tmp_path)
    assert all(line.audio is None and line.video is None for line in read_iemocap(root).utterances())
    wav = root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / "Ses01F_impro01_M000.wav"
    films = root / "Session1" / "dialog" / "avi" / "DivX"
    films.mkdir(parents=True)
    wav.parent.mkdir(parents=True)
    for path in (wav, films / "Ses01F_impro01.avi", films / "Ses01M_script01_1.avi"):
        path.touch()
    lines = {line.id: line for line in read_iemocap(root).utterances()}
    man, woman = lines["Ses01F_impro01_M000"], lines["Ses01F_impro01_F000"]
    assert (man.audio, man.audio_span, woman.audio) == (wav, None, None)
    assert (man.video, man.video_span, man.video_half) == (films / "Ses01F_impro01.avi", (3000, 3500), "right")
    assert woman.video_half == "left"
    assert lines["Ses01M_script01_1_M000"].video_half == "left"
    assert lines["Ses02F_script03_2a_F000"].video is None


def test_parts_are_sessions(tmp_path: Path) -> None:
    """Sessions are chosen by number; a session that is not there is named."""
    root = write_iemocap(tmp_path)
    second = read_corpus(CorpusConfig(corpus="iemocap", root=root, subset="sessions=2"))
    assert {dialogue.group for dialogue in second.dialogues} == {"2"}
    with pytest.raises(UsageError, match="no session 5 .*IEMOCAP_full_release"):
        read_corpus(CorpusConfig(corpus="iemocap", root=root, split="test"))
    with pytest.raises(UsageError, match="sessions=1,2,3"):
        read_corpus(CorpusConfig(corpus="iemocap", root=root, subset="actors=1"))
    with pytest.raises(UsageError, match="train .*or test"):
        read_corpus(CorpusConfig(corpus="iemocap", root=root, split="dev"))


def test_a_tree_that_is_not_whole_is_one_sentence(tmp_path: Path) -> None:
    """A missing transcription, a turn without words, an unknown code and an empty folder are each named."""
    root = write_iemocap(tmp_path / "a")
    (root / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt").unlink()
    with pytest.raises(UsageError, match="There is no .*Ses01F_impro01"):
        read_iemocap(root)
    (root / "Session1" / "dialog" / "transcriptions" / "Ses01F_impro01.txt").write_text("")
    with pytest.raises(UsageError, match="judges Ses01F_impro01_F000, which dialog/transcriptions lacks"):
        read_iemocap(root)
    with pytest.raises(UsageError, match="'joy', which is not IEMOCAP's"):
        read_iemocap(write_iemocap(tmp_path / "b", {"Ses01F_impro01": [("F000", 1, 2, "joy", "Oh.")]}))
    with pytest.raises(UsageError, match="no session of IEMOCAP"):
        read_iemocap(tmp_path / "c")
    with pytest.raises(UsageError, match="iemocap6 or iemocap4"):
        read_iemocap(root, MELD7)


@pytest.mark.corpora
def test_the_corpus_has_as_many_turns_as_papers_train_on(corpora: Path) -> None:
    """Sessions 1 to 4 hold 120 dialogues and 5,810 turns of the six classes, one dialogue of 110 such turns."""
    corpus = read_iemocap(corpora / "iemocap" / "IEMOCAP_full_release", sessions=(1, 2, 3, 4))
    labelled = [sum(line.label is not None for line in dialogue.utterances) for dialogue in corpus.dialogues]
    assert (len(labelled), sum(labelled), max(labelled), len(list(corpus.utterances()))) == (120, 5810, 110, 7869)
    assert Counter(line.label for line in relabel(corpus, MELD7)[0].utterances() if line.label) == {
        "neutral": 1324, "joy": 504 + 742, "anger": 933, "sadness": 839,
    }  # fmt: skip
