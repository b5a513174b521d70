"""The media clock: it has not begun, or it says how long ago it did, and nobody can confuse the two."""

from __future__ import annotations

import time

import pytest

from realtime.sources.browser.capture import Browser, CaptureRefused
from realtime.sources.source import MediaClock


def test_the_media_clock_says_none_before_its_start_and_0_in_its_first_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """"Not begun" is None; 0 is a time like any other."""
    now_ns = 5_000_000_000
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    clock = MediaClock()
    assert clock() is None
    with pytest.raises(RuntimeError, match="not started"):
        clock.elapsed_ms()
    clock.start()
    assert (clock(), clock.elapsed_ms()) == (0, 0)
    now_ns += 1_999_999
    assert (clock(), clock.elapsed_ms()) == (1, 1)


def test_a_page_is_admitted_from_a_sessions_first_millisecond_on() -> None:
    """Before the start it is asked to try again; at 0 ms the session has begun."""
    now_ms: int | None = None
    browser = Browser(clock=lambda: now_ms)
    with pytest.raises(CaptureRefused, match="has not begun"):
        browser.admit(["microphone"])
    now_ms = 0
    assert browser.holds(browser.admit(["microphone"]), "microphone")
