"""Where the journals of this user lie, which there are, and how they are deleted."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path

from core_models.errors import DiskError, UsageError
from core_models.feature_log import SUFFIX, remove
from realtime.journal.writer_lock import require_unlocked

# Journals of sessions and nothing else: a folder may hold other files of the user, which `delete --all` must not touch.
_NAME = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\.jsonl")


_DAY_S = 86_400.0


def default_folder() -> Path:
    """Where this user's sessions lie on this system."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "conversation-emotion-tracker" / "sessions"


def journal_path(folder: Path, session: str) -> Path:
    """The file of `session`; UsageError where that is no session's id."""
    name = f"{session}.jsonl"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{session!r} is no session: expected the 26 characters of a session's id")
    return folder / name


def list_session_ids(folder: Path) -> list[str]:
    """The ids of the sessions whose journals lie in `folder`, oldest first; none where it cannot be read."""
    with contextlib.suppress(OSError):
        return sorted(path.stem for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return []


def delete_session(folder: Path, session: str) -> None:
    """Delete one session's journal, and what features it kept.

    UsageError where there is none, DiskError where the session still runs.
    """
    path = journal_path(folder, session)
    require_unlocked(path)
    remove(path)
    try:
        path.unlink()
    except FileNotFoundError:
        raise UsageError(f"there is no session {session} in {folder}: nothing was deleted") from None


def delete_older_than(folder: Path, days: float, *, now: float | None = None) -> list[str]:
    """Delete the journals last written more than `days` days before `now` (seconds, by default the clock's).

    Returns their sessions' ids; one that is being written stays.
    """
    limit = (time.time() if now is None else now) - days * _DAY_S
    swept = []
    for session in list_session_ids(folder):
        path = journal_path(folder, session)
        # Another session is sweeping too or writes it, or the file is not ours.
        with contextlib.suppress(OSError, DiskError):
            # The last write, not the creation: a session that was replayed and corrected is in use.
            if path.stat().st_mtime < limit:
                require_unlocked(path)
                remove(path)
                path.unlink()
                swept.append(session)
    return swept


def sweep_sessions(folder: Path, days: float) -> list[str]:
    """Delete what nobody asked to be deleted: journals past their retention, and features without a journal.

    A clock that is a month ahead must not take everything: no more goes than was due when the latest of these journals
    was written. So after a long pause the old ones go one session later. Returns the names of what is gone.
    """
    written = [0.0]
    for session in list_session_ids(folder):
        with contextlib.suppress(OSError):
            written.append(journal_path(folder, session).stat().st_mtime)
    swept = delete_older_than(folder, days, now=min(time.time(), max(written)))
    known = set(list_session_ids(folder))
    with contextlib.suppress(OSError):
        for path in folder.glob(f"*{SUFFIX}"):
            session = path.name.removesuffix(SUFFIX)
            if _NAME.fullmatch(f"{session}.jsonl") and session not in known:
                path.unlink()
                swept.append(path.name)
    return swept
