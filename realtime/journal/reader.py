"""A recorded session: where its journal lies, and the events that stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from core_models.errors import DiskError, UsageError
from realtime.journal.session_files import default_folder, journal_path, list_session_ids
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


def read_events(path: Path) -> Iterator[events.Logged]:
    """The events of a journal in order; a torn last line, which a crash leaves, is skipped.

    DiskError where it cannot be read or a line is no event of this version.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                # Torn by a crash: whatever it was, no client has seen it.
                if not line.endswith(b"\n"):
                    return
                yield _decode_line(line, f"Line {number} of the journal {path}")
    except OSError as error:
        raise DiskError(f"The journal {path} cannot be read ({error.strerror}): check that it is yours.") from None


def _decode_line(line: bytes, place: str) -> events.Logged:
    try:
        return events.decode_event(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise DiskError(f"{place} is damaged ({error}): move the file away.") from None
