"""The HTML report."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.awkward_session import SESSION

from realtime.bench.workloads.synthetic_session import conversation
from realtime.export import export, load
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.review.conversation import Conversation
from realtime.review.conversation_measures import measure_conversation


class _Page(HTMLParser):
    """What an HTML file would fetch, and the words in it; every element must be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data", "poster")]
        self.scripts += tag == "script" or any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("utterances", [0, 30, 3_000])
def test_the_report_stands_alone(tmp_path: Path, utterances: int) -> None:
    """The HTML is well formed, fetches and runs nothing, and stays small enough for a long call."""
    publisher = EventPublisher(SESSION, journal=Journal(tmp_path / f"{SESSION}.jsonl"))
    for event in conversation(utterances):
        publisher.append(event)
    publisher.close()
    content = export(load(tmp_path / f"{SESSION}.jsonl"), "html")
    page = _Page()
    page.feed(content.decode())
    page.close()
    assert page.open == []
    assert page.fetched == []
    assert page.scripts == 0
    assert content.count(b"url(") + content.count(b"@import") == 0
    assert len(content) < 200_000 + 1_000 * utterances
    assert content.count(b'<svg class="picture"') == (5 if utterances else 0)


def test_the_report_says_everything_that_was_said(told: Conversation) -> None:
    """Every utterance's words stand in the report as words, markup and all, and the corrections as such."""
    page = _Page()
    page.feed(export(told, "html").decode())
    words = "".join(page.words)
    assert all(one.text in words for one in told.utterances if one.text)
    assert "corrected, was" in words
    assert "here & now" in words
    assert told.created.notice in words


def test_the_report_says_how_each_person_talked(told: Conversation) -> None:
    """Each person has a row of measures, under the names that they were given, and each column says what it counts."""
    page = _Page()
    page.feed(export(told, "html").decode())
    words = "".join(page.words)
    section = words[words.index("How they talked") : words.index("Over time")]
    for one in measure_conversation(told.utterances):
        assert f"{one.name}{one.talk_share:.0%}{one.turns}" in section
    assert section.count("interruptions") == 2
