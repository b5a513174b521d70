"""`bench step`: a step of a model, and the whole dialogue recomputed, are timed side by side."""

from __future__ import annotations

import pytest

from realtime.bench.models.dialogue_step import step


@pytest.mark.parametrize("alone", [False, True])
def test_figures_of_the_default_checkpoint(alone: bool) -> None:
    """Steps are timed at each length and at the one recomputed, for four dialogues as the tracker has or for one."""
    result = step(alone=alone, lengths=(2, 6), recompute=4, repeats=3)
    assert list(result["step_ms"]) == ["2", "4", "6"]
    assert result["dialogues"] == (1 if alone else 4)
    assert result["recompute_4_ms"] > 0
    assert result["recompute_over_step"] > 0


def test_paper_size() -> None:
    """`paper` times SDT of the paper's size: 79.7 million parameters, and the null keys of the live setting."""
    result = step(paper=True, alone=True, lengths=(1,), recompute=2, repeats=1)
    assert round(result["parameters"] / 1e6, 1) == 79.7
    assert result["recompute_over_step"] > 0
