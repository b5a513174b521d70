"""Training of a dialogue model: every shipped config runs, a killed run goes on, a diverged one says so."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
from miniature import Miniature
from safetensors.torch import load_file

import train.fit
from core_models.checkpoint import load
from core_models.errors import UsageError
from core_models.features.spec import MODALITIES
from train.__main__ import configuration, main
from train.fit import Diverged, FitConfig, fit

CONFIGS = Path(__file__).parents[2] / "configs" / "train"
TINY = ["--model.width=16", "--model.heads=2", "--model.feed_forward=16", "--batch=4", "--threads=1", "--device=cpu"]

pytestmark = pytest.mark.weights


def words_alone(miniature: Miniature, runs: Path, *options: str) -> FitConfig:
    """A run of a small model on words alone."""
    given = ["--features.voice=null", "--features.face=null", f"--runs={runs}", "--epochs=4", *TINY, *options]
    name, config = configuration(["fit", *miniature.options("meld"), *given])
    assert name == "fit"
    return config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("sdt_*.yaml")), ids=lambda path: path.stem)
def test_shipped_config_runs_a_few_steps(path: Path, miniature: Miniature, tmp_path: Path) -> None:
    """Every dialogue model's config trains, and its checkpoint loads with a temperature for every pattern."""
    header = path.read_text().splitlines()[0]
    corpora = [name for name in ("meld", "ravdess", "fer2013") if f"--data.{name} FOLDER" in header]
    assert header.startswith(f"# python -m train fit --config configs/train/{path.name} ")
    given = [*miniature.options(*corpora), f"--runs={tmp_path}", f"--export={tmp_path / 'out'}", "--threads=1"]
    assert main(["fit", f"--config={path}", *given, "--epochs=1", "--steps=2", "--device=cpu"]) == 0
    checkpoint = load(tmp_path / "out")
    modalities = [m for m in MODALITIES if m in checkpoint.sidecar.features]
    assert len(modalities) == len(corpora)
    every = {"+".join(p) for size in range(1, len(modalities) + 1) for p in combinations(modalities, size)}
    assert set(checkpoint.sidecar.temperature) == every
    assert sum(checkpoint.sidecar.record["prior"]) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "out" / "record" / "loss.png").stat().st_size > 1000


def test_killed_run_goes_on_bit_equal(miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run interrupted in the middle of a pass and resumed has the history and the weights of one left alone."""
    fit(words_alone(miniature, tmp_path / "whole"))
    config = words_alone(miniature, tmp_path / "killed", "--resume=true")
    step, steps = train.fit.Run._step, 0

    def dies(run: train.fit.Run, batch: object) -> torch.Tensor:
        nonlocal steps
        steps += run.progressed.epoch == 2
        if steps == 2:
            raise KeyboardInterrupt
        return step(run, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(train.fit.Run, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(config)
    assert (tmp_path / "killed" / "sdt" / "last.pt").exists()
    fit(config)
    one, other = (tmp_path / name / "sdt" for name in ("whole", "killed"))
    assert (one / "history.jsonl").read_text() == (other / "history.jsonl").read_text()
    first, second = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, other))
    assert all(torch.equal(first["model"][name], second["model"][name]) for name in first["model"])


def test_diverged_run_ends_with_a_sentence(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not a number names pass and step, and the last finished pass stays loadable."""
    config = words_alone(miniature, tmp_path)
    step = train.fit.Run._step

    def poisoned(run: train.fit.Run, batch: object) -> torch.Tensor:
        if run.progressed.epoch == 1:
            with torch.no_grad():
                run.network.classifier.weight.fill_(torch.nan)
        return step(run, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(train.fit.Run, "_step", poisoned)
    with pytest.raises(Diverged, match="pass 2, step 1"):
        fit(config)
    state = torch.load(tmp_path / "sdt" / "last.pt", weights_only=True)
    assert state["progressed"]["epoch"] == 1
    assert all(value.isfinite().all() for value in state["model"].values())


def test_kept_pass_is_the_best_on_validation(miniature: Miniature, tmp_path: Path) -> None:
    """The checkpoint holds the weights of the pass with the highest selection score, and the record names it."""
    folder = fit(words_alone(miniature, tmp_path, "--lr=0.01"))
    history = [json.loads(row) for row in (tmp_path / "sdt" / "history.jsonl").read_text().splitlines()]
    best = max(history, key=lambda row: row["selection"])
    checkpoint = load(folder)
    assert checkpoint.sidecar.record["best_pass"] == best["epoch"]
    assert checkpoint.sidecar.record["validation"]["text"]["weighted_f1"] == pytest.approx(best["selection"], abs=1e-4)
    kept = load_file(tmp_path / "sdt" / "best.safetensors")
    for name, value in checkpoint.model.state_dict().items():
        torch.testing.assert_close(value, kept[name].half().float())


def test_run_of_other_settings_is_not_resumed(miniature: Miniature, tmp_path: Path) -> None:
    """--resume with another seed is refused rather than mixed in."""
    fit(words_alone(miniature, tmp_path, "--epochs=1"))
    with pytest.raises(UsageError, match="other settings"):
        fit(words_alone(miniature, tmp_path, "--epochs=1", "--seed=1", "--resume=true"))


def test_dimension_that_never_moved_says_nothing(miniature: Miniature, tmp_path: Path) -> None:
    """Stills never move; when a live face does, the logits hardly change."""
    path = CONFIGS / "sdt_live.yaml"
    given = [*miniature.options("meld", "ravdess", "fer2013"), f"--runs={tmp_path}", f"--export={tmp_path / 'out'}"]
    main(["fit", f"--config={path}", *given, "--threads=1", "--epochs=1", "--steps=2", "--device=cpu"])
    model = load(tmp_path / "out").model
    still = torch.zeros(1, 1, model.config.dimensions["face"])
    moving = still.clone()
    moving[..., 55:] = 0.5
    present, speakers = torch.tensor([[[False, False, True]]]), torch.zeros(1, 1, dtype=torch.long)
    one, other = (model({"face": face}, present, speakers).logits for face in (still, moving))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "wrong", ["--modle.width=32", "--model.width=thin", "--schedule=linear", "--batch=0", "--model.heads=7"]
)
def test_wrong_option_is_one_sentence(
    miniature: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    """An unknown or impossible option ends with the documented code and one sentence that names it."""
    given = [*miniature.options("meld"), f"--runs={tmp_path}", "--features.voice=null", "--features.face=null"]
    assert main(["fit", *given, wrong]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert wrong.split("=")[0].removeprefix("--").split(".")[-1] in told


def test_unknown_key_in_a_config_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config with a key that nobody knows is refused in a sentence that names the key."""
    (tmp_path / "x.yaml").write_text("data:\n  meld: x\nlerning_rate: 0.1\n")
    assert main(["fit", f"--config={tmp_path / 'x.yaml'}"]) == 2
    assert "lerning_rate" in capsys.readouterr().err
