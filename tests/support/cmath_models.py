"""Small CMATH models of every kind, and two ways to run them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from support.sdt_models import DIMENSIONS, Talk
from torch import Tensor, nn

from core_models.networks.cmath import CMATH, CMATHConfig, CMATHOutput
from core_models.networks.dialogue_state import DialogueState

SMALL = CMATHConfig(
    dimensions=DIMENSIONS, classes=4, width=16, heads=2, feed_forward=12, dropout=0.0, speakers=3, window=5
)
KINDS: dict[str, dict[str, Any]] = {
    "CMATH": {},
    "w/o MR": {"reconstruction": False},
    "w/o CMA-T": {"cma": False},
    "neighbours": {"kernel": 3},
    "w/o CMA-T, neighbours": {"cma": False, "kernel": 3},
    "two layers": {"layers": 2},
    "sinusoidal": {"positions": "sinusoidal"},
}
"""Name -> the changes to SMALL."""


def network(*, device: str = "cpu", **changes: Any) -> CMATH:
    """A small model none of whose parameters is at a value that hides it."""
    torch.manual_seed(7)
    model = CMATH(replace(SMALL, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # logits near 1: far larger ones round by 1e-5 themselves
    return model.to(device)


def run(model: CMATH, t: Talk, padding: Tensor | None = None) -> CMATHOutput:
    output: CMATHOutput = model(t.features, t.present, t.speakers, padding)
    return output


def follow(model: CMATH, t: Talk, state: DialogueState) -> tuple[list[Tensor], DialogueState]:
    """`tensors` of stepping through t, and the state after it."""
    steps = []
    for i in range(t.speakers.shape[1]):
        output, state = model.step(*t.at(i), state)
        steps.append(tensors(output))
    return [torch.stack(x, dim=1) for x in zip(*steps, strict=True)], state


def tensors(output: CMATHOutput, *where: slice) -> list[Tensor]:
    """Everything in an output, cut to `where`."""
    every = [*output[:5], *output.inputs.values(), *output.reconstructed.values()]
    return [x[where] for x in every]


def assert_same(a: list[Tensor], b: list[Tensor], tolerance: float = 1e-5) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=0)
