"""The events of a recorded session again, at the pace of its media time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from realtime.journal.reader import Damage
from realtime.protocol import events
from realtime.protocol.media_time import media_time_of


def play_events(
    recorded: Iterator[events.Logged | Damage],
    append: Callable[[events.Logged], object],
    *,
    skip: Callable[[Damage], object] = lambda damage: None,
    speed: float | Literal["max"],
    wait: Callable[[float], bool],
) -> events.SessionClosed | None:
    """Append every event at its time but the last; returns that, or None where the session was cut off.

    `skip` is called in the place of what is damaged. `wait` sleeps so many seconds and says whether to stop.
    """
    now, closed = 0, None
    for event in recorded:
        if isinstance(event, Damage):
            skip(event)
            continue
        if isinstance(event, events.SessionClosed):
            closed = event
            continue
        at = media_time_of(event)
        if at is not None and at > now:
            if speed != "max" and wait((at - now) / 1000 / speed):
                break
            now = at
        append(event)
    return closed
