"""Praat and scorers of diarization read what is exported for them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from realtime.export import export
from realtime.review.conversation import Conversation

TIER = re.compile(
    r'name = "((?:[^"]|"")*)"\n +xmin = 0\n +xmax = ([\d.]+)\n'
    r' +intervals: size = (\d+)\n((?: {8,}.*\n)*)'
)
INTERVAL = re.compile(r'xmin = ([\d.]+)\n +xmax = ([\d.]+)\n +text = "((?:[^"]|"")*)"\n')


def tiers_of(content: bytes) -> dict[str, list[tuple[float, float, str]]]:
    """Tier -> (begin, end, words) of its intervals; each tier has as many as it says and covers all of the time."""
    text = content.decode()
    found = {}
    for name, end, size, body in TIER.findall(text):
        intervals = [(float(a), float(b), words.replace('""', '"')) for a, b, words in INTERVAL.findall(body)]
        assert len(intervals) == int(size)
        assert [a for a, _, _ in intervals] == [0.0, *(b for _, b, _ in intervals[:-1])]
        assert intervals[-1][1] == float(end)
        assert all(a < b for a, b, _ in intervals)
        found[name.replace('""', '"')] = intervals
    assert int(re.findall(r"^size = (\d+)", text, re.MULTILINE)[0]) == len(found)
    return found


def test_a_textgrid_has_words_and_emotions_of_each_person(told: Conversation) -> None:
    """Two tiers a person, under the names that were given, quotes and all; every utterance stands in both."""
    tiers = tiers_of(export(told, "textgrid"))
    assert set(tiers) == {f"{name} {what}" for name in told.names for what in ("words", "emotion")}
    for one in told.utterances:
        at = (one.start_ms / 1000, one.end_ms / 1000)
        assert (*at, one.emotion) in tiers[f"{one.name} emotion"]
        assert (*at, " ".join((one.text or "").split())) in tiers[f"{one.name} words"]


def test_utterances_of_one_person_that_overlap_are_cut(told: Conversation) -> None:
    """Two merged voices may speak at once; the tier stays one that Praat reads."""
    first = told.utterances[0]
    later = [first.start_ms, first.start_ms + 10, first.end_ms - 1]
    length = first.end_ms - first.start_ms
    many = tuple(replace(first, start_ms=at, end_ms=at + length) for at in later)
    tiers = tiers_of(export(Conversation(told.created, many), "textgrid"))
    assert [words for _, _, words in tiers[f"{first.name} emotion"] if words] == [first.emotion] * 3


def test_rttm_has_ten_fields_a_line(told: Conversation) -> None:
    """An utterance a line, with begin and length in seconds, and names without the spaces that part fields."""
    lines = [line.split(" ") for line in export(told, "rttm").decode().splitlines()]
    assert len(lines) == len(told.utterances)
    for fields, one in zip(lines, told.utterances, strict=True):
        assert len(fields) == 10
        assert fields[0] == "SPEAKER"
        assert float(fields[3]) == pytest.approx(one.start_ms / 1000)
        assert float(fields[4]) == pytest.approx((one.end_ms - one.start_ms) / 1000)
        assert fields[7] == one.name.replace(" ", "_")


def test_nothing_said_is_still_a_file(told: Conversation) -> None:
    """A session without utterances gives files that programs open."""
    silent = Conversation(told.created, ())
    assert export(silent, "rttm") == b""
    assert b"tiers? <absent>" in export(silent, "textgrid")
