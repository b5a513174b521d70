"""Random dialogues, small SDT models of every kind, and two ways to run them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core_models.feature_spec import MODALITIES
from core_models.networks.dialogue_state import DialogueOutput, DialogueState
from core_models.networks.sdt import SDT, SDTConfig

DIMENSIONS = {"text": 5, "voice": 4, "face": 3}
SMALL = SDTConfig(
    dimensions=DIMENSIONS, classes=4, width=16, heads=2, feed_forward=12, dropout=0.0, speakers=3, window=4
)
KINDS: dict[str, dict[str, Any]] = {
    "SDT": {},
    "w/o positions": {"positions": "none"},
    "w/o speakers": {"speaker_embeddings": False},
    "w/o intra-modal": {"transformers": "inter"},
    "w/o inter-modal": {"transformers": "intra"},
    "Add": {"fusion": "add"},
    "Concatenation": {"fusion": "concatenation"},
    "Uni-Cat-Transformer": {"fusion": "uni-cat"},
    "unimodal gate at identity": {"unimodal_gate": "identity"},
    "w/o unimodal gate": {"unimodal_gate": "none"},
    "w/o multimodal gate": {"multimodal_gate": "none"},
    "w/o both gates": {"unimodal_gate": "none", "multimodal_gate": "none"},
    "concatenated pairs": {"fusion": "concatenation", "transformers": "inter"},
    "added pairs": {"fusion": "add", "transformers": "intra"},
}
"""Name -> the changes to SMALL: SDT, the systems it is compared with, and its ablations."""
SUBSETS = [("text",), ("voice",), ("face",), ("text", "voice"), ("text", "face"), ("voice", "face")]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")),
]


@dataclass
class Talk:
    """A batch of random dialogues; what stands at missing entries is NaN."""

    features: dict[str, Tensor]
    present: Tensor
    speakers: Tensor

    def part(self, start: int, stop: int) -> Talk:
        cut = slice(start, stop)
        return Talk({m: x[:, cut] for m, x in self.features.items()}, self.present[:, cut], self.speakers[:, cut])

    def at(self, i: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        return {m: x[:, i] for m, x in self.features.items()}, self.present[:, i], self.speakers[:, i]


def talk(count: int, *, seed: int = 0, batch: int = 2, missing: float = 0.4, device: str = "cpu") -> Talk:
    draw = torch.Generator().manual_seed(seed)
    present = torch.rand(batch, count, 3, generator=draw) >= missing
    features = {m: torch.randn(batch, count, d, generator=draw) for m, d in DIMENSIONS.items()}
    for i, m in enumerate(MODALITIES):
        features[m][~present[..., i]] = torch.nan
    speakers = torch.randint(0, 5, (batch, count), generator=draw)
    return Talk({m: x.to(device) for m, x in features.items()}, present.to(device), speakers.to(device))


def network(*, device: str = "cpu", **changes: Any) -> SDT:
    """A small model none of whose parameters is at a value that hides it."""
    torch.manual_seed(7)
    model = SDT(replace(SMALL, **changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # logits near 1: far larger ones round by 1e-5 themselves
    return model.to(device)


def run(model: SDT, t: Talk, padding: Tensor | None = None) -> DialogueOutput:
    output: DialogueOutput = model(t.features, t.present, t.speakers, padding)
    return output


def follow(model: SDT, t: Talk, state: DialogueState) -> tuple[DialogueOutput, DialogueState]:
    steps = []
    for i in range(t.speakers.shape[1]):
        output, state = model.step(*t.at(i), state)
        steps.append(output)
    return DialogueOutput(*(torch.stack(x, dim=1) for x in zip(*steps, strict=True))), state


def assert_same(a: DialogueOutput, b: DialogueOutput, tolerance: float = 1e-5) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=0)
