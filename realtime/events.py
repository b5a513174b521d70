"""The wire (version 1): every message of the feed and every line of a journal, and nothing else.

One struct a message, tagged by its dotted `type`. Whoever makes an event leaves `seq`, `epoch` and `session`
alone; the ledger stamps them. Rules of compatibility: a field may be added, none is renamed, removed or given
another meaning within version 1; a client ignores fields that it does not know. Codes (`status`, `reason`,
`code`, `what`) are open sets: a client shows one that it does not know as it stands.

`python -m realtime.events` prints the JSON Schema.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from datetime import datetime
from typing import Any

import msgspec

SCHEMA_VERSION = 1

_STAMPS = ("seq", "epoch", "session")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every journaled message carries.

    `seq` rises by exactly one from 1 within an `epoch`; a number is never used twice in it. `session` is the
    call. All three are stamped by the ledger and stand on every message.
    """

    seq: int = 0
    epoch: str = ""
    session: str = ""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The label set: its name, and the labels in the order of every `probabilities`."""

    name: str
    labels: tuple[str, ...]


class CheckpointDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The dialogue model: its name and the SHA-256 of its tensors."""

    name: str
    digest: str


class SourceDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source of the session: its name, `kind` (microphone, camera, file, ...) and what it is in words."""

    source: str
    kind: str
    detail: str = ""


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created", omit_defaults=False):
    """First message of a session. `created_at` is its only wall-clock stamp; times elsewhere count from it.

    `models` maps a role (`whisper`, `text`, `face`, ...) to the model that fills it, `features` a modality
    to its FeatureSpec in words. `notice` is what people in the call should be told.
    """

    created_at: datetime
    labels: Labels
    checkpoint: CheckpointDescription
    models: dict[str, str]
    features: dict[str, str]
    sources: tuple[SourceDescription, ...]
    notice: str
    schema_version: int = SCHEMA_VERSION


class SpeechStarted(Event, frozen=True, kw_only=True, tag="speech.started"):
    """Somebody began to speak at `start_ms`; ends as `emotion.final` or `utterance.discarded` of this id."""

    utterance_id: str
    source: str
    speaker: str
    start_ms: int


class Modality(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One modality's part in a result.

    `status` is `ok`, `absent`, `unsupported_language` or another reason for which it took no part. `gate` is
    the mean of SDT eq. 10 over dimensions; `probabilities` are what the model says from this modality alone.
    """

    status: str
    gate: float | None = None
    probabilities: dict[str, float] | None = None


class Shift(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The speaker's last emotion, and the one that replaced it."""

    from_: str
    to: str


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Where the milliseconds from end of speech to this event went.

    `endpoint` is the silence waited for; `total` counts from the end of speech and is their sum.
    """

    endpoint: int
    queue: int
    asr: int
    features: int
    fusion: int
    total: int


class EmotionFinal(Event, frozen=True, kw_only=True, tag="emotion.final"):
    """What an utterance said and what its speaker feels, all modalities fused over the whole dialogue.

    Times are milliseconds of media time. `probabilities` sum to 1, `confidence` is that of `emotion`.
    `text` and `language` are absent where there were no words to hear.
    """

    utterance_id: str
    revision: int
    speaker: str
    start_ms: int
    end_ms: int
    text: str | None = None
    language: str | None = None
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    modalities: dict[str, Modality]
    shift: Shift | None = None
    latency_ms: Latency


class UtteranceDiscarded(Event, frozen=True, kw_only=True, tag="utterance.discarded"):
    """Sound that was taken for speech and was not used: `reason` is a code, `detail` a sentence."""

    utterance_id: str
    source: str
    start_ms: int
    end_ms: int
    reason: str
    detail: str


class SourceStatus(Event, frozen=True, kw_only=True, tag="source.status"):
    """A source was `opened`, `ended`, `lost` or found `absent`; `detail` says why in a sentence."""

    source: str
    kind: str
    status: str
    detail: str = ""


class StreamDegraded(Event, frozen=True, kw_only=True, tag="stream.degraded"):
    """Something had to be shed or cannot be kept: `what` of (`journal`, `video_frames`, ...), `count` lost.

    `recovered` is true when this tells the end of the trouble; `count` is then what was lost for good.
    """

    what: str
    count: int = 0
    recovered: bool = False
    detail: str = ""


class Error(Event, frozen=True, kw_only=True, tag="error"):
    """What went wrong, in one sentence; after a `fatal` one the session closes."""

    code: str
    message: str
    fatal: bool


class SessionClosed(Event, frozen=True, kw_only=True, tag="session.closed"):
    """Last message of a session; a journal that does not end with it was cut off. `totals` counts by name."""

    reason: str
    totals: dict[str, int]


class StreamGap(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="stream.gap",
    rename={"from_": "from"},
):
    """Said to one client, never journaled, so without a `seq`: something is missing here.

    The client has seen number `from` of `from_epoch`; the next message will be number `to` of `epoch`; what
    lay between cannot be given any more. `reason` is a code (realtime/feed.py lists them).
    """

    session: str
    from_epoch: str
    from_: int
    epoch: str
    to: int
    reason: str


Logged = (
    SessionCreated
    | SpeechStarted
    | EmotionFinal
    | UtteranceDiscarded
    | SourceStatus
    | StreamDegraded
    | Error
    | SessionClosed
)
"""What has a number and stands in the journal."""

Message = Logged | StreamGap
"""What a client may receive."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """One message as JSON on one line, without the line's end."""
    return _encoder.encode(message)


def decode(line: bytes | str) -> Message:
    """The message of one line; msgspec.ValidationError where it is not of this version."""
    return _decoder.decode(line)


def without_words(event: Logged) -> Logged:
    """The event as it stands in a journal that must hold no words."""
    if isinstance(event, EmotionFinal) and event.text is not None:
        return msgspec.structs.replace(event, text=None)
    return event


def check(message: Message) -> None:
    """ValueError where numbers contradict each other; types are the schema's business. Too slow for live."""
    if not isinstance(message, EmotionFinal):
        return
    opinions = {"probabilities": message.probabilities}
    opinions |= {m: o.probabilities for m, o in message.modalities.items() if o.probabilities is not None}
    for name, probabilities in opinions.items():
        if abs(sum(probabilities.values()) - 1) > 1e-3 or min(probabilities.values()) < 0:
            raise ValueError(f"{message.utterance_id}: {name} is no distribution: {probabilities}")
    if message.confidence != message.probabilities[message.emotion]:
        raise ValueError(f"{message.utterance_id}: confidence is not that of {message.emotion}")
    if message.confidence < max(message.probabilities.values()):
        raise ValueError(f"{message.utterance_id}: {message.emotion} is not the most probable emotion")
    if not 0 <= message.start_ms < message.end_ms:
        raise ValueError(f"{message.utterance_id}: ends at {message.end_ms}, starts at {message.start_ms}")


def new_id() -> str:
    """A ULID: 26 characters that sort by creation time (48 bits of milliseconds, 80 of randomness)."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one message: the tags are closed, further fields are allowed."""
    (union,), components = msgspec.json.schema_components((Message,), ref_template="#/$defs/{name}")
    for component in components.values():
        component["description"] = inspect.cleandoc(component["description"])
        properties = component["properties"]
        if set(_STAMPS) <= set(properties):  # defaults before the ledger stamps them, never on the wire
            for stamp in _STAMPS:
                del properties[stamp]["default"]
            component["required"] = [*_STAMPS, *component["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Conversation emotion tracker, feed version {SCHEMA_VERSION}",
        **union,
        "$defs": components,
    }


if __name__ == "__main__":
    document = msgspec.json.encode(schema(), order="deterministic")
    sys.stdout.write(msgspec.json.format(document).decode() + "\n")
