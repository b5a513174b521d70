"""The events that have a number and stand in the journal (realtime/protocol/events.py holds the rules of the wire)."""

from __future__ import annotations

from datetime import datetime

import msgspec

# Rises only with a change that a client of before cannot ignore; 1 since the first release.
SCHEMA_VERSION = 1


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every journaled message carries.

    `seq` rises by exactly one from 1 within an `epoch`; a number is never used twice in it. `session` is the
    call. All three are stamped by the publisher and stand on every message.
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
    to its FeatureSpec in words. `notice` is what people in the call must be told.
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


class SpeechEnded(Event, frozen=True, kw_only=True, tag="speech.ended"):
    """Somebody has finished speaking at `end_ms`, and the utterance waits to be judged.

    It comes once between `speech.started` and `emotion.final` or `utterance.discarded` of an utterance; one that is
    discarded while it is spoken has none. `speaker` is the best guess, as in `speech.started`.
    """

    utterance_id: str
    source: str
    speaker: str
    start_ms: int
    end_ms: int


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


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What another dialogue model, `checkpoint`, says of an utterance, over that checkpoint's own labels."""

    checkpoint: str
    emotion: str
    confidence: float
    probabilities: dict[str, float]


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Where the milliseconds from end of speech to this event went.

    `endpoint` is the silence waited for, `queue` the waiting for earlier utterances and for the machine; `total`
    counts from the end of speech and is their sum. Of a recording that is read faster than it was spoken everything
    waits behind the file, which says nothing, so `queue` is 0 there.
    """

    endpoint: int
    queue: int
    asr: int
    features: int
    fusion: int
    total: int


class Judgement(Event, frozen=True, kw_only=True):
    """What `emotion.final` and `emotion.provisional` have in common; no message by itself."""

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


class EmotionFinal(Judgement, frozen=True, kw_only=True, tag="emotion.final"):
    """What an utterance said and what its speaker feels, all modalities fused over the whole dialogue.

    Times are milliseconds of media time. `probabilities` sum to 1, `confidence` is that of `emotion`.
    `text` and `language` are absent where no words were recognised. `disagreement` is how far the modalities, each
    asked alone, are apart: from 0, of one mind, to 1; absent with fewer than two of them.
    `uncertain`: the confidence is below that from which the checkpoint is right often enough; then `emotion` is no
    more than the likeliest guess, and there is no shift.
    `overlapped`: somebody else speaks during it on the same channel, who has an utterance too.
    `rescored` is there in a replay with `--rescore`: what another model says of the same features.
    """

    uncertain: bool = False
    overlapped: bool = False
    disagreement: float | None = None
    shift: Shift | None = None
    rescored: Opinion | None = None
    latency_ms: Latency


class EmotionProvisional(Judgement, frozen=True, kw_only=True, tag="emotion.provisional"):
    """A first judgement of an utterance that is still being spoken, up to `end_ms`; a later one replaces it.

    It leaves no trace in the dialogue. Fields are those of `emotion.final`; the `revision` rises
    through the provisional results of an utterance to the final one.
    """


class EmotionShift(Event, frozen=True, kw_only=True, tag="emotion.shift", rename={"from_": "from"}):
    """A speaker's settled emotion changed with this utterance, which ended at `at_ms`.

    `evidence` names the utterances, this one among them, that carry the change; a single doubtful one does not.
    """

    utterance_id: str
    speaker: str
    at_ms: int
    from_: str
    to: str
    evidence: tuple[str, ...] = ()


class UtteranceDiscarded(Event, frozen=True, kw_only=True, tag="utterance.discarded"):
    """Sound that was taken for speech and was not used: `reason` is a code, `detail` a sentence."""

    utterance_id: str
    source: str
    start_ms: int
    end_ms: int
    reason: str
    detail: str


class SourceStatus(Event, frozen=True, kw_only=True, tag="source.status"):
    """A source was `opened`, `ended`, `lost`, or found `muted` or `absent`; `detail` says why in a sentence."""

    source: str
    kind: str
    status: str
    detail: str = ""


class ModalityStatus(Event, frozen=True, kw_only=True, tag="modality.status"):
    """From now on a modality is `ok`, `absent`, ... ; of this speaker, or of all where none is named."""

    modality: str
    status: str
    speaker: str | None = None
    detail: str = ""


class StreamDegraded(Event, frozen=True, kw_only=True, tag="stream.degraded"):
    """Something had to be shed or cannot be kept: `what` of (`journal`, `video_frames`, ...), `count` lost.

    `recovered` is true at the end of the trouble; `count` is then what was lost for good.
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


class SpeakerRenamed(Event, frozen=True, kw_only=True, tag="speaker.renamed"):
    """A person gave a speaker a name to be shown; `speaker` stays what it is in every event.

    An empty `name` is none: what is left of a name after its bearer has opted out.
    """

    speaker: str
    name: str


class SpeakerMerged(Event, frozen=True, kw_only=True, tag="speaker.merged"):
    """Two voices are one person: what was said by `speaker` is to be shown as said by `into`.

    Later utterances carry `into`; in the dialogue model the past stays as it was.
    """

    speaker: str
    into: str


class SpeakerOptedOut(Event, frozen=True, kw_only=True, tag="speaker.opted_out"):
    """From now on this speaker is not judged and not written down; with `opted_out` false, again.

    What was kept of them is gone: words, features, voice print, the name that they were given, and the notes of all
    marks, which may speak of them. Clients drop that name too.
    """

    speaker: str
    opted_out: bool


class EmotionCorrected(Event, frozen=True, kw_only=True, tag="emotion.corrected", rename={"from_": "from"}):
    """A person said what an utterance's emotion was instead: a label for fine-tuning. A later one replaces it."""

    utterance_id: str
    speaker: str
    from_: str
    to: str


class MomentMarked(Event, frozen=True, kw_only=True, tag="moment.marked"):
    """A person marked a moment of the conversation, with a note or without."""

    at_ms: int
    note: str = ""


class SessionClosed(Event, frozen=True, kw_only=True, tag="session.closed"):
    """Last message of a session; a journal that does not end with it was cut off. `totals` counts by name."""

    reason: str
    totals: dict[str, int]
