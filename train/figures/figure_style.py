"""How every figure of the project looks: legible at README width, light, and distinct without colour vision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Okabe and Ito's palette, but for its yellow, which a light ground swallows.
GREY, ORANGE, BLUE, VERMILLION, SKY, PURPLE, GREEN, BLACK = (
    "#808080",
    "#E69F00",
    "#0072B2",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#009E73",
    "#000000",
)
CYCLE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK, GREY)
EMOTIONS = {
    **dict.fromkeys(("neutral",), GREY),
    **dict.fromkeys(("joy", "happy"), ORANGE),
    **dict.fromkeys(("sadness", "sad"), BLUE),
    **dict.fromkeys(("anger", "angry"), VERMILLION),
    **dict.fromkeys(("surprise", "excited"), SKY),
    **dict.fromkeys(("fear", "frustrated"), PURPLE),
    "disgust": GREEN,
}
# Shapes besides colours, so that a print in grey still tells the lines apart.
MARKERS = "osD^vP*X"
SHADES = "Blues"

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "axes.grid": False,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 150,
}


@contextmanager
def open_figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """A matplotlib Figure of that size in inches, saved as the PNG `path` when the block ends."""
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=CYCLE)}):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn
        drawn.savefig(path)
