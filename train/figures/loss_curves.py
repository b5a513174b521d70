"""How a run went: the terms of its loss and its scores, pass by pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core_models.errors import DiskError
from train.figures.figure_style import MARKERS, open_figure

# An area of the figure holds no more lines than it has markers; terms of one modality have a space in their name.
_NO_TERMS = ("epoch", "selection", "loss", "seconds")


def draw_losses(history: Sequence[dict[str, Any]], best: int, part: str, path: Path) -> None:
    """The loss's terms and the score of each pattern of modalities on `part`, by passes, as a PNG. Raises DiskError."""
    passes = [row["epoch"] for row in history]
    scored = [name for name in history[0] if name.startswith(f"{part} ")]
    terms = [name for name in history[0] if name not in _NO_TERMS and " " not in name] or ["loss"]
    try:
        with open_figure(path, 8, 3) as drawn:
            left, right = drawn.subplots(1, 2)
            for name, marker in zip(terms, MARKERS, strict=False):
                left.plot(passes, [row[name] for row in history], label=name, marker=marker, markersize=3)
            for name, marker in zip(scored, MARKERS, strict=False):
                values = [100 * row[name] for row in history]
                right.plot(passes, values, label=name.removeprefix(f"{part} "), marker=marker, markersize=3)
            right.axvline(best, color="#555555", linewidth=0.8, linestyle=":")
            left.set(xlabel="pass", ylabel="training loss")
            right.set(xlabel="pass (dotted: the one kept)", ylabel=f"{part} weighted F1, %")
            for axes in (left, right):
                axes.legend(fontsize=7)
    except OSError as error:
        raise DiskError(f"{path} cannot be written ({error.strerror}): free space there.") from None
