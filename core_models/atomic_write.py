"""One way to put a file in place: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from core_models.errors import DiskError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Put what `write` writes in place of `path`; what stood there stays where it fails. Raises DiskError."""
    unfinished = path.with_suffix(".unfinished")
    try:
        write(unfinished)
        os.replace(unfinished, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
        unfinished.unlink(missing_ok=True)
        sentence = " ".join(str(error).split()).rstrip(".")
        raise DiskError(
            f"{path} cannot be written ({sentence}): free space and go on from the last finished pass with "
            "--resume true."
        ) from None
