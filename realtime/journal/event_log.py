"""The journal: one file for each session, one line for each event, written before it is sent to any client.

A line is handed to the system by one write, so whatever ends the process leaves whole lines and at most one
torn one, which `Journal.reopen` cuts off. Power failure is another matter: what was written is forced to the
disk once a second and when the journal is closed, by a thread that nothing waits for. So it costs the last second
or so of events, which clients may have seen; the session then reopens unclean and begins a new epoch, and no
number is used twice. The words of a call stand in it, so the file is readable by its owner only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from core_models.errors import DiskError
from realtime.journal.writer_lock import WriterLock

# Some 250 events of 1 KiB: few system calls for a client that catches up, and little memory when a hundred do at once.
# Bytes that one `read_after` gives at the most, unless a single line is longer.
PAGE = 256 * 1024

# Forcing each event would make every result wait for the disk; one force a second bounds the loss, and clients then
# resume in a new epoch.
# Seconds of events that a power failure may cost, besides what the disk itself takes to obey.
SYNC_S = 1.0


class Record(NamedTuple):
    """An event as it is stored and sent: its place, and its JSON without a line's end."""

    epoch: str
    seq: int
    line: bytes


class _Stamp(msgspec.Struct):
    """The fields of a line by which it is found again; the rest is not decoded."""

    type: str
    epoch: str
    seq: int


@dataclass
class _Run:
    """The lines of one epoch: contiguous numbers from `first`, at `line` and after."""

    first: int
    line: int
    count: int = 0


class Journal:
    """The file of one session. It is made (0600, its folder 0700) by the first `append`, not before.

    `append` and `read` may be called from different threads. `clean` is true where the file ended
    with `session.closed` when it was reopened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clean = False
        self._lock = threading.Lock()
        self._writer = WriterLock(path)
        self._runs: dict[str, _Run] = {}
        # Eight bytes a line: the index of 100,000 events takes 800 kB.
        self._starts = array("q", [0])  # byte at which each line starts; the last one is the file's end
        self._descriptor: int | None = None
        self._exists = False
        self._unsynced = threading.Event()
        self._closed = threading.Event()
        self._syncing: threading.Thread | None = None
        self._sync_error: OSError | None = None

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """A journal as it was left, its torn last line cut off.

        DiskError where it cannot be read, is damaged elsewhere than at its end, or is being written by another.
        """
        journal = cls(path)
        journal._exists = True
        kind = ""
        try:
            # Before it is read: what another writer appends after that would stand in no index.
            journal._writer.acquire()
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        break
                    kind = journal._index_line(line, number)
            if path.stat().st_size > journal._starts[-1]:
                os.truncate(path, journal._starts[-1])
        except OSError as error:
            journal._writer.release()
            raise DiskError(
                f"cannot reopen the journal {path} ({error.strerror}): check that it is there and yours"
            ) from error
        except DiskError:
            journal._writer.release()
            raise
        journal.clean = kind == "session.closed"
        return journal

    def _index_line(self, line: bytes, number: int) -> str:
        try:
            stamp = msgspec.json.decode(line, type=_Stamp)
            self._add_line(stamp.epoch, stamp.seq, len(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise DiskError(
                f"line {number} of the journal {self.path} is damaged ({error}): "
                "move the file away, or delete the session"
            ) from error
        return stamp.type

    def _add_line(self, epoch: str, seq: int, size: int) -> None:
        run = self._runs.get(epoch)
        if run is None:
            run = self._runs[epoch] = _Run(first=seq, line=len(self._starts) - 1)
        elif seq != run.first + run.count or epoch != next(reversed(self._runs)):
            raise ValueError(f"number {seq} of epoch {epoch} cannot stand here")
        run.count += 1
        self._starts.append(self._starts[-1] + size)

    @property
    def epochs(self) -> list[tuple[str, int, int]]:
        """(epoch, first number, last number) in the order in which they were written."""
        with self._lock:
            return [(epoch, run.first, run.first + run.count - 1) for epoch, run in self._runs.items()]

    def append(self, records: Sequence[Record]) -> None:
        """Write read_all of them, or, where OSError is raised, none: the file ends as it did before.

        Numbers must continue those of their epoch (ValueError). A later call may succeed. An OSError may also mean
        that the disk has failed to keep what earlier calls wrote.
        """
        data = b"".join(record.line + b"\n" for record in records)
        with self._lock:
            if self._sync_error is not None:
                error, self._sync_error = self._sync_error, None
                raise error
            if self._descriptor is None:
                self._descriptor = self._open_file()
            try:
                written = os.write(self._descriptor, data)
                # A disk that fills up takes part of a write without an error: that part is cut off again.
                if written < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self.clean:
                    # Its epoch goes on. Were this lost to a power failure, the file would look closed once more,
                    # and numbers that clients have seen would be given again.
                    os.fsync(self._descriptor)
                    self.clean = False
            except OSError:
                self._close_file()
                raise
            for record in records:
                self._add_line(record.epoch, record.seq, len(record.line) + 1)
        self._unsynced.set()
        if self._syncing is None:
            self._closed.clear()
            self._syncing = threading.Thread(target=self._sync_until_closed, name="journal", daemon=True)
            self._syncing.start()

    def _sync_until_closed(self) -> None:
        while True:
            self._unsynced.wait()
            if self._closed.wait(SYNC_S):
                return
            self._unsynced.clear()
            with self._lock:
                descriptor = None if self._descriptor is None else os.dup(self._descriptor)
            if descriptor is None:
                continue
            try:
                os.fsync(descriptor)  # outside the lock: a disk may take long over it
            except OSError as error:
                self._sync_error = error
            finally:
                os.close(descriptor)

    def _open_file(self) -> int:
        # Append mode, so that whatever the offset was, a write lands behind the last line.
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        if not self._exists:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags |= os.O_CREAT | os.O_EXCL
        descriptor = os.open(self.path, flags, 0o600)
        self._exists = True
        try:
            self._writer.acquire()
            os.ftruncate(descriptor, self._starts[-1])  # what an earlier failure left behind
        except OSError:
            os.close(descriptor)
            raise
        except DiskError as error:
            os.close(descriptor)
            raise OSError(errno.EBUSY, str(error)) from None
        return descriptor

    def _close_file(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._starts[-1])
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def rewrite_lines(self, edit: Callable[[bytes], bytes]) -> None:
        """Replace each line by what `edit` makes of it, in its place; what has become shorter is filled by spaces.

        Lines stay where they are, so that a reader meanwhile reads whole lines. OSError, ValueError.
        """
        with self._lock:
            if not self._exists:
                return
            with self.path.open("r+b", buffering=0) as file:
                for start, end in pairwise(self._starts):
                    file.seek(start)
                    line = file.read(end - start - 1)
                    edited = edit(line)
                    if len(edited) > len(line):
                        raise ValueError("a line of a journal can only become shorter")
                    if edited != line:
                        file.seek(start)
                        # Spaces before the line's end are legal JSON, and every other line keeps its place.
                        file.write(edited.ljust(len(line)))
                os.fsync(file.fileno())

    def read_after(self, epoch: str, after: int, *, page: int = PAGE) -> list[Record]:
        """Up to a page of an epoch's records with numbers above `after`; empty where there are none.

        The first may be later than `after + 1`: what lies between was never written. OSError where the file
        is gone.
        """
        with self._lock:
            run = self._runs.get(epoch)
            if run is None or after >= run.first + run.count - 1:
                return []
            seq = max(after + 1, run.first)
            first = run.line + seq - run.first
            bounds = [self._starts[first], self._starts[first + 1]]
            for end in self._starts[first + 2 : run.line + run.count + 1]:
                if end - bounds[0] > page:
                    break
                bounds.append(end)
        with self.path.open("rb") as file:
            file.seek(bounds[0])
            lines = file.read(bounds[-1] - bounds[0]).split(b"\n")[:-1]
        return [Record(epoch, seq + offset, line) for offset, line in enumerate(lines)]

    def read_all(self) -> Iterator[Record]:
        """Every record that stands in it now, oldest first; OSError as from `read_after`."""
        for epoch, _, last in self.epochs:
            after = 0
            while after < last and (records := self.read_after(epoch, after)):
                yield from records
                after = records[-1].seq

    def close(self) -> None:
        """Force what was written to the disk and close the file; idempotent."""
        with self._lock:
            if self._descriptor is not None:
                with contextlib.suppress(OSError):
                    os.fsync(self._descriptor)
                self._close_file()
        if self._syncing is not None:
            self._closed.set()
            self._unsynced.set()
            self._syncing.join()
            self._syncing = None
        self._writer.release()
