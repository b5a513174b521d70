"""The checkpoints that ship keep the contracts that they are shipped under."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core_models.checkpoint import TENSORS, WEIGHTS, load
from core_models.feature_spec import MODALITIES
from core_models.tensor_files import SIDECAR

SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob(f"*/{TENSORS}"))
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")),
]


def test_something_ships() -> None:
    """There is a default checkpoint."""
    assert "default" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_checkpoint_is_small_and_half_precision(name: str) -> None:
    """Under 20 MB, its weights float16, with a card beside it and a record inside."""
    folder = WEIGHTS / name
    assert (folder / TENSORS).stat().st_size < 20_000_000
    with safe_open(folder / TENSORS, "pt") as tensors:
        assert {tensors.get_tensor(key).dtype for key in tensors.keys()} <= {torch.float16, torch.int64}  # noqa: SIM118
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert "not commercial" in card
    assert "5(1)(f)" in card
    assert load(name).sidecar.record


def test_the_repository_stays_small() -> None:
    """All weights together are under 60 MB."""
    assert sum(p.stat().st_size for p in Path(WEIGHTS).rglob("*") if p.is_file()) < 60_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_its_adapter_ships_too(name: str) -> None:
    """A text adapter that a checkpoint was trained on stands beside it."""
    spec = load(name).sidecar.features.get("text")
    if spec is not None and spec.settings["adapter"] != "none":
        assert (WEIGHTS / str(spec.settings["adapter"]) / SIDECAR).is_file()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SHIPPED)
def test_trained_weights_stream_as_they_batch(name: str, device: str) -> None:
    """Over 80 utterances with modalities missing at random, `step` says what `forward` says (contract 2).

    The limit of 1e-5 is for logits of size 1; it grows with them, as float32 rounding does.
    """
    checkpoint = load(name, device=device)
    model, widths = checkpoint.model, {m: s.dimension for m, s in checkpoint.sidecar.features.items()}
    generator = torch.Generator().manual_seed(0)
    n = 80
    features = {m: torch.randn(1, n, w, generator=generator).to(device) for m, w in widths.items()}
    for m in widths:  # of the size that the model knows
        features[m] = features[m] * model.get_buffer(f"{m}_deviation") + model.get_buffer(f"{m}_mean")
    known = torch.tensor([m in widths for m in MODALITIES])
    present = ((torch.rand(1, n, 3, generator=generator) < 0.6) & known).to(device)
    speakers = torch.randint(0, 3, (1, n), generator=generator).to(device)
    torch.backends.cuda.matmul.allow_tf32 = False
    with torch.inference_mode():
        whole = model(features, present, speakers).logits[0]
        state, stepped = model.initial_state(1), []
        for i in range(n):
            output, state = model.step({m: x[:, i] for m, x in features.items()}, present[:, i], speakers[:, i], state)
            stepped.append(output.logits[0])
    torch.testing.assert_close(torch.stack(stepped), whole, atol=1e-5, rtol=1e-5)
