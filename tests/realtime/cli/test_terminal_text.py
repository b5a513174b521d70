"""Text from outside commands neither a terminal nor a subtitle."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console
from support.sample_events import CREATED, final

from realtime.cli.terminal import Terminal
from realtime.exports.subtitles import render_webvtt
from realtime.protocol import events
from realtime.protocol.displayed_text import strip_control_characters
from realtime.review.conversation import fold_conversation

HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b[31mred\x1b[2J",
    "\x9b31m",
    "\x1b]52;c;Y2F0\x07",
    "a\rb",
    "\u202egnp.exe",
    "x --> 00:00:01.000",
    "</v><script>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_escape_sequence_reaches_the_terminal(text: str) -> None:
    """Words, names and messages from outside: no control character of theirs is printed."""
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=200, color_system=None))
    terminal.show(events.SpeakerRenamed(speaker="ann", name=text))
    terminal.show(msgspec.structs.replace(final(1), text=text))
    terminal.show(events.Error(code="x", message=text, fatal=False))
    shown = out.getvalue().replace("\n", "")
    assert shown == strip_control_characters(shown)
    assert shown.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_out_of_a_subtitle(text: str) -> None:
    """One cue an utterance, whatever it says: one arrow, one voice, no control character."""
    told = [events.SpeakerRenamed(speaker="ann", name=text), msgspec.structs.replace(final(1), text=text)]
    document = render_webvtt(fold_conversation(CREATED, told)).decode()
    assert document.count("-->") == 1
    assert document.count("<v ") == document.count("</v>") == 1
    assert "<script" not in document
    assert document == strip_control_characters(document)
