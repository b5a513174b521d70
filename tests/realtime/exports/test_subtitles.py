"""WebVTT."""

from __future__ import annotations

import dataclasses
import re

from realtime.export import export
from realtime.review.conversation import Conversation


def test_webvtt_follows_its_grammar(told: Conversation) -> None:
    """Header, style, then cues whose times and tags are as WebVTT wants them; words that look like tags are escaped."""
    blocks = export(told, "webvtt").decode().rstrip("\n").split("\n\n")
    assert blocks[0].startswith("WEBVTT")
    assert [block.partition("\n")[0].partition(" ")[0] for block in blocks[1:3]] == ["NOTE", "STYLE"]
    cues = blocks[3:]
    assert len(cues) == 30
    time = r"\d\d:[0-5]\d:[0-5]\d\.\d{3}"
    for cue, one in zip(cues, told.utterances, strict=True):
        name, times, *payload = cue.split("\n")
        assert name == one.id
        assert re.fullmatch(f"{time} --> {time}", times)
        (line,) = payload
        assert "-->" not in line
        voice = re.fullmatch(r"<v ([^>\n]+)><c\.(\w+)>\[[^\]<>]+\]</c> ([^<>]*)</v>", line)
        assert voice, line
        assert voice[2] == one.emotion


def test_a_label_of_several_words_is_one_class(told: Conversation) -> None:
    """Topical-Chat's `curious to dive deeper` names one class in subtitles and report, and stays as it is in words."""
    curious = dataclasses.replace(told.utterances[0], emotion="curious to dive deeper")
    one = dataclasses.replace(told, utterances=(curious,))
    assert "<c.curious-to-dive-deeper>[curious to dive deeper" in export(one, "webvtt").decode()
    assert 'class="e-curious-to-dive-deeper"' in export(one, "html").decode()
