from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.feed_session import FeedSession


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., FeedSession]]:
    made: list[FeedSession] = []

    def make(**options: Any) -> FeedSession:
        made.append(FeedSession(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.feed.stop(grace=0.2)
        one.publisher.close()
