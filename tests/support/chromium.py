"""A real browser for the tests: Debian's or anybody's Chromium, driven through its own protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from realtime.bench.workloads.chromium import FLAGS, browser


@contextmanager
def chromium(*further: str) -> Iterator[Any]:
    """A running Chromium with `further` options; skips the test where there is none, or no way to drive it."""
    path = browser()
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *further])
        yield running
        running.close()


class Tab:
    """One window on the page, and everything that went wrong in it or left it for elsewhere."""

    def __init__(self, chromium: Any, url: str, **context: Any) -> None:
        self.context = chromium.new_context(**{"viewport": {"width": 1360, "height": 850}} | context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.sockets: list[str] = []
        self.page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.sockets.append(socket.url))
        self.page.goto(url)

    def close(self) -> None:
        self.context.close()

    def rows(self) -> Any:
        """Utterances that are in the page now (the transcript keeps only those in sight)."""
        return self.page.locator("#transcript article:not([data-state=note])")

    def expect(self, selector: str, text: str) -> None:
        """Wait until an element with this text is there to be seen."""
        self.page.locator(selector, has_text=text).first.wait_for()
