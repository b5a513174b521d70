"""Where `--events` writes every event as a line of JSON: a file of its owner's, or standard output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection
from contextlib import ExitStack
from io import FileIO

from core_models.errors import DiskError
from realtime.journal.redaction import redact_line


class EventFile:
    """Takes each line at once; what stays in a file forgets who opts out (realtime/journal/stores.py)."""

    def __init__(self, out: FileIO, target: str) -> None:
        self._out = out
        self._stays = stat.S_ISREG(os.fstat(out.fileno()).st_mode) and out.readable()
        self.holds = f"the events in {target}"

    def write_line(self, line: bytes) -> None:
        """Append a line. OSError."""
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[self._out.write(rest) or 0 :]

    def forget(self, people: Collection[str]) -> None:
        """Redact every line in its place, padded by spaces, so that whoever follows the file loses no place. OSError.

        What went through a pipe is no longer here to be taken back.
        """
        if not self._stays:
            return
        self._out.seek(0)
        start, lines = 0, self._out.readall().splitlines(keepends=True)
        try:
            for line in lines:
                edited = redact_line(people, line.rstrip(b"\n"))
                if edited != line.rstrip(b"\n"):
                    self._out.seek(start)
                    self._out.write(edited.ljust(len(line) - line.endswith(b"\n")))
                start += len(line)
            os.fsync(self._out.fileno())
        finally:
            self._out.seek(0, os.SEEK_END)


def open_event_file(target: str, stack: ExitStack) -> EventFile:
    """A file, which `stack` closes, or standard output for `-`. DiskError.

    A file holds what was said, so it is made readable by its owner only, whoever could read what was there before.
    """
    # Unbuffered: what a full disk or a closed pipe refused must not be tried again, and fail again, on closing.
    try:
        if target == "-":
            out = FileIO(sys.stdout.fileno(), "wb", closefd=False)
        else:
            # A pipe or a device that somebody reads is opened for writing alone: read from, it would hide its end.
            others = os.path.exists(target) and not os.path.isfile(target)
            flags = (os.O_WRONLY if others else os.O_RDWR) | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
            descriptor = os.open(target, flags, 0o600)
            out = stack.enter_context(FileIO(descriptor, "wb" if others else "r+b"))
            if not others and hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise DiskError(
            f"Events cannot be written to {target} ({error.strerror}): give a file in a folder that can be written."
        ) from None
    return EventFile(out, target)
