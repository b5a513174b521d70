"""One writer for each journal: a lock on the file that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from core_models.errors import DiskError

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # Windows forbids others to read what is locked, so a byte is locked that no journal ever reaches.
        os.lseek(descriptor, 1 << 62, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Whoever only asks whether a journal is being written holds the lock for a moment: that is waited out.
_TRIES, _PAUSE_S = 3, 0.02


class WriterLock:
    """The right to write one journal, held from `acquire` to `release`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it, unless it is held already; DiskError where another writer has it, OSError where there is no file."""
        if self._descriptor is not None:
            return
        # A descriptor of its own: the journal's is closed whenever a write fails, and the lock would go with it.
        descriptor = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        for left in reversed(range(_TRIES)):
            try:
                _lock(descriptor)
                break
            except OSError:
                if not left:
                    os.close(descriptor)
                    raise DiskError(
                        f"The journal {self._path} is being written by another program, such as the call itself: "
                        "end that first."
                    ) from None
                time.sleep(_PAUSE_S)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back; idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def __del__(self) -> None:
        self.release()  # a journal that was only looked at and dropped must not keep others out


def require_unlocked(path: Path) -> None:
    """DiskError where somebody writes this journal at the moment; one that cannot be opened is left to its reader."""
    lock = WriterLock(path)
    with suppress(OSError):
        lock.acquire()
    lock.release()
