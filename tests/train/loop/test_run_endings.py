"""What a run of training leaves behind, however it ends: resumed, diverged, out of memory or disk, interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.miniature_corpora import Miniature
from support.run_endings import end_in_pass
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from core_models.checkpoint import load
from core_models.errors import DiskError, UsageError
from train.__main__ import configuration, main
from train.loop.failures import Diverged, OutOfMemory
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.fit import fit
from train.recipes.dialogue.training import DialogueTraining

TINY = ["--model.width=16", "--model.heads=2", "--model.feed-forward=16", "--batch=4", "--threads=1", "--device=cpu"]

pytestmark = pytest.mark.weights


def options(miniature: Miniature, runs: Path, *given: str) -> list[str]:
    """The command line of a run of a small model on words alone."""
    words = ["--features.voice=null", "--features.face=null", f"--runs={runs}", "--epochs=4", *TINY]
    return ["fit", *miniature.options("meld"), *words, *given]


def words_alone(miniature: Miniature, runs: Path, *given: str) -> FitConfig:
    return configuration(options(miniature, runs, *given))[1]


@pytest.mark.parametrize("system", ["sdt", "cmath"])
def test_killed_run_goes_on_bit_equal(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """A run interrupted in the middle of a pass and resumed has the history and the weights of one left alone."""
    fit(words_alone(miniature, tmp_path / "whole", f"--system={system}"))
    config = words_alone(miniature, tmp_path / "killed", f"--system={system}", "--resume=true")
    with monkeypatch.context() as patch:
        end_in_pass(3, KeyboardInterrupt(), patch)
        with pytest.raises(KeyboardInterrupt):
            fit(config)
    fit(config)
    one, other = (tmp_path / name / "run" for name in ("whole", "killed"))
    assert (one / "history.jsonl").read_text() == (other / "history.jsonl").read_text()
    first, second = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, other))
    assert all(torch.equal(first["module"][name], second["module"][name]) for name in first["module"])


def test_the_last_pass_is_kept_where_that_is_asked_for(miniature: Miniature, tmp_path: Path) -> None:
    """`keep: last` runs to its end whatever validation says, keeps what it ends with, and says so."""
    fit(words_alone(miniature, tmp_path, "--keep=last", "--patience=1", "--lr=0.3"))
    run = tmp_path / "run"
    record = load(run / "checkpoint").sidecar.record
    assert record["best_pass"] == record["passes"] == 4
    assert record["selection"].startswith("the last pass; ")
    ended, kept = torch.load(run / "last.pt", weights_only=True)["module"], load_file(run / "best.safetensors")
    assert all(torch.equal(ended[name], kept[name]) for name in ended)
    scores = [json.loads(line)["selection"] for line in (run / "history.jsonl").read_text().splitlines()]
    assert scores.index(max(scores)) + 1 < 4  # keeping the best would have kept another


@pytest.mark.parametrize("end", [KeyboardInterrupt(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 TB")])
def test_run_that_ends_early_leaves_its_best_pass(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    """After Ctrl-C, or without memory, the best pass so far is a checkpoint that says what ended the run."""
    end_in_pass(3, end, monkeypatch)
    with pytest.raises((KeyboardInterrupt, OutOfMemory)) as raised:
        fit(words_alone(miniature, tmp_path))
    record = load(tmp_path / "run" / "checkpoint").sidecar.record
    assert record["passes"] == 2
    assert record["ended"] == raised.type.__name__


@pytest.mark.parametrize(
    "end", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 TiB."), MemoryError()], ids=["gpu", "cpu"]
)
def test_memory_that_is_not_there_is_one_sentence(
    miniature: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: BaseException,
) -> None:
    """A step that does not fit ends with a sentence that names it and what to lower, and the run can then go on."""
    with monkeypatch.context() as patch:
        end_in_pass(2, end, patch)
        assert main(options(miniature, tmp_path)) == 1
    told = capsys.readouterr().err
    assert "out of memory in pass 2, step 2: " in told
    assert "Traceback" not in told
    assert main(options(miniature, tmp_path, "--batch=2", "--resume=true")) == 0
    record = load(tmp_path / "run" / "checkpoint").sidecar.record
    assert record["changes"] == [{"after_pass": 1, "batch": [4, 2]}]
    assert record["ended"] == "finished"


def test_error_that_is_none_of_memory_passes_through(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A RuntimeError that speaks of something else is not called a want of memory."""
    end_in_pass(1, RuntimeError("shapes do not fit"), monkeypatch)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(words_alone(miniature, tmp_path))


def test_diverged_run_ends_with_a_sentence(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not a number names pass and step, and the last finished pass goes on with a lower lr."""
    step = DialogueTraining._compute_losses

    def poisoned(run: DialogueTraining, batch: Any) -> dict[str, torch.Tensor]:
        if run.trainer.progress.epoch == 1:
            with torch.no_grad():
                run.network.classifier.weight.fill_(torch.nan)
        return step(run, batch)

    with monkeypatch.context() as patch:
        patch.setattr(DialogueTraining, "_compute_losses", poisoned)
        with pytest.raises(Diverged, match="pass 2, step 1"):
            fit(words_alone(miniature, tmp_path))
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1
    assert all(value.isfinite().all() for value in state["module"].values())
    fit(words_alone(miniature, tmp_path, "--lr=1e-5", "--resume=true"))
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 4


def test_full_disk_leaves_the_last_good_checkpoint(
    miniature: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a checkpoint cannot be written whole, one sentence says so, and the one before it stays."""
    assert main(options(miniature, tmp_path, "--epochs=1")) == 0
    before = (tmp_path / "run" / "last.pt").read_bytes()
    (tmp_path / "run" / "last.unfinished").symlink_to("/dev/full")
    assert main(options(miniature, tmp_path, "--epochs=2", "--resume=true")) == DiskError.exit_code
    told = capsys.readouterr().err
    assert "last.pt cannot be written" in told
    assert "Traceback" not in told
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    assert main(options(miniature, tmp_path, "--epochs=2", "--resume=true")) == 0


def test_run_of_other_settings_is_not_resumed(miniature: Miniature, tmp_path: Path) -> None:
    """--resume with another seed is refused rather than mixed in."""
    fit(words_alone(miniature, tmp_path, "--epochs=1"))
    with pytest.raises(UsageError, match="other settings"):
        fit(words_alone(miniature, tmp_path, "--epochs=1", "--seed=1", "--resume=true"))


def test_tensorboard_holds_the_losses_and_the_scores(miniature: Miniature, tmp_path: Path) -> None:
    """The event file has every part of the loss and every validation score, once a pass, as the history has them."""
    fit(words_alone(miniature, tmp_path, "--epochs=2", "--tensorboard=true"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    history = [json.loads(row) for row in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert {"loss/loss", "loss/task", "loss/ce", "loss/kl", "validation/text"} <= set(events.Tags()["scalars"])
    for tag, name in (("loss/kl", "kl"), ("validation/text", "validation text")):
        curve = events.Scalars(tag)
        assert [point.step for point in curve] == [1, 2]
        assert [point.value for point in curve] == pytest.approx([row[name] for row in history])


def test_seeds_are_runs_of_their_own(miniature: Miniature, tmp_path: Path) -> None:
    """Each seed has its folder, the summary has their mean and deviation, and the best one is exported."""
    folder = fit(words_alone(miniature, tmp_path, "--seeds=[3,5]", "--epochs=2", "--lr=0.01"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    records = [load(tmp_path / "run" / f"seed{seed}" / "checkpoint").sidecar.record for seed in (3, 5)]
    values = [record["selection_score"] for record in records]
    assert values[0] != values[1]
    assert summary["selection"]["values"] == pytest.approx(values, abs=1e-4)
    assert summary["selection"]["mean"] == pytest.approx(sum(values) / 2, abs=1e-4)
    assert summary["selection"]["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-4)
    best = max(records, key=lambda record: record["selection_score"])["run"]["seed"]
    assert summary["best_seed"] == load(folder).sidecar.record["run"]["seed"] == best
