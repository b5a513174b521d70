"""Lines as they lie on the disk: each carries a checksum, and one that was damaged is told from one that was not.

A record is stored as its JSON with one more field, the last: `"crc32"`, the CRC-32 (zlib's) of the record without it.
So a journal is still lines of JSON, other programs ignore the field, and what clients get never has it. Journals of
earlier versions have none and are read as they are; but behind the first record that has one every record must.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_SEAL = re.compile(rb',"crc32":"([0-9a-f]{8})"\} *')
# What every record begins with: where an end of line was damaged, the next record is found by it. Neither this nor a
# seal can stand inside a text, whose quotation marks are escaped.
_BEGINNING = b'{"type":'


def seal_line(line: bytes) -> bytes:
    """A record with its checksum, as it is stored."""
    return b'%b,"crc32":"%08x"}' % (line[:-1], zlib.crc32(line))


class StoredLine(NamedTuple):
    """What stands in a journal from byte `start` to `end`, in line `number`.

    `line` is the record without its checksum, None where the checksum is not its own, or missing behind one.
    """

    number: int
    start: int
    end: int
    line: bytes | None
    sealed: bool
    terminated: bool


def read_stored(stored: bytes) -> tuple[bytes | None, bool]:
    """The record of one stored line, None where its checksum is another's; and whether it has a checksum."""
    seal = next((one for one in _SEAL.finditer(stored) if one.end() == len(stored)), None)
    if seal is None:
        return stored, False
    line = stored[: seal.start()] + b"}"
    return (line if zlib.crc32(line) == int(seal[1], 16) else None), True


def scan_lines(lines: Iterable[bytes]) -> Iterator[StoredLine]:
    """Every record of a journal's lines, damaged ones too; a torn end, which a crash leaves, is passed over.

    A damaged end of line costs the record before it at most: the one behind it is found.
    """
    start, sealed = 0, False
    for number, whole in enumerate(lines, 1):
        terminated = whole.endswith(b"\n")
        for first, last in _find_records(whole.removesuffix(b"\n")):
            line, has_seal = read_stored(whole[first:last])
            sealed = sealed or (has_seal and line is not None)
            if not terminated and last >= len(whole) - 1 and not (has_seal and line is not None):
                continue
            kept = line if has_seal or not sealed else None
            yield StoredLine(number, start + first, start + last, kept, has_seal, terminated)
        start += len(whole)


def _find_records(line: bytes) -> Iterator[tuple[int, int]]:
    """Where the records of a line begin and end: one, unless an end of line between two was damaged."""
    begin = 0
    for seal in _SEAL.finditer(line):
        # Exactly one byte stands where an end of line was; none at all behind a record that was cut off.
        if seal.end() < len(line) and line[seal.end() + 1 :].startswith(_BEGINNING):
            yield begin, seal.end()
            begin = seal.end() + 1
        elif seal.end() == len(line) - 1:
            yield begin, seal.end()
            return
    if begin < len(line) or begin == 0:
        yield begin, len(line)
