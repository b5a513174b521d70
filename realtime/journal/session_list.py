"""`python -m realtime.journal list | verify | delete`: the sessions that are kept on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core_models.command_line.options import build_parser, read_options
from core_models.command_line.run import TerminalConsole, choose_command, run_cli
from core_models.errors import DiskError, TrackerError, UsageError
from realtime.journal.reader import Damage, find_journal, read_events, verify_journal
from realtime.journal.session_files import (
    default_folder,
    delete_older_than,
    delete_session,
    journal_path,
    list_session_ids,
)
from realtime.protocol import events
from realtime.protocol.displayed_text import strip_control_characters
from realtime.protocol.media_time import format_media_time, media_time_of
from realtime.protocol.session_state import SessionState

_PROGRAM = "python -m realtime.journal"
_COMMANDS = {
    "list": "when each session was, how long, who spoke",
    "verify": "check every event of sessions, and name what is damaged",
    "delete": "delete sessions for good, words and all",
}


class StoredSession(NamedTuple):
    """A kept session: when it began (UTC), its length in media time, utterances, who spoke, how it ended, bytes.

    `speakers` are the names that people gave them, else their ids, of those of whom something was judged.
    """

    session: str
    began: datetime | None
    length_ms: int
    utterances: int
    speakers: tuple[str, ...]
    ended: str
    size: int


def list_sessions(folder: Path) -> list[StoredSession]:
    """The sessions of `folder`, oldest first; a journal that is damaged is listed with what could be read."""
    return [_read_session(session, journal_path(folder, session)) for session in list_session_ids(folder)]


def _read_session(session: str, path: Path) -> StoredSession:
    began, length, ended, state = None, 0, "cut off", SessionState()
    damages: list[Damage] = []
    # A journal that cannot be read is still listed, since it can be deleted.
    with suppress(TrackerError):
        ended = "damaged"
        for event in read_events(path, damages.append):
            length = max(length, media_time_of(event) or 0)
            state.apply(event)
            match event:
                case events.SessionCreated():
                    began = event.created_at
                case events.SessionClosed():
                    ended = event.reason
        ended = "damaged" if damages else "cut off" if ended == "damaged" else ended
    size = path.stat().st_size if path.exists() else 0
    names = tuple(map(state.speakers.shown_name, state.judged_speakers))
    return StoredSession(session, began, length, state.utterances, names, ended, size)


def _print_table(folder: Path, console: Console) -> None:
    table = Table(box=None)
    table.add_column("session", no_wrap=True, min_width=26)
    for column in ("began (UTC)", "length", "utterances", "speakers", "ended", "KiB"):
        table.add_column(column, justify="right" if column in ("length", "utterances", "KiB") else "left")
    for one in list_sessions(folder):
        began = f"{one.began:%Y-%m-%d %H:%M}" if one.began else "?"
        names = Text(strip_control_characters(", ".join(one.speakers)))
        length, size = format_media_time(one.length_ms), f"{one.size / 1024:.0f}"
        table.add_row(one.session, began, length, str(one.utterances), names, one.ended, size)
    if table.rows:
        console.print(table)
    console.print(f"{len(table.rows)} sessions in {folder}", style="dim", markup=False, soft_wrap=True)


def _verify_sessions(folder: Path, named: list[str]) -> None:
    """Print a line for each session; DiskError where any is damaged."""
    damaged = 0
    for session in named or list_session_ids(folder):
        found = verify_journal(find_journal(session, folder))
        unchecked = f", {found.events - found.checked} without a checksum" if found.events > found.checked else ""
        print(f"{session}: {found.events} events whole{unchecked}, {len(found.damages)} places damaged")
        for damage in found.damages:
            print(f"  {damage}")
        damaged += bool(found.damages)
    if damaged:
        raise DiskError(
            f"{damaged} of the sessions in {folder} are damaged: what is whole in them can still be replayed and "
            "exported; check the disk."
        )


def _delete_sessions(folder: Path, named: list[str], days: float | None, everything: bool) -> list[str]:
    if not named and days is None and not everything:
        raise UsageError("Nothing was named: give the ids of sessions, --older-than-days DAYS or --all.")
    gone = delete_older_than(folder, days) if days is not None else []
    for one in dict.fromkeys([*named, *(list_session_ids(folder) if everything else [])]):
        delete_session(folder, one)
        gone.append(one)
    return gone


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    return run_cli(lambda: _run_command(sys.argv[1:] if arguments is None else arguments))


def _run_command(arguments: Sequence[str]) -> None:
    command, rest = choose_command(_PROGRAM, __doc__ or "", _COMMANDS, arguments)
    parser = build_parser(f"{_PROGRAM} {command}", _COMMANDS[command], config=False)
    parser.add_argument("--journal", type=Path, metavar="FOLDER", help="default: the user's state folder")
    if command in ("verify", "delete"):
        parser.add_argument("session", nargs="*", help="ids, as `list` shows them")
    if command == "delete":
        parser.add_argument("--older-than-days", type=float, metavar="DAYS", help="those last written longer ago")
        parser.add_argument("--all", action="store_true", help="every session")
    given = read_options(parser, rest)
    folder = given.journal or default_folder()
    if command == "list":
        _print_table(folder, TerminalConsole(highlight=False))
    elif command == "verify":
        _verify_sessions(folder, given.session)
    else:
        for one in _delete_sessions(folder, given.session, given.older_than_days, given.all):
            print(f"deleted {one}")
