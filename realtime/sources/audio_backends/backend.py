"""A device that records, whichever way this system reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Sound comes in blocks of this length.
BLOCK_MS = 30

# Takes the next frames [n, channels] in [-1, 1], and whether the system lost some before them; None: no more come.
BlockCallback = Callable[[NDArray[np.float32] | None, bool], None]


class AudioBackend(Protocol):
    """Opens a device as often as it is asked to; what it was called the first time is looked for again."""

    detail: str
    """The device's name."""

    def open(self, on_block: BlockCallback) -> int:
        """Record from now on, with `on_block` called on a thread of its own; the rate in Hz. MicrophoneError."""

    def close(self) -> None:
        """Record no more; idempotent. `on_block` is not called after it."""
