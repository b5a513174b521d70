"""ELAN documents, against what its schema asks for."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import msgspec
from support.awkward_session import SESSION

from realtime.bench.workloads.synthetic_session import conversation
from realtime.export import export, load
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.protocol import events
from realtime.review.conversation import Conversation

# What version 2.6 of ELAN's schema asks of each element: children in order, attributes that must and may be there.
_EAF: dict[str, tuple[list[str], set[str], set[str]]] = {
    "ANNOTATION_DOCUMENT": (
        ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "CONSTRAINT", "CONTROLLED_VOCABULARY"],
        {"DATE", "AUTHOR", "VERSION"},
        {"FORMAT", "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"},
    ),
    "HEADER": (["MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR", "PROPERTY"], set(), {"MEDIA_FILE", "TIME_UNITS"}),
    "PROPERTY": ([], set(), {"NAME"}),
    "TIME_ORDER": (["TIME_SLOT"], set(), set()),
    "TIME_SLOT": ([], {"TIME_SLOT_ID", "TIME_VALUE"}, set()),
    "TIER": (
        ["ANNOTATION"],
        {"TIER_ID", "LINGUISTIC_TYPE_REF"},
        {"PARTICIPANT", "ANNOTATOR", "DEFAULT_LOCALE", "PARENT_REF"},
    ),
    "ANNOTATION": (["ALIGNABLE_ANNOTATION", "REF_ANNOTATION"], set(), set()),
    "ALIGNABLE_ANNOTATION": (["ANNOTATION_VALUE"], {"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"}, {"SVG_REF"}),
    "REF_ANNOTATION": (["ANNOTATION_VALUE"], {"ANNOTATION_ID", "ANNOTATION_REF"}, {"PREVIOUS_ANNOTATION"}),
    "ANNOTATION_VALUE": ([], set(), set()),
    "LINGUISTIC_TYPE": (
        [],
        {"LINGUISTIC_TYPE_ID"},
        {"TIME_ALIGNABLE", "CONSTRAINTS", "GRAPHIC_REFERENCES", "CONTROLLED_VOCABULARY_REF", "EXT_REF"},
    ),
    "CONSTRAINT": ([], {"STEREOTYPE"}, {"DESCRIPTION"}),
    "CONTROLLED_VOCABULARY": (["CV_ENTRY"], {"CV_ID"}, {"DESCRIPTION"}),
    "CV_ENTRY": ([], set(), {"DESCRIPTION", "EXT_REF"}),
}


def _check(element: ElementTree.Element) -> None:
    order, needed, allowed = _EAF[element.tag]
    places = [order.index(child.tag) for child in element]
    assert places == sorted(places), f"children of {element.tag} out of order"
    assert needed <= set(element.attrib) <= needed | allowed, element.tag
    for child in element:
        _check(child)


def test_eaf_is_what_elans_schema_asks_for(told: Conversation) -> None:
    """Elements, their order, attributes, unique identifiers and references are those of EAF 2.6."""
    document = ElementTree.fromstring(export(told, "eaf"))
    _check(document)
    datetime.fromisoformat(document.attrib["DATE"])
    identifiers = [
        element.attrib[name]
        for element in document.iter()
        for name in ("TIME_SLOT_ID", "ANNOTATION_ID", "STEREOTYPE")
        if name in element.attrib
    ]
    assert len(identifiers) == len(set(identifiers))
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", one) for one in identifiers)
    references = {
        element.attrib[name]
        for element in document.iter()
        for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2", "ANNOTATION_REF", "CONSTRAINTS")
        if name in element.attrib
    }
    assert references <= set(identifiers)
    tiers = [tier.attrib for tier in document.iter("TIER")]
    names = [tier["TIER_ID"] for tier in tiers]
    assert len(names) == len(set(names))
    assert {tier["PARENT_REF"] for tier in tiers if "PARENT_REF" in tier} <= set(names)
    types = {kind.attrib["LINGUISTIC_TYPE_ID"] for kind in document.iter("LINGUISTIC_TYPE")}
    assert {tier["LINGUISTIC_TYPE_REF"] for tier in tiers} <= types


def test_eaf_holds_words_and_emotions_at_their_times(told: Conversation) -> None:
    """Each utterance is an annotation in its speaker's tier with its emotion, one of the vocabulary, hung on it."""
    document = ElementTree.fromstring(export(told, "eaf"))
    times = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in document.iter("TIME_SLOT")}
    vocabulary = {entry.text for entry in document.iter("CV_ENTRY")}
    assert vocabulary == set(told.labels)
    for name in told.names:
        mine = [one for one in told.utterances if one.name == name]
        tier = document.find(f"TIER[@PARTICIPANT='{name}'][@LINGUISTIC_TYPE_REF='utterance']")
        emotions = document.find(f"TIER[@PARTICIPANT='{name}'][@LINGUISTIC_TYPE_REF='emotion']")
        assert tier is not None
        assert emotions is not None
        words = list(tier.iter("ALIGNABLE_ANNOTATION"))
        assert [times[one.attrib["TIME_SLOT_REF1"]] for one in words] == [one.start_ms for one in mine]
        assert [one.text for one in emotions.iter("ANNOTATION_VALUE")] == [one.emotion for one in mine]


def test_overlapping_words_of_one_speaker_do_not_overlap_in_eaf(tmp_path: Path) -> None:
    """A tier cannot hold two annotations at once: the later one begins where the earlier one ends."""
    publisher = EventPublisher(SESSION, journal=Journal(tmp_path / f"{SESSION}.jsonl"))
    told = list(conversation(2, speakers=("anna",)))
    for event in told:
        if isinstance(event, events.EmotionFinal):
            event = msgspec.structs.replace(event, start_ms=1_000, end_ms=2_000 + 500 * (event.utterance_id == "u2"))
        publisher.append(event)
    publisher.close()
    document = ElementTree.fromstring(export(load(tmp_path / f"{SESSION}.jsonl"), "eaf"))
    spans = [
        (one.attrib["TIME_SLOT_REF1"], one.attrib["TIME_SLOT_REF2"]) for one in document.iter("ALIGNABLE_ANNOTATION")
    ]
    assert len(spans) == 2
    assert spans[0][1] == spans[1][0]
