"""`python -m train eval --checkpoint NAME`, without a corpus: what was measured before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from train.__main__ import main


def test_the_default_models_figures_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Every result that ships with a checkpoint is told, as it stands in its file."""
    assert main(["eval", "--checkpoint", "default", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)["default"]["results"]
    record = Path(__file__).parents[3] / "core_models" / "weights" / "default" / "record"
    files = sorted(record.glob("eval_*.json"))
    assert files
    assert sorted(told) == [path.stem for path in files]
    for path in files:
        assert told[path.stem]["accuracy"] == json.loads(path.read_text())["accuracy"]
    assert main(["eval"]) == 0
    assert files[0].stem.removeprefix("eval_") in capsys.readouterr().out


def test_a_checkpoint_without_figures_says_how_to_take_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing measured is one sentence with the command, and the checkpoint's exit code."""
    assert main(["numbers", "--checkpoint", str(tmp_path)]) == 6
    assert "train eval --corpus" in capsys.readouterr().err
