"""The rows of TDFNet's Table V: what each leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ablation:
    """What a row of Table V leaves out."""

    without: str | None = None
    """The modality that is left out."""
    frames: str | None = None
    """What takes the place of the learnt frames."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of TDFNetConfig that are changed."""


# Row of Table V -> what is left out. The audio path keeps the speaker's vector, which is heard too; without ME the
# frames are a spectrogram, as in section IV-D, and words and speaker stay as they are.
TABLE_V: Mapping[str, Ablation] = {
    "TDFNet": Ablation(),
    "AUDIO PATH": Ablation(without="text"),
    "TEXT PATH": Ablation(without="voice"),
    "w/o DST": Ablation(model={"blocks": 0}),
    "w/o MT": Ablation(model={"mutual": False}),
    "w/o ME": Ablation(frames="spectrogram"),
}
