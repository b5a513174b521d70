"""What a page at /capture sends, version 1: one binary message a stretch of sound or a picture. No I/O.

A message is 16 bytes, little-endian, and what they announce:

    0   u8   version, 1
    1   u8   source: 1 microphone, 2 tab (what another tab plays), 3 camera
    2   u16  rate in Hz, 8000 to 48000; 0 for a picture
    4   u32  at: when this was taken, in milliseconds of the page's own monotonic clock, never going back in a source
    8   u64  count: of sound, the number of its first sample since the page began, a jump meaning that some were lost;
             of pictures, its own number
    16       sound: PCM s16le, mono, at most 100 ms; picture: baseline JPEG, at most 640 pixels a side and 128 KiB

A page sends 16 kHz and 30 ms; other rates are for browsers that cannot resample.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 1
# Bytes.
LARGEST_MESSAGE = 16 + 128 * 1024
# Pixels of a picture's width and height.
LARGEST_SIDE = 640
SOURCES = {"microphone": 1, "tab": 2, "camera": 3}

_NAMES = {number: name for name, number in SOURCES.items()}
_HEADER = struct.Struct("<BBHIQ")
_RATES = range(8_000, 48_001)
_LONGEST_S = 0.1
_BASELINE = (0xC0, 0xC1)
# Tables, applications' own and comments, all with a length; by anything else a decoder could be led elsewhere.
_BEFORE_IT = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}


class Malformed(ValueError):
    """A message that is none of this version; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of `source`: `pcm` is int16 [n] at `rate` Hz, its first sample number `count`, taken at `at_ms`."""

    source: str
    rate: int
    at_ms: int
    count: int
    pcm: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Picture:
    """Picture number `count` of `source`, taken at `at_ms`; `width` and `height` are what `jpeg` itself says."""

    source: str
    at_ms: int
    count: int
    jpeg: bytes
    width: int
    height: int


def encode(source: str, *, at_ms: int, count: int, payload: bytes, rate: int = 0) -> bytes:
    """A message; nothing is checked."""
    return _HEADER.pack(VERSION, SOURCES[source], rate, at_ms, count) + payload


def decode(message: bytes) -> Sound | Picture:
    """What a message holds; Malformed where it breaks any bound of this format."""
    if len(message) <= _HEADER.size:
        raise Malformed("a message is a header of 16 bytes and what it announces")
    version, number, rate, at_ms, count = _HEADER.unpack_from(message)
    if version != VERSION:
        raise Malformed(f"this is version {version} of the capture format, expected {VERSION}: reload the page")
    source = _NAMES.get(number)
    payload = message[_HEADER.size :]
    match source:
        case "microphone" | "tab":
            if rate not in _RATES:
                raise Malformed("sound has a rate of 8000 to 48000 Hz")
            if len(payload) % 2 or len(payload) > 2 * rate * _LONGEST_S:
                raise Malformed("sound is whole samples of 16 bits, at most 100 ms of them")
            return Sound(source, rate, at_ms, count, np.frombuffer(payload, "<i2").astype(np.int16, copy=False))
        case "camera":
            if rate or len(message) > LARGEST_MESSAGE:
                raise Malformed("a picture has no rate and at most 128 KiB")
            width, height = _jpeg_size(payload)
            if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
                raise Malformed(f"a picture has at most {LARGEST_SIDE} pixels a side")
            return Picture(source, at_ms, count, payload, width, height)
        case _:
            raise Malformed("the source is 1 (microphone), 2 (tab) or 3 (camera)")


def _jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """(width, height) of a baseline JPEG, read before anything is decoded: a small file can claim a gigabyte."""
    if jpeg[:2] != b"\xff\xd8":
        raise Malformed("a picture is a JPEG")
    at = 2
    while at + 9 <= len(jpeg):
        lead, marker, length = struct.unpack_from(">BBH", jpeg, at)
        if lead == 0xFF and marker in _BASELINE:
            height, width = struct.unpack_from(">HH", jpeg, at + 5)
            return width, height
        if lead != 0xFF or marker not in _BEFORE_IT or length < 2:
            break
        at += 2 + length
    raise Malformed("a picture is a baseline JPEG")
