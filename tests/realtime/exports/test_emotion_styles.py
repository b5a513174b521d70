"""Colours and faces of emotions: all told apart, by everybody."""

from __future__ import annotations

import pytest

from core_models.labels import LABEL_SETS
from realtime.exports.emotion_styles import style_of


def test_every_label_has_a_look_of_its_own() -> None:
    """All labels of all sets are known, and no two of one set share a colour or a face."""
    for labels in LABEL_SETS.values():
        looks = [style_of(label) for label in labels.labels]
        assert style_of("unheard of") not in looks
        assert len({one.colour for one in looks}) == len(looks)
        assert len({one.strokes for one in looks}) == len(looks)


def _seen(colour: str, kind: str) -> tuple[float, ...]:
    """CIELAB of a colour as it is seen with a full colour deficiency (Machado, Oliveira, Fernandes 2009)."""
    matrices = {
        "protanopia": (
            (0.152286, 1.052583, -0.204868),
            (0.114503, 0.786281, 0.099216),
            (-0.003882, -0.048116, 1.051998),
        ),
        "deuteranopia": (
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.01182, 0.04294, 0.968881),
        ),
        "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
        "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    }
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    r, g, b = (min(1, max(0, sum(m * c for m, c in zip(row, linear, strict=True)))) for row in matrices[kind])
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("kind", ["none", "protanopia", "deuteranopia", "tritanopia"])
def test_colour_blind_people_can_tell_the_colours_apart(kind: str) -> None:
    """Within a label set any two colours differ by at least 12 in CIELAB, however colours are seen."""
    for labels in LABEL_SETS.values():
        seen = {label: _seen(style_of(label).colour, kind) for label in labels.labels}
        for a in seen:
            for b in seen:
                distance = sum((p - q) ** 2 for p, q in zip(seen[a], seen[b], strict=True)) ** 0.5
                assert a == b or distance >= 12, (kind, a, b, distance)
