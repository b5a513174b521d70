"""ELAN's annotation format (.eaf, version 2.6 of its schema, which every later ELAN reads).

Each speaker has a tier of words; the emotion, its confidence and its author (model or person) depend on each
utterance as tiers of their own, the emotion from a controlled vocabulary of the session's labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from realtime.exports.xml_text import strip_illegal_characters
from realtime.review.conversation import Conversation, Utterance

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv2.6.xsd"
_VOCABULARY = "emotions"


def render_eaf(conversation: Conversation) -> bytes:
    """The document; milliseconds of media time. Utterances of one speaker that overlap are cut to follow each other,
    since a tier cannot hold two at once."""
    created = conversation.created
    document = Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "conversation emotion tracker",
            "DATE": created.created_at.isoformat(timespec="seconds"),
            "FORMAT": "2.6",
            "VERSION": "2.6",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    SubElement(header, "PROPERTY", NAME="session").text = created.session
    SubElement(header, "PROPERTY", NAME="checkpoint").text = f"{created.checkpoint.name} {created.checkpoint.digest}"
    slots = SubElement(document, "TIME_ORDER")
    placed = {name: list(_place_utterances(conversation, name)) for name in conversation.names}
    times = sorted({time for utterances in placed.values() for _, start, end in utterances for time in (start, end)})
    for time in times:
        SubElement(slots, "TIME_SLOT", TIME_SLOT_ID=f"ts{time}", TIME_VALUE=str(time))
    for number, (name, utterances) in enumerate(placed.items()):
        _add_tiers(document, number, strip_illegal_characters(name), utterances)
    _add_types(document)
    vocabulary = SubElement(document, "CONTROLLED_VOCABULARY", CV_ID=_VOCABULARY, DESCRIPTION=created.labels.name)
    for label in conversation.labels:
        SubElement(vocabulary, "CV_ENTRY", DESCRIPTION="").text = label
    ElementTree.indent(document)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(document) + b"\n"


def _place_utterances(conversation: Conversation, name: str) -> Iterator[tuple[Utterance, int, int]]:
    """A speaker's utterances with their starts and ends, none before the end of the last."""
    free = 0
    for one in conversation.utterances:
        if one.name == name:
            # A tier of ELAN holds one annotation at a time, and each lasts a millisecond at least.
            start = max(one.start_ms, free)
            free = max(one.end_ms, start + 1)
            yield one, start, free


def _add_tiers(document: Element, number: int, name: str, utterances: list[tuple[Utterance, int, int]]) -> None:
    words = SubElement(document, "TIER", TIER_ID=name, PARTICIPANT=name, LINGUISTIC_TYPE_REF="utterance")
    for place, (one, start, end) in enumerate(utterances):
        annotation = SubElement(
            SubElement(words, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}w{place}",
            TIME_SLOT_REF1=f"ts{start}",
            TIME_SLOT_REF2=f"ts{end}",
        )
        SubElement(annotation, "ANNOTATION_VALUE").text = strip_illegal_characters(one.text or "")
    values: dict[str, Callable[[Utterance], str]] = {
        "emotion": lambda one: one.emotion,
        "confidence": lambda one: f"{one.confidence:.4f}",
        "by": lambda one: "person" if one.corrected else "model",
    }
    for kind, value in values.items():
        tier = SubElement(
            document,
            "TIER",
            TIER_ID=f"{name} {kind}",
            PARTICIPANT=name,
            PARENT_REF=name,
            LINGUISTIC_TYPE_REF="emotion" if kind == "emotion" else "note",
        )
        for place, (one, _, _) in enumerate(utterances):
            annotation = SubElement(
                SubElement(tier, "ANNOTATION"),
                "REF_ANNOTATION",
                ANNOTATION_ID=f"a{number}{kind[0]}{place}",
                ANNOTATION_REF=f"a{number}w{place}",
            )
            SubElement(annotation, "ANNOTATION_VALUE").text = value(one)


def _add_types(document: Element) -> None:
    common = {"GRAPHIC_REFERENCES": "false"}
    SubElement(document, "LINGUISTIC_TYPE", common, LINGUISTIC_TYPE_ID="utterance", TIME_ALIGNABLE="true")
    for kind, further in (("emotion", {"CONTROLLED_VOCABULARY_REF": _VOCABULARY}), ("note", {})):
        SubElement(
            document,
            "LINGUISTIC_TYPE",
            common | further,
            LINGUISTIC_TYPE_ID=kind,
            TIME_ALIGNABLE="false",
            CONSTRAINTS="Symbolic_Association",
        )
    SubElement(
        document,
        "CONSTRAINT",
        STEREOTYPE="Symbolic_Association",
        DESCRIPTION="1-1 association with a parent annotation",
    )
