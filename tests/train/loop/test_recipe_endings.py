"""However a training ends, every recipe ends the same way: one sentence, one exit code, and nothing broken behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from support.miniature_corpora import Miniature
from support.miniature_mced import Pieces, write_pieces
from support.recipe_commands import Recipe, recipe_of

from core_models.errors import Exit
from train.__main__ import main

WITH_WEIGHTS = [pytest.param(name, marks=pytest.mark.weights) for name in ("voice", "fit", "face")]
RECIPES = ["text", "mced", "tdfnet", *WITH_WEIGHTS]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    """Words, sounds and an encoder."""
    with pytest.MonkeyPatch.context() as patch:
        return write_pieces(tmp_path_factory.mktemp("pieces"), patch)


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest, pieces: Pieces) -> Recipe:
    """Each training command in turn."""

    def miniature() -> Miniature:
        corpora: Miniature = request.getfixturevalue("miniature")
        return corpora

    return recipe_of(request.param, pieces, miniature)


@pytest.fixture
def end(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], tuple[int, str]]:
    """Runs a command; its exit code, and its last sentence on standard error, which is all that it says of an error."""

    def run(command: list[str]) -> tuple[int, str]:
        capsys.readouterr()
        code = main(command)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return code, " ".join(told.split())

    return run


def break_backward(patch: pytest.MonkeyPatch, error: BaseException, at: int) -> None:
    """Backward pass number `at` raises `error`."""
    backward, taken = Fabric.backward, 0

    def fail(fabric: Fabric, *given: Any, **options: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == at:
            raise error
        backward(fabric, *given, **options)

    patch.setattr(Fabric, "backward", fail)


def test_missing_gpu(recipe: Recipe, tmp_path: Path, end: Callable[[list[str]], tuple[int, str]]) -> None:
    """A GPU that is not there is named before any corpus is read or any folder made."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    code, told = end(recipe.command(tmp_path / "run", tmp_path / "out", device="cuda"))
    assert code == Exit.USAGE
    assert "device cuda cannot be used here" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["run", "out"])
def test_unwritable_folder(
    recipe: Recipe, which: str, tmp_path: Path, end: Callable[[list[str]], tuple[int, str]]
) -> None:
    """A folder that cannot be made is named before the first step; root, too, cannot make one below a file."""
    if which == "out" and recipe.options[0] == "tdfnet":
        pytest.skip("tdfnet writes into the folder of the run alone")
    (tmp_path / "file").write_text("in the way")
    folders = {"run": tmp_path / "run", "out": tmp_path / "out"} | {which: tmp_path / "file" / "folder"}
    code, told = end(recipe.command(folders["run"], folders["out"]))
    assert code == Exit.DISK
    assert "folder" in told
    assert "cannot be written (Not a directory)" in told
    assert "step" not in told


def test_full_disk(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[list[str]], tuple[int, str]]
) -> None:
    """A disk that is full when a file is flushed to it leaves no half of one behind, and a sentence."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, told = end(recipe.command(tmp_path / "run", tmp_path / "out"))
    assert code == Exit.DISK
    assert "cannot be written (No space left on device): free space" in told
    assert not list(tmp_path.rglob("*.unfinished"))


def test_divergence(recipe: Recipe, tmp_path: Path, end: Callable[[list[str]], tuple[int, str]]) -> None:
    """A rate far too high ends in a sentence that says what to lower, and nothing is exported."""
    code, told = end(recipe.command(tmp_path / "run", tmp_path / "out", lr="1e30"))
    assert code == Exit.UNEXPECTED
    assert "Training diverged: " in told
    assert "set a lower lr and go on from the last checkpoint with resume true." in told
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_want_of_memory(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[list[str]], tuple[int, str]]
) -> None:
    """A step that does not fit into memory is named, with what to lower."""
    break_backward(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 TiB."), at=2)
    code, told = end(recipe.command(tmp_path / "run", tmp_path / "out"))
    assert code == Exit.UNEXPECTED
    assert "Training ran out of memory in " in told
    assert "set a lower batch and go on from the last checkpoint with resume true." in told


def test_interrupted_run_goes_on_bit_equal(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[list[str]], tuple[int, str]]
) -> None:
    """Ctrl-C ends with its own code; started again, the run ends with the bytes of one that was left alone."""
    whole = recipe.command(tmp_path / "whole" / "run", tmp_path / "whole" / "out", resume=True)
    killed = recipe.command(tmp_path / "killed" / "run", tmp_path / "killed" / "out", resume=True)
    assert end(whole)[0] == Exit.OK
    with monkeypatch.context() as patch:
        break_backward(patch, KeyboardInterrupt(), at=4)
        assert end(killed)[0] == Exit.INTERRUPTED
    assert end(killed)[0] == Exit.OK
    one, other = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.safetensors")}
        for name in ("whole", "killed")
    )
    assert one
    assert one.items() <= other.items()  # an interrupted `fit` leaves its best pass besides
