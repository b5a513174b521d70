"""Whatever people and models write, ELAN and EmotionML documents are well-formed."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.awkward_session import SESSION
from support.sample_events import CREATED, final

from realtime.export import export, load
from realtime.exports.xml_text import strip_illegal_characters
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.protocol import events


@pytest.mark.parametrize("form", ["eaf", "emotionml"])
def test_names_with_control_characters_leave_a_document_well_formed(tmp_path: Path, form: str) -> None:
    """A name that XML cannot hold is written without what it cannot hold."""
    publisher = EventPublisher(SESSION, journal=Journal(tmp_path / f"{SESSION}.jsonl"))
    for event in (CREATED, final(1), events.SpeakerRenamed(speaker="ann", name="A\x00n\x1b[31mn\ufffe")):
        publisher.append(event)
    publisher.close()
    content = export(load(tmp_path / f"{SESSION}.jsonl"), form)  # type: ignore[arg-type]
    assert "A n [31mn " in ElementTree.tostring(ElementTree.fromstring(content), encoding="unicode")


@given(text=st.text())
def test_any_text_can_be_held(text: str) -> None:
    """What is left of any text parses, and is as long as before."""
    left = strip_illegal_characters(text)
    element = ElementTree.Element("a")
    element.text = left
    ElementTree.fromstring(ElementTree.tostring(element))
    assert len(left) == len(text)
