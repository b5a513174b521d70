"""DailyDialog (Li et al., 2017): everyday dialogues of two people, in its own layout and in RECCON's (Poria, 2021).

The corpus repeats itself: of its 11,118 training dialogues 10,246 are distinct. A dialogue is read once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core_models.errors import UsageError
from core_models.labels import MELD7
from train.corpora.detokenization import detokenize, normalize
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.text_files import locate_file, read_text_file

# Split -> what the files of the corpus call it.
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
LABEL_MAP = "dailydialog: no emotion as neutral, happiness as joy"

_EMOTIONS = ("neutral", "anger", "disgust", "fear", "joy", "sadness", "surprise")  # 0 to 6
_RECCON = {"train": "train", "dev": "valid", "test": "test"}
# RECCON divides the dialogues anew, so any stand in any part.
_INITIALS = {"tr": "train", "va": "dev", "te": "test"}
# RECCON's annotators spell some labels in several ways.
_RECCON_EMOTIONS = {
    **{name: name for name in _EMOTIONS},
    **dict.fromkeys(("happiness", "happines", "happy", "excited"), "joy"),
    **{"sad": "sadness", "surprised": "surprise", "angry": "anger", "fearful": "fear", "disgusted": "disgust"},
}
# A dialogue that stands in several parts is kept in the first of them, so that nothing of training is scored.
_ORDER = ("train", "dev", "test")

_Turns = tuple[tuple[str, str, str | None], ...]  # (speaker, words, label)


class _RecconTurn(msgspec.Struct):
    turn: int
    speaker: str
    utterance: str
    emotion: str


def read_dailydialog(root: Path, split: str) -> Corpus:
    """The dialogues of one split, labels of MELD7; a dialogue's id is its place in the corpus in both layouts.

    `root` holds PART/dialogues_PART.txt and dialogues_emotion_PART.txt, or RECCON's dailydialog_PART.json, also
    gzipped. Left out and counted: dialogues that repeat an earlier one of the split, or one of an earlier split whose
    file is there, and those with another number of labels than of turns. Raises UsageError.
    """
    if split not in SPLITS:
        raise UsageError(f"DailyDialog has no split {split!r}: use one of {', '.join(SPLITS)}.")
    seen: set[str] = set()
    left_out = Counter[str]()
    for earlier in _ORDER[: _ORDER.index(split)]:
        if _find_file(root, earlier) is not None:
            seen |= {_repetition_key(turns) for _, turns in _read_dialogues(root, earlier, Counter())}
    dialogues = []
    for identity, turns in _read_dialogues(root, split, left_out):
        key = _repetition_key(turns)
        if key in seen:
            left_out["repeated dialogue"] += len(turns)
            continue
        seen.add(key)
        utterances = tuple(
            Utterance(f"{identity}_{row}", speaker, words, label) for row, (speaker, words, label) in enumerate(turns)
        )
        dialogues.append(Dialogue(identity, utterances))
    if not dialogues:
        raise UsageError(f"{root} holds no dialogues of DailyDialog's {split}: use its official files.")
    return Corpus("dailydialog", MELD7, tuple(dialogues), LABEL_MAP, left_out)


def _find_file(root: Path, split: str) -> Path | None:
    part = SPLITS[split]
    plain, reccon = root / part / f"dialogues_{part}.txt", root / f"dailydialog_{_RECCON[split]}.json"
    return next((path for path in (plain, reccon) if locate_file(path) is not None), None)


def _read_dialogues(root: Path, split: str, left_out: Counter[str]) -> Iterator[tuple[str, _Turns]]:
    """(id, turns) of each dialogue in the files of `split`."""
    path = _find_file(root, split)
    if path is None:
        part = SPLITS[split]
        raise UsageError(
            f"{root} holds neither {part}/dialogues_{part}.txt nor dailydialog_{_RECCON[split]}.json: set the corpus "
            "folder to DailyDialog's own or to RECCON's."
        )
    if path.suffix == ".json":
        yield from _read_reccon(path)
    else:
        yield from ((f"{split}/{number}", turns) for number, turns in _read_plain(path, left_out))


def _read_plain(path: Path, left_out: Counter[str]) -> Iterator[tuple[int, _Turns]]:
    labelled = path.with_name(path.name.replace("dialogues_", "dialogues_emotion_"))
    spoken = read_text_file(path, "DailyDialog").rstrip("\n").split("\n")
    labels = read_text_file(labelled, "DailyDialog").rstrip("\n").split("\n")
    if len(spoken) != len(labels):
        raise UsageError(f"{path.name} and {labelled.name} are not of equal length: use DailyDialog's official files.")
    for number, (row, codes) in enumerate(zip(spoken, labels, strict=True)):
        turns = [turn for turn in row.split("__eou__") if turn.strip()]
        try:
            names = [_EMOTIONS[int(code)] for code in codes.split()]
        except (ValueError, IndexError):
            raise UsageError(
                f"{labelled} line {number + 1} holds no numbers from 0 to 6: use the official file."
            ) from None
        if len(names) != len(turns):
            left_out["turns and labels differ in number"] += len(turns)
            continue
        speakers = ("A" if place % 2 == 0 else "B" for place in range(len(turns)))
        words = (detokenize(turn) for turn in turns)
        yield number, tuple(zip(speakers, words, names, strict=True))


def _read_reccon(path: Path) -> Iterator[tuple[str, _Turns]]:
    try:
        raw = read_text_file(path, "RECCON's DailyDialog")
        held = msgspec.json.decode(raw, type=dict[str, list[list[_RecconTurn]]])
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is not RECCON's ({error}): use the official file.") from None
    for name, (turns, *_) in held.items():
        match = re.fullmatch(r"(tr|va|te)_(\d+)", name)
        unknown = [turn.emotion for turn in turns if turn.emotion.strip().lower() not in _RECCON_EMOTIONS]
        if match is None or unknown:
            what = f"an emotion {unknown[0]!r}" if unknown else f"a dialogue {name!r}"
            raise UsageError(f"{path} has {what}, which RECCON's annotation has not: use the official file.")
        yield (
            f"{_INITIALS[match[1]]}/{match[2]}",
            tuple((t.speaker, detokenize(t.utterance), _RECCON_EMOTIONS[t.emotion.strip().lower()]) for t in turns),
        )


def _repetition_key(turns: _Turns) -> str:
    return "".join(normalize(words) for _, words, _ in turns).replace(" ", "")
