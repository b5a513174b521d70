"""Faces as they might have been: mirrored, turned, moved, partly hidden, lit otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from core_models.features.face.landmarker import MIRROR, MIRROR_SIGN


@dataclass(frozen=True)
class Augmentation:
    """How far a face is changed in each pass; half of all faces are mirrored besides."""

    turn: float = 0.2
    """Radians to either side."""
    scale: float = 0.12
    """Log of the size, up or down."""
    shift: float = 0.1
    """Of half a side, in each direction."""
    erase: float = 0.3
    """Share of faces of which a rectangle of an eighth to three eighths of a side is hidden."""
    contrast: float = 0.2
    """Log of the grey levels' scale, up or down."""


def augmented(pictures: Tensor, scores: Tensor, how: Augmentation) -> tuple[Tensor, Tensor]:
    """(pictures float32 [B, 1, side, side], scores [B, S]) changed at random, by torch's own random numbers."""
    rows, side = len(pictures), pictures.shape[-1]

    def draw_within(most: float) -> Tensor:
        return (2 * torch.rand(rows) - 1) * most

    flip = torch.rand(rows) < 0.5
    turn, scale, mirror = draw_within(how.turn), draw_within(how.scale).exp(), 1 - 2 * flip.float()
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    across = torch.stack([cosine * mirror, -sine, draw_within(how.shift)], dim=1)
    down = torch.stack([sine * mirror, cosine, draw_within(how.shift)], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    hidden = _draw_rectangles(rows, side) & (torch.rand(rows) < how.erase)[:, None, None, None]
    moved = torch.where(hidden, moved.mean(dim=(1, 2, 3), keepdim=True), moved)
    mirrored = scores[:, list(MIRROR)] * torch.tensor(MIRROR_SIGN)
    return moved * draw_within(how.contrast).exp()[:, None, None, None], torch.where(flip[:, None], mirrored, scores)


def _draw_rectangles(rows: int, side: int) -> Tensor:
    """bool [rows, 1, side, side], true inside a random rectangle."""
    inside = []
    for _ in range(2):
        length = torch.randint(side // 8, 3 * side // 8 + 1, (rows,))
        start = (torch.rand(rows) * (side - length + 1)).long()
        at = torch.arange(side)[None]
        inside.append((at >= start[:, None]) & (at < (start + length)[:, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
