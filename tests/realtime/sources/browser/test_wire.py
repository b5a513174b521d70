"""The messages of a page at /capture: what is sent is read, and anything else is refused in a sentence."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.jpegs import SMALL, jpeg

from realtime.sources.browser.wire import LARGEST_MESSAGE, Malformed, Picture, Sound, decode, encode

EPOCHS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(0, 2**64 - 1)


@given(st.sampled_from(["microphone", "tab"]), st.integers(8_000, 48_000), EPOCHS, COUNTS, st.binary(min_size=1))
def test_sound_comes_out_as_it_went_in(source: str, rate: int, at_ms: int, count: int, pcm: bytes) -> None:
    """Whatever samples, times and counts: they are read as they were written."""
    found = decode(encode(source, rate=rate, at_ms=at_ms, count=count, payload=pcm * 2))
    assert isinstance(found, Sound)
    assert (found.source, found.rate, found.at_ms, found.count) == (source, rate, at_ms, count)
    assert found.pcm.astype("<i2").tobytes() == pcm * 2


@given(st.integers(1, 640), st.integers(1, 640), EPOCHS, COUNTS)
def test_a_picture_says_how_large_it_is(width: int, height: int, at_ms: int, count: int) -> None:
    """Its size is read from its own header, without decoding it."""
    data = jpeg(width, height)
    found = decode(encode("camera", at_ms=at_ms, count=count, payload=data))
    assert found == Picture("camera", at_ms, count, data, width, height)


def test_a_photograph_with_what_cameras_add_is_read() -> None:
    """Applications' own segments and comments before the picture are passed over."""
    extra = b"".join(bytes([0xFF, marker]) + struct.pack(">H", 6) + b"\xff\xc0ab" for marker in (0xE1, 0xFE, 0xEF))
    found = decode(encode("camera", at_ms=0, count=0, payload=SMALL[:2] + extra + SMALL[2:]))
    assert isinstance(found, Picture)
    assert (found.width, found.height) == (32, 16)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read(message: bytes) -> None:
    """Any bytes are either a message within its bounds or Malformed; nothing else escapes."""
    try:
        found = decode(message)
    except Malformed:
        return
    assert isinstance(found, Sound)
    assert 8_000 <= found.rate <= 48_000


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
def test_a_broken_picture_never_grows(at: int, value: int) -> None:
    """A byte changed anywhere in a picture leaves one of at most 640 by 640, or none."""
    broken = SMALL[:at] + bytes([value]) + SMALL[at + 1 :]
    try:
        found = decode(encode("camera", at_ms=0, count=0, payload=broken))
    except Malformed:
        return
    assert isinstance(found, Picture)
    shown = cv2.imdecode(np.frombuffer(broken, np.uint8), cv2.IMREAD_COLOR)
    assert shown is None or shown.shape[:2] == (found.height, found.width)


def header(version: int = 1, source: int = 1, rate: int = 16_000) -> bytes:
    return struct.pack("<BBHIQ", version, source, rate, 0, 0)


def claiming(width: int, height: int) -> bytes:
    """A small picture that says that it is large."""
    at = SMALL.index(b"\xff\xc0")
    return SMALL[: at + 5] + struct.pack(">HH", height, width) + SMALL[at + 9 :]


MISLEADING = (b"\xff\xd8\xff\xd0" + jpeg(900, 900)[2:]).ljust(4 + 0xFFE0, b"\0") + SMALL[SMALL.index(b"\xff\xc0") :]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "16 bytes"),
        (header(), "16 bytes"),
        (header(version=2) + b"ab", "version 2.*expected 1"),
        (header(source=0) + b"ab", "source is 1"),
        (header(source=4) + b"ab", "source is 1"),
        (header(rate=7_999) + b"ab", "rate"),
        (header(rate=48_001) + b"ab", "rate"),
        (header() + b"abc", "whole samples"),
        (header() + b"ab" * 1_601, "100 ms"),
        (header(source=3) + SMALL, "no rate"),
        (header(source=3, rate=0) + b"GIF89a" * 9, "JPEG"),
        (header(source=3, rate=0) + SMALL + bytes(LARGEST_MESSAGE), "128 KiB"),
        (header(source=3, rate=0) + jpeg(641, 480), "640 pixels"),
        (header(source=3, rate=0) + claiming(65_535, 65_535), "640 pixels"),
        (header(source=3, rate=0) + claiming(0, 10), "640 pixels"),
        (header(source=3, rate=0) + jpeg(64, 48, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "baseline"),
        # A restart marker has no length: a decoder goes on right behind it, to another size than a reader that skips.
        (header(source=3, rate=0) + MISLEADING, "baseline"),
        (header(source=3, rate=0) + SMALL[:20], "baseline"),
    ],
)
def test_what_breaks_a_bound_is_malformed(message: bytes, why: str) -> None:
    """Version, source, rate, length, kind and size of picture each have their bound and their sentence."""
    with pytest.raises(Malformed, match=why) as refused:
        decode(message)
    assert len(str(refused.value).encode()) <= 123, "it must fit into a close frame"
