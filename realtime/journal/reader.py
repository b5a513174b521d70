"""A recorded session: where its journal lies, and the events that stand in it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from core_models.errors import DiskError, UsageError
from realtime.journal.session_files import default_folder, journal_path, list_session_ids
from realtime.journal.stored_lines import StoredLine, scan_lines
from realtime.protocol import events


def find_journal(session: str, folder: Path | None) -> Path:
    """The journal of a session given by id, by path or as `latest`; UsageError where there is none."""
    folder = folder or default_folder()
    if session.endswith(".jsonl"):
        path = Path(session)
    elif session == "latest":
        known = list_session_ids(folder)
        if not known:
            raise UsageError(f"There are no journals in {folder}: record a session first, or name a --journal folder.")
        path = journal_path(folder, known[-1])
    else:
        path = journal_path(folder, session)
    if not path.is_file():
        raise UsageError(f"There is no journal {path}: `python -m realtime.journal list` shows those that there are.")
    return path


@dataclass(frozen=True)
class Damage:
    """A stretch of a journal that is damaged: its first line, why, and how many events are missing there.

    The events before and behind it are whole. `missing` is at least 1 where the number is unknown.
    """

    path: Path
    line: int
    why: str
    missing: int = 1

    def __str__(self) -> str:
        events_are = "1 event is" if self.missing == 1 else f"{self.missing} events are"
        return f"Line {self.line} of the journal {self.path} is damaged ({self.why}): {events_are} missing there."


def read_journal(path: Path) -> Iterator[events.Logged | Damage]:
    """The events of a journal in order, with what is damaged in its place; a torn end is skipped.

    DiskError where it cannot be read.
    """
    epoch, seq, damage = "", 0, None
    for stored in _scan_file(path):
        event, why = _decode_stored(stored)
        if event is None:
            damage = damage or Damage(path, stored.number, why)
            continue
        skipped = event.seq - seq - 1 if event.epoch == epoch else 0
        if damage is None and skipped > 0:
            damage = Damage(path, stored.number, "lines before it are gone")
        if damage is not None:
            yield replace(damage, missing=max(1, skipped))
            damage = None
        epoch, seq = event.epoch, event.seq
        yield event
    if damage is not None:
        yield damage


def open_recording(path: Path) -> tuple[events.SessionCreated, Iterator[events.Logged | Damage]]:
    """A session's first event, and what follows. DiskError where it cannot be read or does not begin as a session.

    Where the first event is what is damaged, one is made of what later events say: labels, and the time.
    """
    read = read_journal(path)
    first = next(read, None)
    if isinstance(first, Damage):
        begun: list[events.Logged | Damage] = [first]
        for one in read:
            begun.append(one)
            if isinstance(one, events.EmotionFinal):
                return _rebuild_created(one), itertools.chain(begun, read)
    if not isinstance(first, events.SessionCreated):
        raise DiskError(
            f"The journal {path} does not begin with session.created: it is of no session that can be shown."
        )
    return first, read


def _rebuild_created(final: events.EmotionFinal) -> events.SessionCreated:
    return events.SessionCreated(
        session=final.session,
        created_at=events.time_of_id(final.session),
        labels=events.Labels(name="unknown", labels=tuple(final.probabilities)),
        checkpoint=events.CheckpointDescription(name="unknown", digest=""),
        models={},
        features={},
        sources=(),
        notice="The first event of this session was damaged: what stands here was found in later ones.",
    )


def read_events(path: Path, on_damage: Callable[[Damage], None] | None = None) -> Iterator[events.Logged]:
    """The events of a journal in order. What is damaged is skipped and said: to `on_damage`, else on standard error.

    DiskError where it cannot be read.
    """
    for one in read_journal(path):
        if not isinstance(one, Damage):
            yield one
        elif on_damage is not None:
            on_damage(one)
        else:
            print(one, file=sys.stderr)


def _scan_file(path: Path) -> Iterator[StoredLine]:
    try:
        with path.open("rb") as file:
            yield from scan_lines(file)
    except OSError as error:
        raise DiskError(f"The journal {path} cannot be read ({error.strerror}): check that it is yours.") from None


def _decode_stored(stored: StoredLine) -> tuple[events.Logged | None, str]:
    """The event, or why there is none."""
    if stored.line is None:
        return None, "its checksum is wrong" if stored.sealed else "its checksum is missing"
    try:
        return events.decode_event(stored.line), ""
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return None, str(error)


@dataclass(frozen=True)
class Verification:
    """What `journal verify` found: events, those of them with a checksum, and what is damaged."""

    events: int
    checked: int
    damages: tuple[Damage, ...]


def verify_journal(path: Path) -> Verification:
    """Read all of a journal; DiskError where that is not possible."""
    read = list(read_journal(path))
    damages = tuple(one for one in read if isinstance(one, Damage))
    checked = sum(1 for one in _scan_file(path) if one.sealed and one.line is not None)
    return Verification(len(read) - len(damages), checked, damages)
