"""A made-up session on a real feed, for tests that look at its page."""

from __future__ import annotations

from typing import Any

from realtime import events
from realtime.bench_page import conversation
from realtime.feed import Feed
from realtime.journal import Journal
from realtime.ledger import Ledger
from realtime.pages import address

SESSION = "01JPAGE0000000000000000000"


class Served:
    """A session that a test speaks for, served as `realtime.listen` serves one."""

    def __init__(self, *, port: int = 0, journal: Journal | None = None, **options: Any) -> None:
        self.feed = Feed(SESSION, history=journal, port=port, **options)
        self.ledger = Ledger(SESSION, journal=journal, feed=self.feed)
        self.feed.start()

    @property
    def url(self) -> str:
        return address(self.feed.url)

    def say(self, told: list[events.Logged]) -> None:
        for event in told:
            self.ledger.append(event)

    def stop(self) -> None:
        self.feed.stop(grace=0.2)
        self.ledger.close()


def told(utterances: int, **options: Any) -> list[events.Logged]:
    return list(conversation(utterances, **options))


def finals(of: list[events.Logged]) -> list[events.EmotionFinal]:
    return [event for event in of if isinstance(event, events.EmotionFinal)]
