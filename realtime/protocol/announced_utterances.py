"""The utterances that were announced and have no result yet, so that a session that fails can give each its end."""

from __future__ import annotations

from realtime.protocol import events


class AnnouncedUtterances:
    """Folds a session's events; any thread."""

    def __init__(self) -> None:
        self._started: dict[str, events.SpeechStarted] = {}

    def apply(self, event: events.Logged) -> None:
        """Take the next event."""
        match event:
            case events.SpeechStarted():
                self._started[event.utterance_id] = event
            case events.EmotionFinal() | events.UtteranceDiscarded():
                self._started.pop(event.utterance_id, None)

    def failed_events(self, media_ms: int) -> list[events.UtteranceDiscarded]:
        """A discard of each that is left, where the pipeline failed at `media_ms`."""
        return [
            events.UtteranceDiscarded(
                utterance_id=started.utterance_id,
                source=started.source,
                start_ms=started.start_ms,
                end_ms=max(started.start_ms, media_ms),
                reason="failed",
                detail="The session failed before it could be judged.",
            )
            for started in list(self._started.values())
        ]
