"""EmotionML 1.0 (W3C): every utterance's distribution as categories, beside its times and speaker."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from realtime.exports.xml_text import strip_illegal_characters
from realtime.review.conversation import Conversation

_NAMESPACE = "http://www.w3.org/2009/10/emotionml"


def render_emotionml(conversation: Conversation) -> bytes:
    """The document, with the session's labels as a vocabulary of its own; times are milliseconds since 1970.

    A corrected utterance has the person's emotion alone, with value 1, and `expressed-through` left out.
    """
    created = conversation.created
    vocabulary = created.labels.name
    document = Element("emotionml", {"version": "1.0", "xmlns": _NAMESPACE, "category-set": f"#{vocabulary}"})
    items = SubElement(document, "vocabulary", type="category", id=vocabulary)
    for label in conversation.labels:
        SubElement(items, "item", name=label)
    # EmotionML has no media time without a medium to refer to: its times are wall-clock milliseconds.
    origin = round(created.created_at.timestamp() * 1000)
    for one in conversation.utterances:
        here = {"start": str(origin + one.start_ms), "end": str(origin + one.end_ms), "id": one.id}
        through = [name for name in one.modalities if one.modalities[name].status == "ok"]
        if through and not one.corrected:
            here["expressed-through"] = " ".join(through)
        emotion = SubElement(document, "emotion", here)
        info = SubElement(emotion, "info")
        SubElement(info, "speaker", xmlns="").text = strip_illegal_characters(one.name)
        shares = {one.emotion: 1.0} if one.corrected else one.probabilities
        for label, probability in shares.items():
            SubElement(emotion, "category", name=label, value=f"{min(probability, 1):.4f}")
    ElementTree.indent(document)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(document) + b"\n"
