from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from subscriber import Call


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., Call]]:
    made: list[Call] = []

    def make(**options: Any) -> Call:
        made.append(Call(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.feed.stop(grace=0.2)
        one.ledger.close()
