"""What is shown of an utterance that goes on does not flicker."""

from __future__ import annotations

import pytest

from core_models.errors import UsageError
from realtime.dialogue.provisional import Provisional, ProvisionalSmoother


def test_a_small_lead_changes_nothing() -> None:
    """An emotion that leads by a hair in one look and not in the next is never shown."""
    steadied = ProvisionalSmoother()
    shown = [steadied.update({"joy": p, "anger": 1 - p}) for p in (0.55, 0.48, 0.53, 0.47, 0.52)]
    assert all(max(s, key=s.__getitem__) == "joy" for s in shown)
    assert all(sum(s.values()) == pytest.approx(1) for s in shown)


def test_a_clear_change_is_shown() -> None:
    """An emotion that stays ahead is shown after two looks at the latest."""
    steadied = ProvisionalSmoother()
    steadied.update({"joy": 0.8, "anger": 0.2})
    shown = [steadied.update({"joy": 0.1, "anger": 0.9}) for _ in range(2)]
    assert shown[-1]["anger"] > 0.5


def test_looks_are_due_once_a_second() -> None:
    """The first comes early enough to be told within 1.2 s of the start of speech."""
    config = Provisional()
    assert [config.due(5_000, looks) for looks in range(3)] == [5_800, 6_800, 7_800]


def test_settings_that_cannot_work_are_refused() -> None:
    """A negative interval dies at once, in a sentence."""
    with pytest.raises(UsageError, match="every_ms"):
        Provisional(every_ms=-1)
