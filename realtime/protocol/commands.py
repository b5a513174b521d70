"""Commands: what a client may change in a session, on the socket on which it receives events (version 1).

A command is one JSON object in one text frame. Its sender is answered by `command.result` with the same `id`; what it
changes is an event like any other, numbered, journaled and sent to every client.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec

from realtime.protocol import events

# Names are shown on one line of page and terminal, and every event of a speaker may be shown with them.
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
# 31 days of milliseconds: no call is longer, and a mark further off would stretch every picture of it to nothing.
LONGEST_CALL_MS = 31 * 24 * 3_600_000

# A client's own ids come back in the answer: UUIDs have 36 characters.
_Id = Annotated[str, msgspec.Meta(max_length=64)]


class _Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    id: _Id = ""


class RenameSpeaker(_Command, frozen=True, kw_only=True, tag="speaker.rename"):
    """Show `name` for a speaker from now on; becomes `speaker.renamed`. `id` comes back in the answer."""

    speaker: _Name
    name: _Name


class OptOutSpeaker(_Command, frozen=True, kw_only=True, tag="speaker.opt_out"):
    """Stop judging a speaker, or with `opted_out` false begin again; becomes `speaker.opted_out`."""

    speaker: _Name
    opted_out: bool = True


class CorrectEmotion(_Command, frozen=True, kw_only=True, tag="emotion.correct"):
    """Say what an utterance's emotion was, of the session's labels; becomes `emotion.corrected`."""

    utterance_id: _Name
    emotion: _Name


class MarkMoment(_Command, frozen=True, kw_only=True, tag="moment.mark"):
    """Mark a moment: `at_ms`, or the end of the latest utterance that was judged; becomes `moment.marked`."""

    at_ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_CALL_MS)] | None = None
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


Command = RenameSpeaker | OptOutSpeaker | CorrectEmotion | MarkMoment

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class CommandRefused(Exception):
    """A command that is refused: a code and one sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class SessionView(Protocol):
    """What of a session a command is judged by."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def latest_ms(self) -> int: ...

    @property
    def over(self) -> bool: ...

    def has_speaker(self, speaker: str) -> bool: ...

    def resolve_speaker(self, speaker: str) -> str: ...

    def judgement_of(self, utterance_id: str) -> tuple[str, str] | None: ...


def decode(text: str | bytes) -> Command:
    """The command of one message; CommandRefused (`malformed`) where it is none."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CommandRefused("malformed", f"this is no command: {error}") from None


def encode(command: Command) -> bytes:
    """One command as JSON on one line."""
    return msgspec.json.encode(command)


def event_of(command: Command, view: SessionView) -> events.Logged:
    """The event that a command becomes, not yet stamped; CommandRefused where it makes no sense now."""
    if view.over:
        raise CommandRefused("closed", "the session is over")
    if isinstance(command, RenameSpeaker | OptOutSpeaker) and not view.has_speaker(command.speaker):
        raise CommandRefused("unknown_speaker", f"this session has no speaker {command.speaker!r}")
    match command:
        case RenameSpeaker(speaker=speaker, name=name):
            return events.SpeakerRenamed(speaker=view.resolve_speaker(speaker), name=name)
        case OptOutSpeaker(speaker=speaker, opted_out=opted_out):
            return events.SpeakerOptedOut(speaker=view.resolve_speaker(speaker), opted_out=opted_out)
        case CorrectEmotion(utterance_id=utterance_id, emotion=emotion):
            judged = view.judgement_of(utterance_id)
            if judged is None:
                raise CommandRefused("unknown_utterance", f"no utterance {utterance_id!r} has been judged")
            if emotion not in view.labels:
                raise CommandRefused("unknown_emotion", f"{emotion!r} is none of {', '.join(view.labels)}")
            speaker, before = judged
            return events.EmotionCorrected(utterance_id=utterance_id, speaker=speaker, from_=before, to=emotion)
        case MarkMoment(at_ms=at_ms, note=note):
            return events.MomentMarked(at_ms=view.latest_ms if at_ms is None else at_ms, note=note)
