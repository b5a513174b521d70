"""Colour, valence and face of an emotion outside the page, read from the table that the page uses."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import msgspec


class EmotionStyle(msgspec.Struct, frozen=True):
    """Colour and ink of a face, how pleasant the emotion is (1, 0, -1), and the strokes (24 by 24) that draw it."""

    colour: str
    ink: str
    pleasant: int
    strokes: str


@functools.cache
def _read_styles() -> dict[str, EmotionStyle | str]:
    # One table for page, report and terminal: what stands behind `export default` is JSON.
    text = (Path(__file__).parents[1] / "dashboard" / "state" / "emotion_styles.js").read_text(encoding="utf-8")
    table = msgspec.json.decode(text.rpartition("export default ")[2], type=dict[str, dict[str, str | int]])
    return {
        label: str(given["as"]) if "as" in given else msgspec.convert(given, EmotionStyle)
        for label, given in table.items()
    }


def style_of(label: str) -> EmotionStyle:
    """How a label looks; one of another label set looks like a question."""
    table = _read_styles()
    found = table.get(label, table["unknown"])
    return found if isinstance(found, EmotionStyle) else style_of(found)


def class_of(label: str) -> str:
    """The label as the name of a class in HTML and WebVTT, which hold no spaces: `curious-to-dive-deeper`."""
    return re.sub(r"[^\w-]", "-", label)
