"""The signals that end a program in order: Ctrl-C, SIGTERM, and SIGHUP of a terminal that was closed."""

from __future__ import annotations

import signal
from collections.abc import Callable

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def catch_ending_signals(end: Callable[[int], object], *, once: bool = False) -> None:
    """Call `end` with the signal's number; with `once` a second signal ends the program there and then."""

    def handle(number: int, frame: object) -> None:
        if once:
            for one in _ENDING:  # an exception could be stuck behind a thread or native code
                signal.signal(one, signal.SIG_DFL)
        end(number)

    for one in _ENDING:
        if signal.getsignal(one) is not signal.SIG_IGN or one == signal.SIGINT:  # `nohup` wants it to go on
            signal.signal(one, handle)
