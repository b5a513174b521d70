"""Small JPEGs."""

from __future__ import annotations

import cv2
import numpy as np


def jpeg(width: int, height: int, *flags: int) -> bytes:
    encoded, data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8), list(flags))
    assert encoded
    return data.tobytes()


SMALL = jpeg(32, 16)
