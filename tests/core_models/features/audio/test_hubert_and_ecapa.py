"""TDFNet's own encoders, HuBERT and ECAPA, on tiny random models saved in the hub's formats (BERT: test_sequences)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import HubertConfig, HubertForCTC, HubertModel

from core_models.errors import WeightsError
from core_models.features.audio.ecapa import WEIGHTS, Ecapa, is_ecapa, mel_decibels
from core_models.features.audio.hubert import Hubert, is_hubert

SOUND = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


def tiny_hubert(norm: str) -> HubertConfig:
    return HubertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        conv_bias=norm == "layer",
        vocab_size=5,
    )


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_hubert_of_the_hubs_format(tmp_path: Path, norm: str) -> None:
    """Frames are the last layer of the saved model, 50 a second; large ones hear clips of unit variance."""
    torch.manual_seed(0)
    model = HubertModel(tiny_hubert(norm)).eval()
    model.save_pretrained(tmp_path)
    assert is_hubert(tmp_path)
    hubert = Hubert(tmp_path)
    frames = hubert(SOUND)
    assert (frames.shape, frames.dtype, hubert.spec.dimension) == ((49, 16), np.float32, 16)
    heard = (SOUND - SOUND.mean()) / np.sqrt(SOUND.var() + 1e-7) if norm == "layer" else SOUND
    with torch.no_grad():
        expected = model(torch.from_numpy(heard)[None]).last_hidden_state[0].numpy()
    np.testing.assert_allclose(frames, expected, atol=1e-5)
    assert hubert(SOUND[:10]).shape == (1, 16)


def test_fine_tuned_hubert_and_old_names(tmp_path: Path) -> None:
    """A model with a head, and one with the weight norm's old names, give the encoder that is in them."""
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    model = HubertForCTC(tiny_hubert("layer")).eval()
    model.save_pretrained(tmp_path / "new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes((tmp_path / "new" / "config.json").read_bytes())
    tensors = load_file(tmp_path / "new" / "model.safetensors")
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {next((k.replace(o, n) for o, n in names.items() if o in k), k): v for k, v in tensors.items()}
    assert set(renamed) != set(tensors)
    save_file(renamed, tmp_path / "old" / "model.safetensors")
    new, old = Hubert(tmp_path / "new"), Hubert(tmp_path / "old")
    assert new.spec.digest == old.spec.digest
    np.testing.assert_array_equal(new(SOUND), old(SOUND))


def test_what_is_no_hubert_is_refused(tmp_path: Path) -> None:
    """A folder without weights, or with those of another size: one sentence."""
    HubertModel(tiny_hubert("layer")).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no HuBERT"):
        Hubert(tmp_path)
    assert not is_hubert(tmp_path / "nowhere")


def tiny_ecapa(folder: Path) -> Path:
    """Weights of an ECAPA of 16 channels by speechbrain's names, the same ones on every machine."""
    random, tensors = np.random.default_rng(1), {}

    def convolution(name: str, before: int, after: int, kernel: int = 1) -> None:
        scale = (before * kernel) ** -0.5
        tensors[f"{name}.weight"] = scale * random.standard_normal((after, before, kernel))
        tensors[f"{name}.bias"] = scale * random.standard_normal(after)

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean"):
            tensors[f"{name}.{part}"] = random.standard_normal(width)
        tensors[f"{name}.running_var"] = random.uniform(0.5, 2, width)
        tensors[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)

    def tdnn(name: str, before: int, after: int, kernel: int = 1) -> None:
        convolution(f"{name}.conv.conv", before, after, kernel)
        norm(f"{name}.norm.norm", after)

    tdnn("blocks.0", 80, 16, 5)
    for block in ("blocks.1", "blocks.2", "blocks.3"):
        tdnn(f"{block}.tdnn1", 16, 16)
        for group in range(7):
            tdnn(f"{block}.res2net_block.blocks.{group}", 2, 2, 3)
        tdnn(f"{block}.tdnn2", 16, 16)
        convolution(f"{block}.se_block.conv1.conv", 16, 8)
        convolution(f"{block}.se_block.conv2.conv", 8, 16)
    tdnn("mfa", 48, 48)
    tdnn("asp.tdnn", 144, 8)
    convolution("asp.conv.conv", 8, 48)
    norm("asp_bn.norm", 96)
    convolution("fc.conv", 96, 12)
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: torch.from_numpy(np.asarray(x)) for name, x in tensors.items()}
    torch.save({n: x.float() if x.is_floating_point() else x for n, x in given.items()}, folder / WEIGHTS)
    return folder


def test_ecapa_is_speechbrains(tmp_path: Path, librivox: list[tuple[str, NDArray[np.float32]]]) -> None:
    """Banks and vector of speechbrain 1.1.2 with these weights, written down once, to the third digit."""
    samples = librivox[0][1][:48_000]
    banks = mel_decibels(torch.from_numpy(samples))
    assert banks.shape == (301, 80)
    np.testing.assert_allclose(banks[[0, 100, 297], [0, 40, 79]], [-23.630, -40.206, -53.053], atol=2e-3)
    ecapa = Ecapa(tiny_ecapa(tmp_path / "tiny"))
    vector = ecapa(samples)
    assert (vector.shape, vector.dtype, ecapa.spec.dimension) == ((12,), np.float32, 12)
    np.testing.assert_allclose(vector[:6], VECTOR, atol=2e-3)
    assert np.isfinite(ecapa(np.zeros(1, np.float32))).all()


VECTOR = [-8.6245, 1.9173, -11.7821, -13.2963, 1.774, -8.8342]


def test_what_is_no_ecapa_is_refused(tmp_path: Path) -> None:
    """No file, code in a pickle, a layer that lacks: one sentence each."""
    with pytest.raises(WeightsError, match="no ECAPA"):
        Ecapa(tmp_path)
    torch.save({"run": Path.unlink}, tmp_path / WEIGHTS)
    with pytest.raises(WeightsError, match="no ECAPA"):
        Ecapa(tmp_path)
    folder = tiny_ecapa(tmp_path / "tiny")
    assert is_ecapa(folder)
    tensors = torch.load(folder / WEIGHTS, weights_only=True)
    del tensors["asp.conv.conv.weight"]
    torch.save(tensors, folder / WEIGHTS)
    with pytest.raises(WeightsError, match="no ECAPA"):
        Ecapa(folder)
