"""The training benchmark: real steps of a network of the asked-for size, told as figures that fit each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from core_models.errors import Exit, UsageError
from train.__main__ import main
from train.recipes.dialogue.throughput import ThroughputConfig, measure

SMALL = ["--lengths", "[3,5]", "--batch", "2", "--repeats", "2", "--width", "32", "--feed-forward", "16", "--threads=1"]


def test_figures_fit_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """`bench --json -` prints one object, a timing for each length and precision, whose rates are of its median."""
    assert main(["bench", *SMALL, "--json", "-"]) == Exit.OK
    result = json.loads(capsys.readouterr().out)
    assert [(t["length"], t["precision"]) for t in result["timings"]] == [
        (3, "32"), (3, "bf16"), (5, "32"), (5, "bf16"),
    ]  # fmt: skip
    for t in result["timings"]:
        assert 0 < t["fastest_ms"] <= t["step_ms"] <= t["slowest_ms"]
        assert t["dialogues_a_second"] == pytest.approx(2 / t["step_ms"] * 1000)
        assert t["utterances_a_second"] == pytest.approx(t["length"] * t["dialogues_a_second"])


@pytest.mark.parametrize("causal", [False, True])
def test_every_step_trains(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed reaches the optimiser with a gradient for every parameter that such dialogues can move."""
    without: list[set[int]] = []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, closure: None = None) -> None:
        given = [p for group in self.param_groups for p in group["params"]]
        without.append({i for i, p in enumerate(given) if p.grad is None or not p.grad.any()})
        real(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    measure(
        ThroughputConfig(lengths=(4,), batch=2, precisions=("32",), repeats=1, width=32, feed_forward=16, causal=causal)
    )
    assert without == [set(), set()]


def test_paper_size_is_the_default() -> None:
    """Without options it is the paper's network (section IV-D) and setting."""
    config = ThroughputConfig()
    assert (config.width, config.heads, config.feed_forward, config.causal) == (1024, 8, 1024, False)


@pytest.mark.parametrize("wrong", [{"lengths": ()}, {"lengths": (0,)}, {"batch": 0}, {"precisions": ()}])
def test_nothing_to_time_is_refused(wrong: dict[str, object]) -> None:
    """Lengths, batches and repeats that leave nothing to time are refused before anything is built."""
    with pytest.raises(UsageError, match="be 1 or more"):
        ThroughputConfig(**wrong)  # type: ignore[arg-type]


def test_unwritable_file_is_told(tmp_path: Path) -> None:
    """A JSON file that cannot be written ends in a sentence that names it."""
    assert main(["bench", *SMALL, "--json", str(tmp_path / "no" / "such.json")]) == Exit.DISK
