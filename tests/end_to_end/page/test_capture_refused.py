"""The capture page where nothing is handed over: a Chromium that has no devices, or may not use them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.capture_session import CaptureSession
from support.chromium import Tab


@pytest.mark.parametrize("source", ["microphone", "camera"])
def test_a_refused_device_is_told_in_a_sentence(open_page: Callable[..., Tab], source: str) -> None:
    """The page says which one and what to do, sends nothing, and can be started again."""
    it = CaptureSession()
    tab = open_page(it.page)
    tab.page.locator(f"input[value={source}]").check()
    tab.page.locator("#start").click()
    tab.expect(f"#{source}-state", "start again")
    assert source in tab.page.locator(f"#{source}-state").inner_text()
    tab.expect("#wrong", "nothing is sent")
    assert tab.page.locator("#start").is_enabled()
    assert it.statuses(source) == ["waiting"]
    it.stop()
