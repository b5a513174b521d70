from __future__ import annotations

from pathlib import Path

import pytest
from support.awkward_session import record_awkward_session

from realtime.export import load
from realtime.review.conversation import Conversation


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return record_awkward_session(tmp_path)


@pytest.fixture
def told(journal: Path) -> Conversation:
    return load(journal)
