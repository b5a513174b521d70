"""The newer corpora: what their files hold comes out as they mean it, plain or gzipped, and their traps are handled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core_models.errors import UsageError
from core_models.labels import MELD7
from tests.support import judge_corpora
from train.corpora.brighter import read_brighter
from train.corpora.dailydialog import read_dailydialog
from train.corpora.detokenization import detokenize, fill_masks, normalize
from train.corpora.dialogues import Affect, Corpus, relabel
from train.corpora.ferplus import read_ferplus, read_votes
from train.corpora.isear import read_isear
from train.corpora.mmeld import read_mmeld, subtitle
from train.corpora.mspimprov import read_mspimprov
from train.corpora.registry import CorpusConfig, read_corpus
from train.corpora.topicalchat import read_topicalchat
from train.corpora.xed import read_xed

PACKED = pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])


def words_and_labels(corpus: Corpus) -> list[tuple[str | None, str | None]]:
    return [(utterance.text, utterance.label) for utterance in corpus.utterances()]


@PACKED
def test_xed_reads_like_a_transcript(tmp_path: Path, packed: bool) -> None:
    """Contractions are joined and masks filled; several labels are candidates; neutral lines may have empty fields."""
    corpus = read_xed(judge_corpora.write_xed(tmp_path, packed))
    first, *others, neutral = corpus.utterances()
    assert first.text is not None
    assert first.text.startswith("I don't know ")
    assert first.text.endswith(", wanna go?")
    assert "[" not in first.text
    assert [(u.text, u.label, u.candidates) for u in others[:3]] == [
        ("Take it.", None, ("anger", "sadness")),
        ("Trust me.", None, ("anger", "trust")),
        ("Later.", "anticipation", ()),
    ]
    assert (neutral.text, neutral.label) == ("The door is open.", "neutral")
    assert corpus.left_out == {"broken row": 1}


def test_xed_projections_leave_out_broken_rows(tmp_path: Path) -> None:
    """A row that is not two fields with labels as the second, and the text `nan`, are left out and counted."""
    corpus = read_xed(judge_corpora.write_xed(tmp_path), language="de")
    assert words_and_labels(corpus) == [("Es regnet.", "sadness"), ('"Er ging.', "fear"), ("Ja.", "joy")]
    assert corpus.left_out == {"broken row": 3}


def test_xed_splits_share_no_words(tmp_path: Path) -> None:
    """Own splits are whole: the same words are on one side, and both sides together are the corpus."""
    rows = "".join(f"Line {number // 2} again .\t5\r\n" for number in range(200))
    judge_corpora.write_packed(tmp_path / "AnnotatedData" / "en-annotated.tsv", rows, False)
    judge_corpora.write_packed(tmp_path / "AnnotatedData" / "neu_en.txt", "9\tHm.\n", False)
    train, dev, whole = (list(read_xed(tmp_path, split).utterances()) for split in ("train", "dev", "all"))
    assert {u.id for u in train} | {u.id for u in dev} == {u.id for u in whole}
    assert dev
    assert not {normalize(u.text or "") for u in train} & {normalize(u.text or "") for u in dev}


@PACKED
def test_brighter_without_any_emotion_is_neutral(tmp_path: Path, packed: bool) -> None:
    """No 1 means neutral, several are candidates, a missing column never is a label, and HTML is taken out."""
    root = judge_corpora.write_brighter(tmp_path, packed)
    neutral, several = read_brighter(root, "train").utterances()
    assert (neutral.text, neutral.label) == ("One, two > three now .", "neutral")
    assert (several.label, several.candidates) == (None, ("fear", "surprise"))
    assert words_and_labels(read_brighter(root, "train", "deu")) == [("@user Pfui", "disgust")]


def test_brighter_with_blank_labels_is_refused(tmp_path: Path) -> None:
    """The task's own repository leaves test labels blank: they must not pass for neutral."""
    text = "id,text,anger,fear\nx,Hm.,,\n"
    judge_corpora.write_packed(tmp_path / "track_a" / "test" / "eng.csv", text, False)
    with pytest.raises(UsageError, match="line 2 .* neither 0 nor 1"):
        read_brighter(tmp_path, "test")


@PACKED
def test_mmeld_repairs_what_was_read_in_the_wrong_encoding(tmp_path: Path, packed: bool) -> None:
    """Sound Spanish stays, broken Spanish is repaired, tags go; dialogues bear MELD's names."""
    corpus = read_mmeld(judge_corpora.write_mmeld(tmp_path, packed), "train", "es")
    assert [u.text for u in corpus.utterances()] == ["¿Qué pasó, niño?", "¡Así está Álvaro!", "Espera..."]
    assert (corpus.dialogues[0].id, corpus.dialogues[0].group) == ("train/dia3", "s01e02")
    assert next(corpus.utterances()).id == "train/dia3_utt0"
    assert subtitle("Ωραία, εντάξει.") == "Ωραία, εντάξει."


@PACKED
def test_dailydialog_is_read_once(tmp_path: Path, packed: bool) -> None:
    """Repeats go, of a split and of an earlier one, and so does a dialogue with too few labels; all are counted."""
    root = judge_corpora.write_dailydialog(tmp_path, packed)
    train = read_dailydialog(root, "train")
    assert [d.id for d in train.dialogues] == ["train/0", "train/3"]
    assert words_and_labels(train) == [("I'm fine, thanks.", "joy"), ("Good.", "neutral"), ("Tea?", "fear")]
    assert train.left_out == {"repeated dialogue": 2, "turns and labels differ in number": 3}
    assert [u.speaker for u in train.dialogues[0].utterances] == ["A", "B"]
    dev = read_dailydialog(root, "dev")
    assert [d.id for d in dev.dialogues] == ["dev/1"]
    assert dev.left_out == {"repeated dialogue": 2}


@PACKED
def test_reccon_names_dialogues_as_dailydialog_does(tmp_path: Path, packed: bool) -> None:
    """All spellings of an emotion are read, and a dialogue keeps its place in DailyDialog whatever part it is in."""
    root = judge_corpora.write_reccon(tmp_path, packed)
    assert words_and_labels(read_dailydialog(root, "train")) == [("We won!", "joy"), ("I lost.", "sadness")]
    assert [d.id for d in read_dailydialog(root, "dev").dialogues] == ["train/9"]


@PACKED
def test_topicalchat_keeps_the_writers_sentiment(tmp_path: Path, packed: bool) -> None:
    """Curiosity has no twin among the seven, and a smiley is no words."""
    corpus = read_topicalchat(judge_corpora.write_topicalchat(tmp_path, packed), "valid_freq")
    assert words_and_labels(corpus) == [("Do you like rain?", "curious to dive deeper"), (None, "happy")]
    assert relabel(corpus, MELD7)[1] == {"curious to dive deeper": 1}


@PACKED
def test_isear_leaves_remarks_out(tmp_path: Path, packed: bool) -> None:
    """A remark in brackets is no report, a broken line is a blank, and a person is a group."""
    corpus = read_isear(judge_corpora.write_isear(tmp_path, packed))
    assert words_and_labels(corpus) == [('When I met "her again.', "joy"), ("I lied.", "guilt")]
    assert corpus.left_out == {"remark in brackets": 1}
    assert [d.group for d in corpus.dialogues] == ["11", "12"]


@PACKED
def test_mspimprov_turns_arousal_round(tmp_path: Path, packed: bool) -> None:
    """1 is active in the file and calm at 0 here; the label is the raters', never the actor's target."""
    corpus = read_mspimprov(judge_corpora.write_mspimprov(tmp_path, packed))
    by_id = {u.id: u for u in corpus.utterances()}
    active, calm = by_id["MSP-IMPROV-S01A-F01-T-FM01"], by_id["MSP-IMPROV-S01A-F01-S-FM02"]
    assert active.affect == Affect(0.75, 1.0, 0.5)
    assert calm.affect == Affect(0.0, 0.0, 0.5)
    assert active.label == "happiness"
    assert [(u.speaker, u.text) for u in corpus.dialogues[0].utterances] == [
        ("F01", "we go"),
        ("M01", "Yeah. Sure."),
        ("F01", None),
        ("F01", "How can I not?"),
    ]
    assert [(d.group, d.style) for d in corpus.dialogues] == [("1", "improvised"), ("2", "scripted")]
    assert len(read_mspimprov(tmp_path, {2}).dialogues) == 1


@PACKED
def test_ferplus_takes_the_emotion_with_most_votes(tmp_path: Path, packed: bool) -> None:
    """A tie, `unknown` and no face are no label; contempt has no twin; a tar is as good as a folder."""
    root = judge_corpora.write_ferplus(tmp_path, packed=packed)
    corpus = read_ferplus(root, "test")
    assert [u.label for u in corpus.utterances()] == ["neutral", None, None, "contempt", None]
    assert corpus.left_out == {"no picture": 1, "second row of a picture": 1}
    votes, _ = read_votes(root, "test")
    assert votes["FER2013Test/fer0000003.png"].counts == judge_corpora.VOTES["fer0000003.png"]
    assert relabel(corpus, MELD7)[1] == {"contempt": 1}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("I ca n't , I 'm late .", "I can't, I'm late."),
        ("It ’ s gon na rain , is n't it ?", "It's gonna rain, isn't it?"),
        ("I got ta go . . . now", "I gotta go... now"),
        ("Let 'em go !", "Let 'em go!"),
        ("She can not come ; he can to .", "She cannot come; he can to."),
        ("Plain words, as they are.", "Plain words, as they are."),
    ],
)
def test_tokenised_words_are_joined(written: str, read: str) -> None:
    """What a tokeniser took apart is put together; plain words stay as they are."""
    assert detokenize(written) == read


def test_a_mask_is_filled_alike_everywhere() -> None:
    """The same line has the same names, two masks of a line differ, and no mask is left."""
    filled = fill_masks("[NAME] told [NAME] about [LOCATION]")
    assert filled == fill_masks("[NAME] told [NAME] about [LOCATION]")
    assert "[" not in filled
    assert filled.split()[0] != filled.split()[2]


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [
        ("xed", judge_corpora.write_xed, {"language": "de"}),
        ("brighter", judge_corpora.write_brighter, {"split": "train", "language": "deu"}),
        ("mmeld", judge_corpora.write_mmeld, {"split": "train", "language": "es"}),
        ("dailydialog", judge_corpora.write_dailydialog, {"split": "dev"}),
        ("topicalchat", judge_corpora.write_topicalchat, {"split": "valid_freq"}),
        ("isear", judge_corpora.write_isear, {}),
        ("mspimprov", judge_corpora.write_mspimprov, {"subset": "sessions=1"}),
        ("ferplus", judge_corpora.write_ferplus, {"split": "test"}),
    ],
)
def test_the_table_knows_the_corpus_and_what_it_lacks(
    tmp_path: Path, name: str, write: Callable[[Path], Path], options: dict[str, str]
) -> None:
    """`--corpus` reads it with its own options; an empty folder and a language that it has not end in one sentence."""
    assert list(read_corpus(CorpusConfig(corpus=name, root=write(tmp_path / "held"), **options)).utterances())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="set the"):
        read_corpus(CorpusConfig(corpus=name, root=tmp_path / "empty", **options))
    with pytest.raises(UsageError, match="--language tlh"):
        read_corpus(CorpusConfig(corpus=name, root=tmp_path / "held", **options | {"language": "tlh"}))
