"""Media time of events: when they happen, in milliseconds since the session began, and how that is shown."""

from __future__ import annotations

from realtime.protocol import events


def media_time_of(event: events.Logged) -> int | None:
    """When an event is sent, in milliseconds of media time; None for types without a time.

    A mark has none: `at_ms` is the moment that somebody points at, which may lie anywhere.
    """
    match event:
        case events.SpeechStarted():
            return event.start_ms
        case events.EmotionFinal():
            return event.end_ms + event.latency_ms.total
        case events.SpeechEnded() | events.EmotionProvisional() | events.UtteranceDiscarded():
            return event.end_ms
        case events.EmotionShift():
            return event.at_ms
    return None


def format_media_time(ms: int) -> str:
    """Media time as 3:07 or 1:02:45."""
    seconds = ms // 1000
    hours = f"{seconds // 3600}:{seconds // 60 % 60:02d}" if seconds >= 3600 else f"{seconds // 60}"
    return f"{hours}:{seconds % 60:02d}"
