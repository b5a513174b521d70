"""What people corrected in their own calls: journals of sessions, and the features that those kept.

A journal is read by the feed's published schema (realtime/protocol/schema/events.json): one JSON event a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from core_models.errors import UsageError
from core_models.feature_log import SUFFIX, features_path, read
from core_models.labels import LABEL_SETS, LabelSet
from train.corpora.dialogues import Corpus, Dialogue, Recorded, Utterance, relabel


class _LabelSetName(msgspec.Struct):
    name: str


class _JournalEvent(msgspec.Struct):
    """What of an event says who spoke, when, what, and what it was."""

    type: str
    utterance_id: str = ""
    speaker: str = ""
    into: str = ""
    to: str = ""
    start_ms: int = 0
    end_ms: int = 0
    text: str | None = None
    opted_out: bool = False
    labels: _LabelSetName | None = None


@dataclass
class _CorrectedSession:
    labels: str = ""
    said: dict[str, _JournalEvent] = field(default_factory=dict)
    corrected: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)

    def apply_event(self, event: _JournalEvent) -> None:
        match event.type:
            case "session.created" if event.labels is not None:
                self.labels = event.labels.name
            case "emotion.final":
                self.said[event.utterance_id] = event
            case "emotion.corrected":
                self.corrected[event.utterance_id] = event.to
            case "speaker.merged":
                self.merged[event.speaker] = event.into
            case "speaker.opted_out":
                (self.silent.add if event.opted_out else self.silent.discard)(event.speaker)

    def merged_speaker(self, speaker: str) -> str:
        while speaker in self.merged:
            speaker = self.merged[speaker]
        return speaker


def read_corrections(root: Path, labels: LabelSet | None = None) -> Corpus:
    """The sessions under `root` in which somebody corrected an emotion, one dialogue each.

    A corrected utterance has the emotion that the person gave, all others stay as context without one. Nothing of a
    speaker who opted out is there. Features that a session kept stand in for those that would be extracted; without
    them there are the words alone. labels: what sessions of other label sets are mapped to, by default the latest
    session's own. Raises UsageError where nothing was corrected, DiskError for damaged features.
    """
    found = [(path, _read_session(path)) for path in sorted(root.glob("*.jsonl")) if not path.name.endswith(SUFFIX)]
    found = [(path, session) for path, session in found if session.corrected.keys() & session.said.keys()]
    if not found:
        raise UsageError(
            f"Nothing was corrected in the sessions of {root}: give the folder of journals that realtime.listen names, "
            "and click on an emotion of its page that is wrong."
        )
    wanted = labels or _labels_of(*found[-1])
    dialogues: list[Dialogue] = []
    for path, session in found:
        own = Corpus("corrections", _labels_of(path, session), (_build_dialogue(path, session),))
        dialogues += relabel(own, wanted)[0].dialogues
    return Corpus("corrections", wanted, tuple(dialogues))


def _read_session(path: Path) -> _CorrectedSession:
    session = _CorrectedSession()
    for event in _read_events(path):
        session.apply_event(event)
    return session


def _read_events(path: Path) -> Iterator[_JournalEvent]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UsageError(f"The journal {path} cannot be read ({error.strerror}): check that it is yours.") from None
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):  # torn by a crash
            return
        try:
            yield msgspec.json.decode(line, type=_JournalEvent)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(f"Line {number} of {path} is no event ({error}): move the file away.") from None


def _labels_of(path: Path, session: _CorrectedSession) -> LabelSet:
    if session.labels not in LABEL_SETS:
        raise UsageError(
            f"The session {path.stem} was judged with labels {session.labels!r}, known are {', '.join(LABEL_SETS)}: "
            "move its journal away."
        )
    return LABEL_SETS[session.labels]


def _build_dialogue(path: Path, session: _CorrectedSession) -> Dialogue:
    kept = read(features_path(path))
    utterances = []
    for name, said in session.said.items():
        speaker = session.merged_speaker(said.speaker)
        if speaker in session.silent:
            continue
        vectors = kept.utterances.get(name, {}) if kept is not None else {}
        recorded = {m: Recorded(kept.specs[m], x) for m, x in vectors.items()} if kept is not None else {}
        utterances.append(
            Utterance(
                f"{path.stem}/{name}",
                speaker,
                text=said.text,
                label=session.corrected.get(name),
                start_ms=said.start_ms,
                end_ms=said.end_ms,
                recorded=recorded,
            )
        )
    return Dialogue(path.stem, tuple(utterances), group=path.stem)
