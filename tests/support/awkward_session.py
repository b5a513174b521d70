"""A recorded session that the formats of other programs stumble over."""

from __future__ import annotations

from pathlib import Path

import msgspec

from realtime.bench.workloads.synthetic_session import conversation
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.protocol import events

SESSION = "01JEXPRT000000000000000000"
AWKWARD = 'He said: "<b>a & b</b>",\n--> then ]]> é 笑 \x07'


def record_awkward_session(folder: Path) -> Path:
    """A session of thirty utterances with a correction, a new name, a mark, and words that formats stumble over."""
    publisher = EventPublisher(SESSION, journal=Journal(folder / f"{SESSION}.jsonl"))
    finals = []
    for event in conversation(30):
        if isinstance(event, events.EmotionFinal):
            text = {0: AWKWARD, 1: None}.get(len(finals), event.text)
            event = msgspec.structs.replace(event, text=text)
            finals.append(event)
        publisher.append(event)
    third = finals[2]
    wrong = next(label for label in third.probabilities if label != third.emotion)
    publisher.append(
        events.EmotionCorrected(utterance_id=third.utterance_id, speaker=third.speaker, from_=third.emotion, to=wrong)
    )
    publisher.append(events.SpeakerRenamed(speaker="anna", name='Anna "A" <&> K.'))
    publisher.append(events.MomentMarked(at_ms=5_000, note="here & now"))
    publisher.append(events.SessionClosed(reason="ended", totals={}))
    publisher.close()
    return folder / f"{SESSION}.jsonl"
