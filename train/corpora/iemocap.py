"""IEMOCAP (Busso et al., 2008): five sessions of two actors each, in the tree of its full release."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import IEMOCAP4, IEMOCAP6, LabelSet
from train.corpora.dialogues import Corpus, Dialogue, Utterance

# The standard split of the papers (SDT, CMATH): 120 dialogues of sessions 1 to 4 against 31 of session 5.
TRAIN_SESSIONS = (1, 2, 3, 4)
TEST_SESSIONS = (5,)

_NAMES = {"hap": "happy", "sad": "sad", "neu": "neutral", "ang": "angry", "exc": "excited", "fru": "frustrated"}
# Excited counts as happy, as in the papers with four classes; frustrated has no place among them.
_FOUR = {"hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral", "ang": "angry"}
# What the judges agreed on beyond the six, and where they did not agree (xxx).
_OTHERS = {"sur", "fea", "dis", "oth", "xxx"}

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
_ANNOTATED = re.compile(r"\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s+(\S+)\s+(\w+)\s+\[")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_TRANSCRIBED = re.compile(r"(\S+)\s*\[\s*[\d.]+\s*-\s*[\d.]+\s*\]:?\s*(.*)")
_DIALOGUE = re.compile(r"Ses(\d\d)([FM])_(impro|script)\w*")


def read_iemocap(root: Path, labels: LabelSet = IEMOCAP6, sessions: Collection[int] | None = None) -> Corpus:
    """The dialogues of `sessions` (all that are there, where None), ids of utterances being the owner's turn names.

    labels: IEMOCAP6, or IEMOCAP4 with excitement counted as happiness. Turns stand in the transcription's order,
    by their start; those of other labels stay as context, their label None. Speakers are M and F; a dialogue's
    group is its session ("1"), its style "scripted" or "improvised".

    Sound is the turn's own file under sentences/wav, picture the half of the dialogue's film in dialog/avi that
    shows its speaker: the person named by the dialogue (Ses01F: the woman), who wears the markers, is on the
    left. Both only where they are on disk. Turns that nobody judged (XX: others in the room) have no file of
    their own and are left out. Raises UsageError for a tree that is not IEMOCAP's.
    """
    if labels not in (IEMOCAP6, IEMOCAP4):
        raise UsageError(f"IEMOCAP is not labelled by {labels.name}: use iemocap6 or iemocap4.")
    names = _NAMES if labels == IEMOCAP6 else _FOUR
    there = {int(p.name[7:]): p for p in sorted(root.glob("Session[0-9]")) if (p / "dialog" / "EmoEvaluation").is_dir()}
    wanted = sorted(there if sessions is None else sessions)
    lacking = [number for number in wanted if number not in there]
    if lacking or not wanted:
        which = f"session {lacking[0]}" if lacking else "session"
        raise UsageError(
            f"{root} holds no {which} of IEMOCAP: expected Session1/dialog/EmoEvaluation and so on; "
            "set the corpus folder to IEMOCAP_full_release."
        )
    # "._*.txt" are leavings of a Mac; what each judge said lies in folders beside these files.
    dialogues = [
        _read_dialogue(there[number], path, names)
        for number in wanted
        for path in sorted((there[number] / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
    ]
    return Corpus("iemocap", labels, tuple(dialogues))


def _read_dialogue(session: Path, judged: Path, names: dict[str, str]) -> Dialogue:
    name = judged.stem
    match = _DIALOGUE.fullmatch(name)
    if match is None:
        raise UsageError(f"{judged} is not named like Ses01F_impro01.txt: use IEMOCAP's own tree.")
    words = dict(_read_transcript(session / "dialog" / "transcriptions" / judged.name))
    film = session / "dialog" / "avi" / "DivX" / f"{name}.avi"
    found: dict[str, Utterance] = {}
    for row in _read_lines(judged):
        turn = _ANNOTATED.match(row)
        if turn is None:
            # Headings, and what each judge said.
            continue
        start, end = (round(1000 * float(seconds)) for seconds in turn.group(1, 2))
        identity, code = turn.group(3, 4)
        if not identity.startswith(f"{name}_") or (code not in _OTHERS and code not in _NAMES):
            raise UsageError(f"{judged} has a turn {identity} judged {code!r}, which is not IEMOCAP's: fetch it again.")
        if identity not in words:
            raise UsageError(f"{judged.name} judges {identity}, which dialog/transcriptions lacks: fetch it again.")
        speaker = identity[len(name) + 1]
        sound = session / "sentences" / "wav" / name / f"{identity}.wav"
        filmed = film.is_file()
        found[identity] = Utterance(
            identity,
            speaker,
            words[identity],
            names.get(code),
            audio=sound if sound.is_file() else None,
            start_ms=start,
            end_ms=end,
            video=film if filmed else None,
            video_span=(start, end) if filmed else None,
            video_half=("left" if speaker == match.group(2) else "right") if filmed else None,
        )
    utterances = tuple(found[identity] for identity in words if identity in found)
    style = "scripted" if match.group(3) == "script" else "improvised"
    return Dialogue(name, utterances, str(int(match.group(1))), style)


def _read_transcript(path: Path) -> Iterator[tuple[str, str]]:
    """(turn, words) in the file's order; lines without times (breath, laughter, a stray `M: yes`) are none."""
    for row in _read_lines(path):
        said = _TRANSCRIBED.match(row)
        if said is not None:
            yield said.group(1), said.group(2).strip()


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="cp1252", errors="replace").splitlines()
    except OSError:
        raise UsageError(f"There is no {path}: set the corpus folder to a whole IEMOCAP_full_release.") from None
