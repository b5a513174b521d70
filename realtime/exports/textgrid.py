"""A Praat TextGrid: for each person a tier of what they said and one of what they felt."""

from __future__ import annotations

from collections.abc import Iterable

from realtime.review.conversation import Conversation, Utterance

_Interval = tuple[int, int, str]
"""Begin and end in ms, and what stands there."""


def render_textgrid(conversation: Conversation) -> bytes:
    """Praat's long text format, UTF-8; tiers `NAME words` and `NAME emotion`, times in seconds.

    The intervals of a tier cover all of it and cannot overlap: of two utterances of one person that do, the later one
    begins where the earlier one ends.
    """
    end_ms = max(conversation.end_ms, 1)  # Praat refuses a grid without length
    tiers: list[tuple[str, list[_Interval]]] = []
    for name in conversation.names:
        mine = [one for one in conversation.utterances if one.name == name]
        tiers.append((f"{name} words", _fill_tier(((one, one.text or "") for one in mine), end_ms)))
        tiers.append((f"{name} emotion", _fill_tier(((one, one.emotion) for one in mine), end_ms)))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end_ms / 1000:.3f}",
        f"tiers? {'<exists>' if tiers else '<absent>'}",
    ]
    if tiers:
        lines += [f"size = {len(tiers)}", "item []:"]
    for number, (title, intervals) in enumerate(tiers, 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quote(title)}",
            "        xmin = 0",
            f"        xmax = {end_ms / 1000:.3f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (start, end, words) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start / 1000:.3f}",
                f"            xmax = {end / 1000:.3f}",
                f"            text = {_quote(words)}",
            ]
    return ("\n".join(lines) + "\n").encode()


def _fill_tier(said: Iterable[tuple[Utterance, str]], end_ms: int) -> list[_Interval]:
    """The intervals of a tier from 0 to `end_ms`, with empty ones where nothing was said."""
    intervals: list[_Interval] = []
    reached = 0
    for one, words in said:
        start = max(one.start_ms, reached)
        if one.end_ms <= start:
            continue
        if start > reached:
            intervals.append((reached, start, ""))
        intervals.append((start, one.end_ms, words))
        reached = one.end_ms
    if reached < end_ms:
        intervals.append((reached, end_ms, ""))
    return intervals


def _quote(text: str) -> str:
    """A string of Praat: quotes doubled, on one line."""
    return '"' + " ".join(text.split()).replace('"', '""') + '"'
