"""A made-up session on a real feed, for tests that look at its page."""

from __future__ import annotations

from typing import Any

from realtime.bench.workloads.synthetic_session import conversation
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.feed.static_files import page_address
from realtime.journal.event_log import Journal
from realtime.protocol import events

SESSION = "01JPAGE0000000000000000000"


class ServedSession:
    """A session that a test speaks for, served as `realtime.listen` serves one."""

    def __init__(self, *, port: int = 0, journal: Journal | None = None, **options: Any) -> None:
        self.feed = Feed(SESSION, history=journal, port=port, **options)
        self.publisher = EventPublisher(SESSION, journal=journal, feed=self.feed)
        self.feed.start()

    @property
    def url(self) -> str:
        return page_address(self.feed.url)

    def say(self, told: list[events.Logged]) -> None:
        for event in told:
            self.publisher.append(event)

    def stop(self) -> None:
        self.feed.stop(grace=0.2)
        self.publisher.close()


def told(utterances: int, **options: Any) -> list[events.Logged]:
    return list(conversation(utterances, **options))


def finals(of: list[events.Logged]) -> list[events.EmotionFinal]:
    return [event for event in of if isinstance(event, events.EmotionFinal)]
