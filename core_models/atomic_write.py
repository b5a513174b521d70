"""Atomic writes: a file is in place whole, also after a crash or a power cut, or it is as it was before."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError

from core_models.errors import DiskError

WAY_ON = "free space or choose another folder, and run the command again"


def write_atomically(path: Path, write: Callable[[Path], object], way_on: str = WAY_ON) -> None:
    """Put what `write` writes to the path that it is given in place of `path`.

    The file is flushed to the disk before it is renamed, so that a power cut leaves the old file or the new one.
    Where `write` fails, the old file stays and nothing else is left behind. `way_on` is the part of the
    error message that says what to do. Raises DiskError.
    """
    unfinished = path.with_suffix(".unfinished")
    try:
        write(unfinished)
        _flush_to_disk(unfinished)
        os.replace(unfinished, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
        with suppress(OSError):  # such as a folder that is none
            unfinished.unlink(missing_ok=True)
        raise DiskError(f"{path} cannot be written ({reason_of(error)}): {way_on}.") from None
    # The rename lasts as soon as the folder does; some file systems cannot flush folders.
    with suppress(OSError):
        _flush_to_disk(path.parent)


def require_writable(folders: Sequence[Path]) -> None:
    """Raise DiskError for the first of `folders` in which no file can be made; one that was not there is gone again.

    A long computation asks this before it begins, so that it does not end at its first file.
    """
    for folder in folders:
        made = not folder.exists()
        probe = folder / f".{os.getpid()}.writable"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A full disk still makes empty files.
            probe.write_bytes(b"written")
            probe.unlink()
            if made:
                # Another process has begun to fill it.
                with suppress(OSError):
                    folder.rmdir()
        except OSError as error:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
            raise DiskError(f"{folder} cannot be written ({reason_of(error)}): {WAY_ON}.") from None


def reason_of(error: BaseException) -> str:
    """What an error of the system or a library says, as a part of a sentence."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()).rstrip(".")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
