"""Checkpoints: what is saved comes back, and whatever is off is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from core_models import checkpoint
from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import CheckpointError, DiskError, Exit, UsageError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.networks.sdt import SDT, SDTConfig

CONFIG = SDTConfig(dimensions={"text": 6, "voice": 4}, classes=7, width=16, heads=2, feed_forward=8, kernel=3, window=5)
SPECS = {
    "text": FeatureSpec(modality="text", name="minilm-l6", version=1, dimension=6, digest="aa" * 32),
    "voice": FeatureSpec(
        modality="voice", name="whisper-base", version=1, dimension=4, digest="bb" * 32, settings={"pad": 200}
    ),
}


def sidecar(**changes: Any) -> Sidecar:
    return msgspec.structs.replace(
        Sidecar(
            model="sdt",
            config=sidecar_config(CONFIG),
            labels="meld7",
            features=SPECS,
            window=5,
            temperature={"text+voice": 1.3},
            record={"seed": 1, "epochs": 3},
        ),
        **changes,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint on disk."""
    torch.manual_seed(0)
    save(tmp_path / "first", SDT(CONFIG), sidecar())
    return tmp_path / "first"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the sidecar's JSON in place."""
    content = json.loads((folder / "sidecar.json").read_text())
    change(content)
    (folder / "sidecar.json").write_text(json.dumps(content))


def refused(folder: Path | str) -> str:
    """The one sentence with which `folder` is refused."""
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    sentence = str(caught.value)
    assert caught.value.exit_code is Exit.CHECKPOINT
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """A loaded model gives the saved one's output to the precision of float16, ready for use."""
    torch.manual_seed(0)
    model = SDT(CONFIG).eval()
    model.set_statistics("text", torch.randn(6), torch.rand(6))
    save(tmp_path / "a", model, sidecar())
    loaded = load(tmp_path / "a")
    assert loaded.sidecar == sidecar()
    assert loaded.name == "a"
    assert not loaded.model.training
    assert {x.dtype for x in loaded.model.state_dict().values()} == {torch.float32}
    given = ({"text": torch.randn(2, 5, 6), "voice": torch.randn(2, 5, 4)}, torch.ones(2, 5, 3).bool())
    speakers = torch.zeros(2, 5, dtype=torch.long)
    for a, b in zip(model(*given, speakers), loaded.model(*given, speakers), strict=True):
        torch.testing.assert_close(a, b, atol=5e-3, rtol=0)


def test_saving_what_was_loaded_changes_nothing(saved: Path, tmp_path: Path) -> None:
    """Loading and saving again gives the same files, so the digest names the weights."""
    first = load(saved)
    save(tmp_path / "second", first.model, first.sidecar)
    for name in ("model.safetensors", "sidecar.json"):
        assert (saved / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert load(tmp_path / "second").digest == first.digest


def test_digest_is_of_the_stored_tensors(saved: Path) -> None:
    """The digest is that of the float16 tensors in the file, and changes with any of them."""
    tensors = load_file(saved / "model.safetensors")
    assert all(t.dtype == np.float16 for t in tensors.values())
    before = load(saved).digest
    assert before == tensors_digest(tensors.items())
    tensors["classifier.bias"][0] += 1
    save_file(tensors, saved / "model.safetensors")
    assert load(saved).digest != before


def test_shipped_checkpoints_have_names(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name means a checkpoint that ships; an unknown one is refused with the names there are."""
    monkeypatch.setattr(checkpoint, "WEIGHTS", saved.parent)
    assert load("first").name == "first"
    assert "no checkpoint second" in refused("second")
    assert refused("second").endswith("that ship: first.")


@pytest.mark.parametrize("name", ["model.safetensors", "sidecar.json"])
def test_missing_file_is_named(saved: Path, name: str) -> None:
    """A folder without one of its two files is refused by that file's name."""
    (saved / name).unlink()
    assert f"{name} cannot be read" in refused(saved)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64])
@pytest.mark.parametrize("name", ["model.safetensors", "sidecar.json"])
def test_garbage_is_refused(saved: Path, name: str, content: bytes) -> None:
    """A file that holds something else is refused by name."""
    (saved / name).write_bytes(content)
    assert name in refused(saved)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_cut_tensors_are_refused(saved: Path, keep: float) -> None:
    """A download that broke off is refused."""
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    assert "model.safetensors is damaged" in refused(saved)


def test_later_format_is_told_apart_from_damage(saved: Path) -> None:
    """A sidecar of a later format, whatever else it holds, is refused by its number."""
    (saved / "sidecar.json").write_text('{"format": 2, "model": {"kind": "sdt"}}')
    assert "sidecar format 2, this version reads 1" in refused(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update(model="oracle"), "'oracle', known are sdt"),
        (lambda s: s.update(labels="moods"), "'moods', known are meld7"),
        (lambda s: s.update(labels="iemocap4"), "has 7 classes, its label set iemocap4"),
        (lambda s: s.update(window=6), "says window 6, its configuration 5"),
        (lambda s: s.pop("features"), "missing required field `features`"),
        (lambda s: s["features"].pop("voice"), "features have dimensions {'text': 6}"),
        (lambda s: s["features"]["voice"].update(dimension=5), "'voice': 5"),
        (lambda s: s["config"].update(colour="red"), "unknown key 'colour'"),
        (lambda s: s["config"].update(positions="astral"), "configuration does not work"),
        (lambda s: s["config"].update(width=17), "width 17 is not a multiple"),
        (lambda s: s["config"].pop("classes"), "missing required field `classes`"),
        (lambda s: s["config"].update(width=32), "do not belong together"),
        (lambda s: s["config"].update(layers=2), "do not belong together"),
        (lambda s: s["temperature"].update(text=0), "not all positive"),
    ],
)
def test_sidecar_that_does_not_fit_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """Each way in which sidecar, configuration and tensors can disagree is refused by name."""
    edit(saved, change)
    assert words in refused(saved)


def test_weights_that_are_not_numbers_are_refused(saved: Path) -> None:
    """A checkpoint with NaN among its weights is refused, not run."""
    tensors = load_file(saved / "model.safetensors")
    tensors["classifier.bias"][0] = np.nan
    save_file(tensors, saved / "model.safetensors")
    assert "classifier.bias is not finite" in refused(saved)


def test_weights_too_large_for_float16_are_not_saved(tmp_path: Path) -> None:
    """A model that float16 cannot hold is refused when it is saved, and nothing is written."""
    model = SDT(CONFIG)
    torch.nn.init.constant_(model.classifier.bias, 1e6)
    with pytest.raises(CheckpointError, match=r"classifier\.bias is not finite"):
        save(tmp_path / "a", model, sidecar())
    assert not (tmp_path / "a").exists()


def test_model_and_sidecar_are_saved_together_or_not(tmp_path: Path) -> None:
    """A sidecar that describes another model is refused when it is saved."""
    other = sidecar_config(CONFIG) | {"speakers": 3}
    with pytest.raises(CheckpointError, match="not the model that its sidecar describes"):
        save(tmp_path / "a", SDT(CONFIG), sidecar(config=other))


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A place that cannot be written to is named in one sentence."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="cannot be written"):
        save(tmp_path / "file" / "a", SDT(CONFIG), sidecar())


def test_features_of_training_are_accepted(saved: Path) -> None:
    """The specs of training are accepted, as are fewer modalities, and one that the model does not know."""
    loaded = load(saved)
    face = FeatureSpec(modality="face", name="blendshapes", version=1, dimension=110, digest="cc" * 32)
    loaded.require(SPECS)
    loaded.require({"text": SPECS["text"]})
    loaded.require({})
    loaded.require(SPECS | {"face": face})


@pytest.mark.parametrize(
    "change",
    [{"name": "whisper-tiny.en"}, {"version": 2}, {"digest": "dd" * 32}, {"settings": {"pad": 0}}, {"dimension": 8}],
)
def test_other_features_are_refused_by_both_names(saved: Path, change: dict[str, Any]) -> None:
    """A feature that differs in anything is refused in one sentence that holds both descriptions."""
    other = msgspec.structs.replace(SPECS["voice"], **change)
    with pytest.raises(CheckpointError) as caught:
        load(saved).require(SPECS | {"voice": other})
    assert SPECS["voice"].describe() in str(caught.value)
    assert other.describe() in str(caught.value)


def test_device_that_is_not_there(saved: Path) -> None:
    """A device that torch does not have is refused by name; "auto" always finds one."""
    with pytest.raises(UsageError, match="Device cuda:97 cannot be used"):
        load(saved, device="cuda:97")
    assert load(saved, device="auto").model.classifier.weight.device.type in ("cpu", "cuda")
