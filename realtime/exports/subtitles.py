"""WebVTT: the words as subtitles, each with its speaker as a voice and its emotion as a class."""

from __future__ import annotations

from html import escape

from realtime.exports.emotion_styles import class_of, style_of
from realtime.protocol.displayed_text import strip_control_characters
from realtime.review.conversation import Conversation, Utterance


def render_webvtt(conversation: Conversation) -> bytes:
    """A cue an utterance, named by its id, the emotion and its confidence before the words.

    `::cue(.joy)` and so on colour the emotions in players that know styles; the word is always there too.
    """
    colours = {class_of(label): style_of(label).colour for label in conversation.labels}
    style = "\n".join(f"::cue(.{name}) {{ color: {colour}; }}" for name, colour in colours.items())
    created = conversation.created
    parts = [
        f"WEBVTT - session {created.session}, {created.created_at:%Y-%m-%d %H:%M} UTC",
        "NOTE Emotions were inferred by a program and are often wrong.",
        f"STYLE\n{style}",
        *(_render_cue(one) for one in conversation.utterances),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _render_cue(one: Utterance) -> str:
    note = f"{one.emotion}, corrected" if one.corrected else f"{one.emotion} {one.confidence:.0%}"
    words = _one_line(one.text or "(no words)")
    # A voice span ends at `>` and must not hold a line's end; neither must an identifier hold `-->`.
    voice = f"<v {_one_line(one.name)}>"
    times = f"{_format_timestamp(one.start_ms)} --> {_format_timestamp(one.end_ms)}"
    # An identifier with an arrow would be read as the times.
    cue = _one_line(one.id).replace("--", "- -")
    return f"{cue}\n{times}\n{voice}<c.{class_of(one.emotion)}>[{note}]</c> {words}</v>"


def _one_line(text: str) -> str:
    return escape(" ".join(strip_control_characters(text).split()), quote=False)


def _format_timestamp(ms: int) -> str:
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
