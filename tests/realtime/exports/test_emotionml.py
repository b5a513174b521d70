"""EmotionML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from realtime.export import export
from realtime.review.conversation import Conversation


def test_emotionml_holds_the_distributions_in_its_own_vocabulary(told: Conversation) -> None:
    """Categories are of the vocabulary that the document defines, their values sum to 1, times are since 1970."""
    document = ElementTree.fromstring(export(told, "emotionml"))
    space = "{http://www.w3.org/2009/10/emotionml}"
    vocabulary = document.find(f"{space}vocabulary")
    assert vocabulary is not None
    assert document.attrib["category-set"] == f"#{vocabulary.attrib['id']}"
    items = {item.attrib["name"] for item in vocabulary}
    emotions = document.findall(f"{space}emotion")
    assert len(emotions) == 30
    for emotion, one in zip(emotions, told.utterances, strict=True):
        categories = {c.attrib["name"]: float(c.attrib["value"]) for c in emotion.findall(f"{space}category")}
        assert set(categories) <= items
        assert sum(categories.values()) == pytest.approx(1, abs=1e-3)
        assert max(categories, key=categories.__getitem__) == one.emotion
        assert int(emotion.attrib["end"]) - int(emotion.attrib["start"]) == one.end_ms - one.start_ms
