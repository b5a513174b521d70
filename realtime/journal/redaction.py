"""What a line of the wire or of a journal is without the people who opted out."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from realtime.protocol import events

# Of all other lines nothing is to be taken, and a long journal is long to decode.
_PERSONAL = (b'"text"', b'"speaker.renamed"', b'"note"')


def redact_line(people: Collection[str], line: bytes) -> bytes:
    """The line without what `people` said and the names that they were given, and without the note of any mark.

    A note is free text, and nobody can tell whom it speaks of or quotes, so none stays; the mark does. A line that
    cannot be read becomes `{}` where it may hold any of this, since nobody can tell whose it is. The result is never
    longer.
    """
    if not any(key in line for key in _PERSONAL):
        return line
    try:
        event = events.decode_event(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return b"{}"
    redacted = redact_event(people, event)
    return line if redacted is event else events.encode(redacted)


def redact_event(people: Collection[str], event: events.Logged) -> events.Logged:
    """As `redact_line`; the event itself where nothing is to be taken."""
    match event:
        case events.EmotionFinal() | events.EmotionProvisional() if event.speaker in people:
            return events.without_words(event)
        case events.SpeakerRenamed() if event.speaker in people and event.name:
            return msgspec.structs.replace(event, name="")
        case events.MomentMarked() if event.note:
            return msgspec.structs.replace(event, note="")
    return event
