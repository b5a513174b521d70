"""How a source reports what happened to it: changes of state, losses, and how long to wait before it is reopened."""

from __future__ import annotations

from collections.abc import Callable

from realtime.sources.source import Sink, SourceStatus

# Losses come in bursts of many a second; a person reads one line of them, not hundreds.
_REPORT_EVERY_MS = 10_000


class StatusReporter:
    """Reports the status of one source to its sink, and its losses at most every ten seconds."""

    def __init__(self, sink: Sink, name: str, kind: str) -> None:
        self._sink = sink
        self._name = name
        self._kind = kind
        self._reported_ms = -_REPORT_EVERY_MS
        self._is_losing = False

    def report(self, status: str, detail: str, *, will_retry: bool = False) -> None:
        """Send a `SourceStatus`."""
        self._sink.status(SourceStatus(self._name, self._kind, status, detail, will_retry))

    def report_losses(self, now_ms: int, take_losses: Callable[[], str], *, reason: str, recovered: str) -> None:
        """Report `overflow` where something was lost since the last report, and `opened` once nothing more is.

        `take_losses` tells in words what was lost since it was last called, and is called only when a report is due.
        """
        if now_ms - self._reported_ms < _REPORT_EVERY_MS:
            return
        losses = take_losses()
        if losses:
            self.report("overflow", f"{losses}: {reason}.")
        elif self._is_losing:
            self.report("opened", recovered)
        if losses or self._is_losing:
            self._reported_ms = now_ms
        self._is_losing = bool(losses)


class RetryDelay:
    """Seconds to wait before a device is opened again: twice as long after each attempt, up to a longest."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._next_s = first_s
        self._longest_s = longest_s

    def take(self) -> float:
        """The delay before the next attempt."""
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._longest_s)
        return delay_s
