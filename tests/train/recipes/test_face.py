"""`python -m train face`: teaching an expression network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.miniature_corpora import Miniature
from support.run_endings import end_in_pass

from core_models.errors import UsageError
from core_models.features.face.alignment import SIDE
from core_models.features.face.expression_posteriors import EXPRESSIONS
from core_models.features.face.landmarker import SCORES
from core_models.networks.expression_network import ExpressionConfig, ExpressionNet
from train.__main__ import configuration, main
from train.loop.accelerator import open_fabric
from train.recipes.face.augmentation import Augmentation, augmented
from train.recipes.face.training import Faces, FaceSchedule, FaceTraining

CONFIG = Path(__file__).parents[3] / "configs" / "train" / "face_expression.yaml"
SHAPE = ExpressionConfig(widths=(4, 6, 8), beside=5)
SHORT = FaceSchedule(epochs=3, lr=0.05, batch=16, device="cpu")


def faces(count: int, seed: int) -> Faces:
    """Pictures that are bright above or below, by their class."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    pictures = torch.randint(0, 60, (count, SIDE, SIDE), generator=rng)
    pictures[labels == 0, : SIDE // 2] += 150
    pictures[labels == 1, SIDE // 2 :] += 150
    return Faces(pictures.to(torch.uint8), torch.rand(count, SCORES, generator=rng), labels)


def run(folder: Path, schedule: FaceSchedule = SHORT, settings: dict[str, int] | None = None) -> FaceTraining:
    torch.manual_seed(schedule.seed)
    settings = {"classes": 7} if settings is None else settings
    return FaceTraining(
        folder, schedule, settings, ExpressionNet(SHAPE), open_fabric("cpu", "32", 1), Console(quiet=True)
    )


def test_it_learns_what_can_be_seen(tmp_path: Path) -> None:
    """After a few passes faces that it never saw are told apart."""
    taught = run(tmp_path)
    taught.fit(faces(128, 0), faces(32, 1), Augmentation())
    assert taught.trainer.progress.history[-1]["held_out"] > 0.9


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its second epoch and started again, the network has the same weights; other settings are refused."""
    whole = run(tmp_path / "whole")
    whole.fit(faces(64, 0), faces(16, 1), Augmentation())
    killed = run(tmp_path / "killed")
    end_in_pass(2, KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(faces(64, 0), faces(16, 1), Augmentation())
    monkeypatch.undo()
    again = run(tmp_path / "killed")
    assert again.trainer.progress.epoch == 1
    again.fit(faces(64, 0), faces(16, 1), Augmentation())
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name
    with pytest.raises(UsageError, match="other settings"):
        run(tmp_path / "killed", settings={})


def test_augmentation_mirrors_picture_and_scores_together() -> None:
    """Where nothing but mirroring is allowed, a face is either as it was or mirrored, its smile on the other side."""
    torch.manual_seed(0)
    pictures = torch.rand(16, 1, SIDE, SIDE)
    scores = torch.zeros(16, SCORES)
    scores[:, 44], scores[:, 52] = 1.0, 0.3  # the left corner of the mouth smiles, the head is turned
    still = Augmentation(turn=0, scale=0, shift=0, erase=0, contrast=0)
    changed, said = augmented(pictures, scores, still)
    flipped = said[:, 45] == 1
    assert 0 < flipped.sum() < 16
    assert torch.allclose(changed[flipped], pictures[flipped].flip(3), atol=1e-4)
    assert torch.allclose(changed[~flipped], pictures[~flipped], atol=1e-4)
    assert torch.allclose(said[flipped, 52], torch.tensor(-0.3))
    assert (said[~flipped] == scores[~flipped]).all()


def test_the_shipped_config_has_every_option() -> None:
    """configs/train/face_expression.yaml reads as it stands."""
    name, config = configuration(["face", f"--config={CONFIG}", "--fer2013=FOLDER"])
    assert name == "face"
    assert config.schedule.epochs > 1
    with pytest.raises(UsageError, match="expected 2 or more"):
        replace(config.schedule, batch=1)


@pytest.mark.weights
def test_the_command_teaches_scores_and_writes(miniature: Miniature, tmp_path: Path) -> None:
    """One command makes the network and a result that counts faces not found as errors, and `train eval` repeats it."""
    import cv2
    import numpy as np

    folder = tmp_path / "fer"
    shutil.copytree(miniature.fer2013, folder)
    for path in list((folder / "train").glob("*/*.png")):  # the miniature's parts hold the same pictures
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        for light in (0.9, 1.1):
            cv2.imwrite(str(path.with_stem(f"{path.stem}_{light}")), np.clip(picture * light, 0, 255).astype(np.uint8))
    cv2.imwrite(str(folder / "validation" / "happy" / "wall.png"), np.full((48, 48), 128, np.uint8))
    out, found = tmp_path / "mini-face", tmp_path / "result.json"
    given = [f"--fer2013={folder}", f"--out={out}", f"--run={tmp_path / 'run'}", f"--store={miniature.store}"]
    small = ["--network={widths: [4, 6, 8], beside: 5}", "--schedule.epochs=1", "--schedule.batch=4"]
    assert main(["face", f"--config={CONFIG}", *given, *small, "--schedule.device=cpu", f"--json={found}"]) == 0
    result = json.loads(found.read_text())
    assert result["left_out"] == {"nothing found": 1}
    assert result["accuracy_left_out_as_errors"] < result["accuracy"] or result["accuracy"] == 0
    record = EXPRESSIONS.load(out).sidecar.record
    assert str(tmp_path) not in json.dumps(record)
    assert record["stills"]["learned from, in validation too"] + record["stills"]["held out, in validation too"] == 28
    again = tmp_path / "again.json"
    part = ["--corpus=fer2013", f"--root={folder}", "--split=validation", f"--store={miniature.store}"]
    assert main(["eval", "--checkpoint", str(out), *part, f"--json={again}"]) == 0
    assert json.loads(again.read_text()) == result
