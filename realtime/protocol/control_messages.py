"""Messages to one client that are never journaled (realtime/protocol/events.py holds the rules of the wire)."""

from __future__ import annotations

import msgspec

from realtime.protocol.logged_events import ModalityStatus, SessionClosed, SessionCreated, SourceStatus, StreamDegraded


class StreamGap(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="stream.gap",
    rename={"from_": "from"},
):
    """Something is missing here. To one client, never journaled, so without a `seq`.

    The client has seen number `from` of `from_epoch`; the next message is number `to` of `epoch`; what lies between
    cannot be had any more. `reason` is a code (realtime/protocol/README.md lists them).
    """

    session: str
    from_epoch: str
    from_: int
    epoch: str
    to: int
    reason: str


class TrendPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of a speaker's latest utterances in a `snapshot`; `emotion` is the corrected one where there is one."""

    utterance_id: str
    start_ms: int
    end_ms: int
    emotion: str
    confidence: float
    probabilities: dict[str, float]


class SpeakerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A speaker in a `snapshot`: how many utterances, and the latest of them, oldest first.

    `emotion` and `confidence` are those of the latest; they are absent before the first. `merged` are the ids that
    were merged into this one (`speaker.merged`): what was said under them is this speaker's, and counted here.
    """

    speaker: str
    name: str | None = None
    opted_out: bool = False
    utterances: int = 0
    emotion: str | None = None
    confidence: float | None = None
    trend: tuple[TrendPoint, ...] = ()
    merged: tuple[str, ...] = ()


class OpenUtterance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An utterance in a `snapshot` that has begun and is not judged; `emotion` is the provisional one.

    `end_ms` is there once it has ended (`speech.ended`) and waits to be judged.
    """

    utterance_id: str
    source: str
    speaker: str
    start_ms: int
    emotion: str | None = None
    confidence: float | None = None
    end_ms: int | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="snapshot"):
    """The state of the session after number `seq` of `epoch`. To one client, never journaled.

    It stands for all that came before; what follows is the next number. `created` is the session's first
    event. `sources` have their latest status, `degraded` is what is being shed or cannot be kept.
    Events of `epoch` up to number `durable_seq` are on the disk: a power failure may take those behind it. It is absent
    without a journal.
    """

    session: str
    epoch: str
    seq: int
    created: SessionCreated | None = None
    speakers: tuple[SpeakerState, ...] = ()
    open: tuple[OpenUtterance, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    modalities: tuple[ModalityStatus, ...] = ()
    degraded: tuple[StreamDegraded, ...] = ()
    durable_seq: int | None = None
    closed: SessionClosed | None = None


class CommandResult(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="command.result"
):
    """The answer to one client's command `id`: the event that it became, or why not (a code, a sentence)."""

    session: str
    id: str
    ok: bool
    event_epoch: str = ""
    event_seq: int = 0
    code: str = ""
    message: str = ""
