"""Training on several processes is training on one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.miniature_iemocap import write_iemocap, write_voices

from core_models.labels import IGNORED
from train.__main__ import main
from train.data.dialogue_tensors import Batch

ROOT = Path(__file__).parents[3]


def history(run: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in (run / "run" / "history.jsonl").read_text().splitlines()]


def train_on_two(options: list[str]) -> None:
    """The command under torchrun, on two CPU processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "train"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A run on batches of three dialogues, with turns without a voice and turns without a label."""
    root = write_iemocap(tmp_path / "iemocap")
    vectors = write_voices(tmp_path / "vectors.npz", root)
    return [
        *("fit", "--data.train.corpus=iemocap", f"--data.train.root={root}", "--mixture.everything=0.4"),
        *("--features.text=null", "--features.voice=null", "--features.face=null"),
        *(f"--features.imported.text={vectors}", f"--features.imported.voice={vectors}"),
        *("--model.width=16", "--model.heads=2", "--model.feed-forward=16", "--model.dropout=0"),
        *("--batch=3", "--epochs=3", "--lr=0.01", "--threads=1", "--device=cpu"),
    ]


def test_two_processes_give_the_losses_of_one(options: list[str], tmp_path: Path) -> None:
    """The same command under torchrun has the loss curve of one process to 1e-5, though each part of the loss is a
    mean over other utterances. Without dropout, whose noise each process draws for itself."""
    assert main([*options, f"--runs={tmp_path / 'one'}"]) == 0
    train_on_two([*options, f"--runs={tmp_path / 'two'}"])
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert len(one) == len(two) == 3
    for here, there in zip(one, two, strict=True):
        assert there == pytest.approx(here, rel=1e-5, abs=1e-6)
    assert one[0]["loss"] != pytest.approx(one[-1]["loss"], rel=1e-3)


def test_cmath_trains_on_two_processes(options: list[str], tmp_path: Path) -> None:
    """CMATH, whose output holds more than SDT's and whose fusion is sampled, trains and resumes on two processes."""
    train_on_two([*options, "--system=cmath", "--epochs=1", f"--runs={tmp_path}"])
    train_on_two([*options, "--system=cmath", "--epochs=2", f"--runs={tmp_path}", "--resume=true"])
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2]
    assert all(math.isfinite(value) for row in history(tmp_path) for value in row.values())


def test_shares_of_a_batch_are_its_rows() -> None:
    """Three dialogues for two processes are two shares of two; what fills up is padding without labels."""
    labels = torch.arange(12).reshape(3, 4)
    batch = Batch(
        {"voice": torch.rand(3, 4, 5)},
        torch.ones(3, 4, 3, dtype=torch.bool),
        torch.zeros(3, 4, dtype=torch.long),
        torch.zeros(3, 4, dtype=torch.bool),
        labels,
        torch.zeros(3, 1, 6),
    )
    shares = [batch.filled(2).share(rank, 2) for rank in range(2)]
    assert torch.cat([share.labels for share in shares])[:3].equal(labels)
    assert (shares[1].labels[1] == IGNORED).all()
    assert shares[1].padding[1].all()
    assert not shares[1].present[1].any()
    assert batch.filled(3) is batch
