"""Where `--events` writes every event as a line of JSON: a file of its owner's, or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

from core_models.errors import DiskError


def open_event_file(target: str, stack: ExitStack) -> Callable[[bytes], None]:
    """Writes each line at once to a file, which `stack` closes, or to standard output for `-`. DiskError.

    The file holds what was said, so it is made readable by its owner only; one that is there keeps its rights.
    """
    # Unbuffered: what a full disk or a closed pipe refused must not be tried again, and fail again, on closing.
    try:
        if target == "-":
            out = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
            out = stack.enter_context(open(os.open(target, flags, 0o600), "wb", buffering=0))  # noqa: SIM115 (the stack closes it)
    except OSError as error:
        raise DiskError(
            f"Events cannot be written to {target} ({error.strerror}): give a file in a folder that can be written."
        ) from None

    def write_line(line: bytes) -> None:
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[out.write(rest) :]

    return write_line
