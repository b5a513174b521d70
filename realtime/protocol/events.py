"""The wire (version 1): every message of the feed and every line of a journal, and nothing else.

One struct for each message, tagged by its dotted `type`. Code that makes an event leaves `seq`, `epoch` and `session`
alone; the publisher stamps them. What clients may send is in realtime/protocol/commands.py, the JSON Schema and the
AsyncAPI document of both in realtime/protocol/schema/, written by `python -m realtime.protocol.schema`.

Rules of compatibility within version 1, which `session.created.schema_version` names:
- a field may be added, and so may a type; none is renamed, removed, given another type or another meaning, and
  what is required stays so;
- a client ignores fields and types that it does not know; a type that it does not know still has its number;
- codes (`status`, `reason`, `code`, `what`, `kind`, the names of modalities) are open sets: a client shows one
  that it does not know as it stands. The labels are those of `session.created` and no others;
- anything else is version 2, served beside version 1 under another sub-protocol.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import msgspec

# Two files by what becomes of a message; other code imports both from here.
from realtime.protocol.control_messages import (
    CommandResult,
    OpenUtterance,
    Snapshot,
    SpeakerState,
    StreamGap,
    TrendPoint,
)
from realtime.protocol.logged_events import (
    SCHEMA_VERSION,
    CheckpointDescription,
    EmotionCorrected,
    EmotionFinal,
    EmotionProvisional,
    EmotionShift,
    Error,
    Event,
    Labels,
    Latency,
    Modality,
    ModalityStatus,
    MomentMarked,
    Opinion,
    SessionClosed,
    SessionCreated,
    Shift,
    SourceDescription,
    SourceStatus,
    SpeakerMerged,
    SpeakerOptedOut,
    SpeakerRenamed,
    SpeechEnded,
    SpeechStarted,
    StreamDegraded,
    UtteranceDiscarded,
)

__all__ = [
    "SCHEMA_VERSION",
    "SUBPROTOCOL",
    "CheckpointDescription",
    "CommandResult",
    "EmotionCorrected",
    "EmotionFinal",
    "EmotionProvisional",
    "EmotionShift",
    "Error",
    "Event",
    "Labels",
    "Latency",
    "Logged",
    "Message",
    "Modality",
    "ModalityStatus",
    "MomentMarked",
    "OpenUtterance",
    "Opinion",
    "SessionClosed",
    "SessionCreated",
    "Shift",
    "Snapshot",
    "SourceDescription",
    "SourceStatus",
    "SpeakerMerged",
    "SpeakerOptedOut",
    "SpeakerRenamed",
    "SpeakerState",
    "SpeechEnded",
    "SpeechStarted",
    "StreamDegraded",
    "StreamGap",
    "TrendPoint",
    "UtteranceDiscarded",
    "decode",
    "decode_event",
    "encode",
    "new_id",
    "time_of_id",
    "without_words",
]

# Another version of the wire would be served beside this one, under another name.
# The WebSocket sub-protocol of version 1.
SUBPROTOCOL = "emotion.v1"

# Base 32 without I, L, O and U, which people misread: ids are typed after `journal delete`.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# Events that have a number and stand in the journal.
Logged = (
    SessionCreated
    | SpeechStarted
    | SpeechEnded
    | EmotionProvisional
    | EmotionFinal
    | EmotionShift
    | UtteranceDiscarded
    | SourceStatus
    | ModalityStatus
    | StreamDegraded
    | SpeakerRenamed
    | SpeakerMerged
    | SpeakerOptedOut
    | EmotionCorrected
    | MomentMarked
    | Error
    | SessionClosed
)

# What a client may receive.
Message = Logged | StreamGap | Snapshot | CommandResult

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_event_decoder: msgspec.json.Decoder[Logged] = msgspec.json.Decoder(Logged)


def encode(message: Message) -> bytes:
    """One message as JSON on one line, without the line's end."""
    return _encoder.encode(message)


def decode(line: bytes | str) -> Message:
    """The message of one line; msgspec.ValidationError where it is not of this version."""
    return _decoder.decode(line)


def decode_event(line: bytes | str) -> Logged:
    """The event of one line of a journal; msgspec.MsgspecError or UnicodeError where it is none of this version."""
    return _event_decoder.decode(line)


def without_words(event: Logged) -> Logged:
    """The event as it stands in a journal that must hold no words."""
    if isinstance(event, EmotionFinal | EmotionProvisional) and event.text is not None:
        return msgspec.structs.replace(event, text=None)
    return event


def new_id() -> str:
    """A ULID: 26 characters that sort by creation time (48 bits of milliseconds, 80 of randomness)."""
    # Milliseconds first, so that ids and file names sort by time; 80 random bits keep two of one millisecond apart.
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def time_of_id(ulid: str) -> datetime:
    """When a ULID was made (UTC); the beginning of 1970 where it is none."""
    try:
        milliseconds = sum(_CROCKFORD.index(digit) << 5 * place for place, digit in enumerate(reversed(ulid[:10])))
        return datetime.fromtimestamp(milliseconds / 1000 if len(ulid) == 26 else 0, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
