"""The picture of a face as the expression network is shown it: grey, upright, of one size and place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# Pixels a side, those of FER-2013, so that the network learns from what its corpus has and no more.
SIDE = 48

# The mesh's points that expression moves least (corners of the eyes, bridge and base of the nose), and where they
# lie on MediaPipe's canonical head, in cm to the right and down from its centre.
_ANCHORS = (33, 133, 362, 263, 168, 2)
_CANONICAL = np.array([-4.45 - 2.66j, -1.86 - 2.59j, 1.86 - 2.59j, 4.45 - 2.66j, -3.27j, 2.09j])
# The crop's centre lies 0.9 cm below the head's: a mouth opens downwards.
_CENTRE = 0.9j
# Centimetres from the centre to a side: brow to chin, with room for an open mouth.
_HALF = 8.6


def crop_face(rgb: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The face at `landmarks` (pixels of `rgb`, float32 [478, 2]) in `rgb` (uint8 [height, width, 3]): uint8 [48, 48].

    Turned, scaled and moved by the least-squares similarity of six points that expression moves little to the
    canonical head: a nod or a turn of the head changes its size less than it would by the eyes alone. What lies
    beyond the picture repeats its edge.
    """
    there = landmarks[_ANCHORS, 0] + 1j * landmarks[_ANCHORS, 1]
    wanted = (_CANONICAL - _CENTRE) * (SIDE / (2 * _HALF)) + (1 + 1j) * (SIDE - 1) / 2
    origin, goal = there.mean(), wanted.mean()
    # One complex number is rotation and scale: the least-squares similarity in closed form.
    turn = np.vdot(there - origin, wanted - goal) / np.vdot(there - origin, there - origin).real
    # Several times as large first, then averaged: sampling a large face at 48 points would alias.
    finer = max(1, round(1 / abs(turn)))
    turn *= finer
    shift = (goal + (0.5 + 0.5j)) * finer - (0.5 + 0.5j) - turn * origin
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    size = (SIDE * finer, SIDE * finer)
    large = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
