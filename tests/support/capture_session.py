"""A feed whose pages at /capture fill sources, and a keeper of what these deliver: a session without its models."""

from __future__ import annotations

from typing import Any

from support.collecting_sink import CollectingSink

from realtime.feed.server import Feed
from realtime.feed.static_files import page_address
from realtime.sources.browser.capture import Browser
from realtime.sources.source import MediaClock, Source


class CaptureSession:
    """Serves from its making until `stop`."""

    def __init__(self, *, browser: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock, self.keeper = MediaClock(), CollectingSink()
        self.browser = Browser(clock=self.clock, **(browser or {}))
        self.feed = Feed("01JCAPTURE0000000000000000", browser=self.browser, **{"port": 0, **options})
        self.feed.start()
        self.clock.start()
        self.sources: list[Source] = list(self.browser.sounds.values())
        if self.browser.camera is not None:
            self.sources.append(self.browser.camera)
        for source in self.sources:
            source.start(self.keeper)

    @property
    def page(self) -> str:
        return page_address(f"{self.feed.url}capture")

    def statuses(self, source: str) -> list[str]:
        """What was told of a source until now."""
        return [said.status for said in self.keeper.said if said.source == source]

    def until(self, source: str, *statuses: str) -> None:
        """Wait until exactly this was told of a source."""
        self.keeper.until(lambda: self.statuses(source) == list(statuses))

    def stop(self) -> None:
        for source in self.sources:
            source.stop()
        self.feed.stop(grace=0.5)
