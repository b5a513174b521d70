"""The journal: one file for each session, one line for each event, written before it is sent to any client.

Each line carries a checksum (realtime/journal/stored_lines.py); one that was damaged is skipped, and is a gap then.
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
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from core_models.errors import DiskError
from realtime.journal.stored_lines import StoredLine, read_stored, scan_lines, seal_line
from realtime.journal.writer_lock import WriterLock

# Some 250 events of 1 KiB: few system calls for a client that catches up, and little memory when a hundred do at once.
# Bytes that one `read_after` gives at the most, unless a single line is longer.
PAGE = 256 * 1024

# Forcing each event would make every result wait for the disk; one force a second bounds the loss, and clients then
# resume in a new epoch.
# Seconds of events that a power failure may cost, besides what the disk itself takes to obey.
# A journal of more missing numbers in one place is no journal: each takes a place in the index.
_MOST_MISSING = 100_000

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
        # Sixteen bytes a line: the index of 100,000 events takes 1.6 MB. A record that is damaged has -1.
        self._starts = array("q")
        self._ends = array("q")
        self._size = 0  # of what was written whole
        self._damaged: list[StoredLine] = []
        self._descriptor: int | None = None
        self._exists = False
        self._unsynced = threading.Event()
        self._closed = threading.Event()
        self._syncing: threading.Thread | None = None
        self._sync_error: OSError | None = None
        self._durable = "", 0

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """A journal as it was left, its torn last line cut off; records that are damaged are missing in it.

        DiskError where it cannot be read or is being written by another.
        """
        journal = cls(path)
        journal._exists = True
        kind = ""
        try:
            # Before it is read: what another writer appends after that would stand in no index.
            journal._writer.acquire()
            with path.open("r+b") as file:
                for stored in scan_lines(file):
                    kind = journal._index_line(stored) or kind
                    journal._size = stored.end + 1
                    if not stored.terminated:  # its end of line alone was lost
                        file.seek(stored.end)
                        file.write(b"\n")
                file.truncate(journal._size)
        except OSError as error:
            journal._writer.release()
            raise DiskError(
                f"cannot reopen the journal {path} ({error.strerror}): check that it is there and yours"
            ) from error
        except DiskError:
            journal._writer.release()
            raise
        journal.clean = kind == "session.closed"
        if journal.clean:  # closing forces all of it to the disk
            journal._durable = journal._last_written()
        return journal

    def _index_line(self, stored: StoredLine) -> str | None:
        """Take a line as it was found; the event's type, None where it is damaged."""
        if stored.line is not None:
            try:
                stamp = msgspec.json.decode(stored.line, type=_Stamp)
                self._fill_gap(stamp, len(self._damaged) if not stored.sealed else _MOST_MISSING)
                self._add_line(stamp.epoch, stamp.seq, stored.start, stored.end)
            except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError):
                pass
            else:
                return stamp.type
        self._damaged.append(stored)
        return None

    def _fill_gap(self, stamp: _Stamp, most: int) -> None:
        """Leave places for the numbers of this epoch that were damaged; ValueError where they are more than `most`."""
        run = self._runs.get(stamp.epoch)
        if run is None or stamp.seq <= run.first + run.count or stamp.epoch != next(reversed(self._runs)):
            return
        missing = stamp.seq - run.first - run.count
        if missing > most:
            raise ValueError(f"{missing} numbers are missing before {stamp.seq}")
        for _ in range(missing):
            self._add_line(stamp.epoch, run.first + run.count, -1, -1)

    def _add_line(self, epoch: str, seq: int, start: int, end: int) -> None:
        run = self._runs.get(epoch)
        if run is None:
            run = self._runs[epoch] = _Run(first=seq, line=len(self._starts))
        elif seq != run.first + run.count or epoch != next(reversed(self._runs)):
            raise ValueError(f"number {seq} of epoch {epoch} cannot stand here")
        run.count += 1
        self._starts.append(start)
        self._ends.append(end)

    @property
    def durable(self) -> tuple[str, int]:
        """(epoch, number) of the last event that a power failure can no longer take; ("", 0) before the first."""
        return self._durable

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
        lines = [seal_line(record.line) + b"\n" for record in records]
        data = b"".join(lines)
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
            for record, line in zip(records, lines, strict=True):
                self._add_line(record.epoch, record.seq, self._size, self._size + len(line) - 1)
                self._size += len(line)
        self._unsynced.set()
        if self._syncing is None or not self._syncing.is_alive():
            self._start_syncing()

    def _start_syncing(self) -> None:
        if self._syncing is not None:
            # Whatever ended it, nothing was forced since: the next writer is told, as of a disk that fails.
            self._sync_error = OSError(errno.EIO, "forcing to the disk had stopped, and begins again")
        self._closed.clear()
        self._syncing = threading.Thread(target=self._sync_until_closed, name="journal", daemon=True)
        self._syncing.start()

    def _sync_until_closed(self) -> None:
        while True:
            self._unsynced.wait()
            if self._closed.wait(SYNC_S):
                return
            self._unsynced.clear()
            try:
                self._sync_written()
            except OSError as error:  # no descriptor is left, among others
                self._sync_error = error

    def _sync_written(self) -> None:
        with self._lock:
            if self._descriptor is None:
                return
            written = self._last_written()
            descriptor = os.dup(self._descriptor)
        try:
            os.fsync(descriptor)  # outside the lock: a disk may take long over it
        finally:
            os.close(descriptor)
        self._durable = written

    def _last_written(self) -> tuple[str, int]:
        if not self._runs:
            return "", 0
        epoch = next(reversed(self._runs))
        return epoch, self._runs[epoch].first + self._runs[epoch].count - 1

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
            os.ftruncate(descriptor, self._size)  # what an earlier failure left behind
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
                os.ftruncate(descriptor, self._size)
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def rewrite_lines(self, edit: Callable[[bytes], bytes]) -> None:
        """Replace each line by what `edit` makes of it, in its place; what has become shorter is filled by spaces.

        Lines stay where they are, so that a reader meanwhile reads whole lines. Of a damaged one nobody can tell whose
        words it holds: nothing is left of it. OSError, ValueError.
        """
        with self._lock:
            if not self._exists:
                return
            with self.path.open("r+b", buffering=0) as file:
                for stored in self._damaged:
                    _write_padded(file, stored.start, stored.end, b"{}"[: stored.end - stored.start])
                for start, end in zip(self._starts, self._ends, strict=True):
                    if start < 0:
                        continue
                    file.seek(start)
                    line, sealed = read_stored(file.read(end - start))
                    edited = b"{}" if line is None else edit(line)
                    if edited != line:
                        whole = sealed and line is not None
                        _write_padded(file, start, end, seal_line(edited) if whole else edited)
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
            first, stop = run.line + seq - run.first, run.line + run.count
            while self._starts[first] < 0:  # the last of an epoch is never one of these
                first, seq = first + 1, seq + 1
            places = [(seq, self._starts[first], self._ends[first])]
            for line in range(first + 1, stop):
                if self._ends[line] - places[0][1] > page:
                    break
                if self._starts[line] >= 0:
                    places.append((seq + line - first, self._starts[line], self._ends[line]))
        origin = places[0][1]
        with self.path.open("rb") as file:
            file.seek(origin)
            data = file.read(places[-1][2] - origin)
        read = ((seq, read_stored(data[start - origin : end - origin])[0]) for seq, start, end in places)
        return [Record(epoch, seq, line) for seq, line in read if line is not None]

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
                    self._durable = self._last_written()
                self._close_file()
        if self._syncing is not None:
            self._closed.set()
            self._unsynced.set()
            self._syncing.join()
            self._syncing = None
        self._writer.release()


def _write_padded(file: FileIO, start: int, end: int, line: bytes) -> None:
    if len(line) > end - start:
        raise ValueError("a line of a journal can only become shorter")
    file.seek(start)
    # Spaces before the line's end are legal JSON, and every other line keeps its place.
    file.write(line.ljust(end - start))
