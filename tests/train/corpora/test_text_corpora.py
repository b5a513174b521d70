"""Corpora of lines: the owners' files in, dialogues out, a sentence for what is not theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from core_models.errors import UsageError
from train.corpora.goemotions import read_goemotions
from train.corpora.meld import read_meld
from train.corpora.registry import CorpusConfig, read_corpus

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
ROWS = (
    '1,Second line.,Bea,joy,positive,4,1,8,21,"00:16:21,940","00:16:23,442"',
    '2,"First, line.",Al,neutral,neutral,4,0,8,21,"0:16:16,059","0:16:21,731"',
    '3,Another.,Cy,anger,negative,0,2,3,5,"00:00:09,000","00:00:07,28"',
)


def write_meld(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    (folder / "train_sent_emo.csv").write_bytes("\r\n".join((header, *rows)).encode(encoding))
    return folder


def write_goemotions(folder: Path, rows: str) -> Path:
    (folder / "labels.txt").write_text("anger\ndisgust\nfear\njoy\nneutral\nsadness\nsurprise")
    (folder / "train.tsv").write_text(rows)
    return folder


def test_meld_lines_stand_in_their_dialogue_in_order(tmp_path: Path) -> None:
    """Rows are grouped by Dialogue_ID, ordered by Utterance_ID and keep speaker, label and episode."""
    corpus = read_meld(write_meld(tmp_path, *ROWS), "train")
    assert [dialogue.id for dialogue in corpus.dialogues] == ["train/dia0", "train/dia4"]
    dialogue = corpus.dialogues[1]
    assert dialogue.group == "s08e21"
    assert [(line.id, line.speaker, line.text, line.label) for line in dialogue.utterances] == [
        ("train/dia4_utt0", "Al", "First, line.", "neutral"),
        ("train/dia4_utt1", "Bea", "Second line.", "joy"),
    ]


def test_meld_times_are_milliseconds_of_the_episode(tmp_path: Path) -> None:
    """Both ways of writing the hour are read, and a span that ends before it starts is no span."""
    corpus = read_meld(write_meld(tmp_path, *ROWS), "train")
    backwards, whole = corpus.dialogues[0].utterances[0], corpus.dialogues[1].utterances[0]
    assert (whole.start_ms, whole.end_ms) == (976_059, 981_731)
    assert (backwards.start_ms, backwards.end_ms) == (None, None)


@pytest.mark.parametrize(
    ("mark", "encoding"), [("\u2019", "utf-8"), ("\u0092", "utf-8"), ("\u2019", "cp1252"), ("\u2019", "utf-8-sig")]
)
def test_meld_apostrophes_survive_every_release(tmp_path: Path, mark: str, encoding: str) -> None:
    """An apostrophe is one, whether the file holds it as UTF-8, as a C1 control character or as Windows-1252."""
    row = ROWS[0].replace("Second line", f"I{mark}m here")
    corpus = read_meld(write_meld(tmp_path, row, encoding=encoding), "train")
    assert next(corpus.utterances()).text == "I\u2019m here."


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        ((ROWS[0].replace("joy", "glee"),), HEADER, "line 2 .*'glee' is not one of meld7"),
        ((ROWS[0].replace("4,1", "four,1"),), HEADER, "line 2 .*'four'"),
        ((ROWS[0].replace("00:16:21,940", "soon"),), HEADER, "'soon' is not a time"),
        ((ROWS[0], ROWS[0]), HEADER, "line 3 .*utterance 1 twice"),
        ((ROWS[0][:30],), HEADER, "another number of fields"),
        (('1,"Second" line.' + ROWS[0][14:],), HEADER, "is not CSV"),
        ((ROWS[0],), HEADER.replace("Emotion", "Mood"), "lacks Emotion"),
        ((), HEADER, "has no rows"),
    ],
)
def test_malformed_meld_ends_in_one_sentence(tmp_path: Path, rows: tuple[str, ...], header: str, sentence: str) -> None:
    """A file that is not MELD's names its line and what is wrong there."""
    with pytest.raises(UsageError, match=sentence) as refusal:
        read_meld(write_meld(tmp_path, *rows, header=header), "train")
    assert "\n" not in str(refusal.value)


def test_absent_meld_ends_in_one_sentence(tmp_path: Path) -> None:
    """A folder without the file, and a split that does not exist, are named."""
    with pytest.raises(UsageError, match=r"no .*dev_sent_emo\.csv"):
        read_meld(tmp_path, "dev")
    with pytest.raises(UsageError, match="no split 'validation'"):
        read_meld(tmp_path, "validation")


def test_train_and_dev_are_one_split(tmp_path: Path) -> None:
    """`train+dev`, what papers without a validation set train on, holds the dialogues of both under their own ids."""
    folder = write_meld(tmp_path, *ROWS)
    (folder / "dev_sent_emo.csv").write_bytes((folder / "train_sent_emo.csv").read_bytes())
    both = read_corpus(CorpusConfig(corpus="meld", root=folder, split="train+dev"))
    one = read_meld(folder, "train")
    assert both.dialogues == one.dialogues + read_meld(folder, "dev").dialogues
    assert both.numbered
    assert {d.id.partition("/")[0] for d in both.dialogues} == {"train", "dev"}


def test_split_holds_out_whole_dialogues(tmp_path: Path) -> None:
    """A split tears no dialogue apart, loses none, comes out alike for one seed and otherwise for another."""
    rows = [f'{n},Hm.,Al,joy,positive,{n // 4},{n % 4},1,1,"00:00:01,000","00:00:02,000"' for n in range(160)]
    corpus = read_meld(write_meld(tmp_path, *rows), "train")
    rest, held = corpus.split(0.25, seed=7)
    assert len(list(held.utterances())) == 40
    assert sorted(d.id for d in (*rest.dialogues, *held.dialogues)) == sorted(d.id for d in corpus.dialogues)
    assert corpus.split(0.25, seed=7)[1] == held
    assert corpus.split(0.25, seed=8)[1] != held


def test_goemotions_takes_a_line_for_its_rarest_label(tmp_path: Path) -> None:
    """A comment becomes a dialogue of one line, labelled by the rarest of its labels."""
    corpus = read_goemotions(write_goemotions(tmp_path, "So sweet!\t3\ta1\nI jumped, lol\t3,2\tb2\n"), "train")
    assert [(line.text, line.label) for line in corpus.utterances()] == [
        ("So sweet!", "joy"),
        ("I jumped, lol", "fear"),
    ]
    assert all(len(dialogue.utterances) == 1 for dialogue in corpus.dialogues)


@pytest.mark.parametrize("row", ["no tabs at all", "text\t9\tid", "text\tjoy\tid"])
def test_malformed_goemotions_ends_in_one_sentence(tmp_path: Path, row: str) -> None:
    """A row that is not text, label numbers and id names its line."""
    with pytest.raises(UsageError, match="line 2"):
        read_goemotions(write_goemotions(tmp_path, f"fine\t3\tid\n{row}\n"), "train")
