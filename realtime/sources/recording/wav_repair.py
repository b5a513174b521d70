"""WAV files whose header does not tell what they hold: cut off while recording, or put together with `cat`.

FFmpeg believes the header: what lies behind the length that it states is neither read nor mentioned.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

# The length that a streamed WAV states; FFmpeg then reads to the end.
_UNKNOWN = 2**32 - 1
# Bytes that are looked through at once for the header of a further file.
_SCAN = 1 << 20


class JoinedBytes(io.RawIOBase):
    """Bytes and ranges (first byte, length) of a file, read as one file."""

    def __init__(self, path: Path, parts: list[bytes | tuple[int, int]]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (closed with this object)
        self._parts = parts
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte of the joined file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length()}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The next byte to be read."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes; what is left without a size."""
        wanted = self._length() - self._position if size is None or size < 0 else size
        read = bytearray()
        at = 0
        for part in self._parts:
            length = len(part) if isinstance(part, bytes) else part[1]
            skip = self._position - at
            if wanted > 0 and 0 <= skip < length:
                count = min(wanted, length - skip)
                if isinstance(part, bytes):
                    piece = part[skip : skip + count]
                else:
                    self._file.seek(part[0] + skip)
                    piece = self._file.read(count)
                read += piece
                self._position += len(piece)
                wanted -= len(piece)
            at += length
        return bytes(read)

    def close(self) -> None:
        """Close the file behind it."""
        self._file.close()
        super().close()

    def _length(self) -> int:
        return sum(len(part) if isinstance(part, bytes) else part[1] for part in self._parts)


def repair_wav(path: Path) -> tuple[JoinedBytes, str] | None:
    """The whole sound of a WAV file under a header that fits, and what was wrong; None where nothing was.

    path: a regular file. Further WAV files of the same format behind the first are joined to it.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if not _is_wav(file.read(12)):
            return None
        first = _find_data(file, 12, size)
        if first is None:
            return None
        form, start, stated = first
        ranges: list[tuple[int, int]] = []
        notes = []
        while True:
            end, is_cut = _end_of_data(file, start, stated, size)
            if is_cut:
                notes.append("its header states fewer samples than it holds")
            ranges.append((start, end - start))
            again = _next_wav(file, end, size)
            if again is None:
                break
            found = _find_data(file, again + 12, size)
            if found is None or found[0] != form:
                notes.append("a further WAV file of another format stands behind the first and was left out")
                break
            notes.append("several WAV files stand in it one after another")
            _, start, stated = found
    if not notes:
        return None
    header = b"RIFF" + struct.pack("<I", _UNKNOWN) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
    header += b"data" + struct.pack("<I", _UNKNOWN)
    return JoinedBytes(path, [header, *ranges]), ", and ".join(dict.fromkeys(notes))


def _is_wav(header: bytes) -> bool:
    return len(header) >= 12 and header[:4] == b"RIFF" and header[8:12] == b"WAVE"


def _find_data(file: io.BufferedReader, at: int, size: int) -> tuple[bytes, int, int] | None:
    """(body of the fmt chunk, first byte of the sound, stated length) of the WAV whose chunks begin at `at`."""
    form = None
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"fmt ":
            form = file.read(length) if length <= 1024 else None
        elif name == b"data":
            return None if form is None else (form, at + 8, length)
        at += 8 + length + length % 2
    return None


def _end_of_data(file: io.BufferedReader, start: int, stated: int, size: int) -> tuple[int, bool]:
    """Where the sound from `start` ends, and whether its header was wrong about it."""
    end = start + stated
    if end >= size:  # streamed, or cut off while copying: FFmpeg reads what there is, up to a further header
        again = _next_header(file, start, size)
        return (size if again is None else again), False
    if _begins_chunk(file, end + stated % 2, size) or _begins_chunk(file, end, size):
        return end, False
    again = _next_header(file, end, size)
    return (size if again is None else again), end + 1 < size


def _begins_chunk(file: io.BufferedReader, at: int, size: int) -> bool:
    """Whether a chunk stands there: four characters and a length that fits, or the header of a further file."""
    file.seek(at)
    head = file.read(12)
    if _is_wav(head):
        return True
    if len(head) < 8:
        return False
    name, length = struct.unpack("<4sI", head[:8])
    return all(32 <= byte < 127 for byte in name) and at + 8 + length <= size + 1


def _next_wav(file: io.BufferedReader, at: int, size: int) -> int | None:
    """Where the next WAV file begins behind the chunks at `at`."""
    while at + 12 <= size:
        for start in (at, at + at % 2):
            file.seek(start)
            head = file.read(12)
            if _is_wav(head):
                return start
        if not _begins_chunk(file, at + at % 2, size):
            return None
        file.seek(at + at % 2 + 4)
        (length,) = struct.unpack("<I", file.read(4))
        at += at % 2 + 8 + length
    return None


def _next_header(file: io.BufferedReader, at: int, size: int) -> int | None:
    """The first byte at or behind `at` where the header of a WAV file stands."""
    while at < size:
        file.seek(at)
        block = file.read(_SCAN + 11)
        found = block.find(b"RIFF")
        while found >= 0:
            if _is_wav(block[found : found + 12]):
                return at + found
            found = block.find(b"RIFF", found + 1)
        at += _SCAN
    return None
