from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from core_models.labels import LABEL_SETS
from realtime.bench.workloads.synthetic_session import conversation
from realtime.export import export, load
from realtime.exports.emotion_styles import style_of
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.protocol import events
from realtime.review.conversation import Conversation

SESSION = "01JEXPRT000000000000000000"
AWKWARD = 'He said: "<b>a & b</b>",\n--> then ]]> é 笑 \x07'


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A session of thirty utterances with a correction, a new name, a mark, and words that formats stumble over."""
    publisher = EventPublisher(SESSION, journal=Journal(tmp_path / f"{SESSION}.jsonl"))
    finals = []
    for event in conversation(30):
        if isinstance(event, events.EmotionFinal):
            text = {0: AWKWARD, 1: None}.get(len(finals), event.text)
            event = msgspec.structs.replace(event, text=text)
            finals.append(event)
        publisher.append(event)
    third = finals[2]
    wrong = next(label for label in third.probabilities if label != third.emotion)
    publisher.append(
        events.EmotionCorrected(utterance_id=third.utterance_id, speaker=third.speaker, from_=third.emotion, to=wrong)
    )
    publisher.append(events.SpeakerRenamed(speaker="anna", name='Anna "A" <&> K.'))
    publisher.append(events.MomentMarked(at_ms=5_000, note="here & now"))
    publisher.append(events.SessionClosed(reason="ended", totals={}))
    publisher.close()
    return tmp_path / f"{SESSION}.jsonl"


@pytest.fixture
def told(journal: Path) -> Conversation:
    return load(journal)


def test_corrections_and_names_are_applied(told: Conversation) -> None:
    """An utterance has the emotion that a person gave it, and still says what the model judged; names are shown."""
    (corrected,) = [one for one in told.utterances if one.corrected]
    assert corrected.emotion != corrected.judged
    assert set(told.names) == {'Anna "A" <&> K.', "ben"}
    assert [one.start_ms for one in told.utterances] == sorted(one.start_ms for one in told.utterances)


def test_jsonl_holds_every_utterance_as_it_is(told: Conversation) -> None:
    """A JSON object a line, with words, times, emotion and the distributions of the whole and of each modality."""
    rows = [json.loads(line) for line in export(told, "jsonl").splitlines()]
    assert [row["utterance_id"] for row in rows] == [one.id for one in told.utterances]
    assert rows[0]["text"] == AWKWARD
    for row, one in zip(rows, told.utterances, strict=True):
        assert (row["emotion"], row["start_ms"], row["probabilities"]) == (one.emotion, one.start_ms, one.probabilities)
        assert set(row["modalities"]) == set(one.modalities)


def test_csv_reads_back_as_it_was(told: Conversation) -> None:
    """Any reader of RFC 4180 finds the same rows, awkward words included, and numbers at full precision."""
    rows = list(csv.DictReader(io.StringIO(export(told, "csv").decode(), newline="")))
    assert len(rows) == 30
    assert rows[0]["text"].replace("\r\n", "\n") == AWKWARD
    assert rows[1]["text"] == ""
    for row, one in zip(rows, told.utterances, strict=True):
        assert float(row[f"p_{one.judged}"]) == one.confidence
        assert (row["name"], row["emotion"]) == (one.name, one.emotion)
        assert row["face_status"] == "absent"
        assert row["face_gate"] == ""


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


def test_parquet_has_the_columns_of_the_csv(told: Conversation) -> None:
    """Where pyarrow is there, the Parquet file holds the rows of the CSV with numbers as numbers."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table: Any = parquet.read_table(io.BytesIO(export(told, "parquet")))
    header = export(told, "csv").decode().partition("\r\n")[0].split(",")
    assert table.column_names == header
    assert table.column("confidence").to_pylist() == [one.confidence for one in told.utterances]


def test_every_label_has_a_look_of_its_own() -> None:
    """All labels of all sets are known, and no two of one set share a colour or a face."""
    for labels in LABEL_SETS.values():
        looks = [style_of(label) for label in labels.labels]
        assert style_of("unheard of") not in looks
        assert len({one.colour for one in looks}) == len(looks)
        assert len({one.strokes for one in looks}) == len(looks)


def _seen(colour: str, kind: str) -> tuple[float, ...]:
    """CIELAB of a colour as it is seen with a full colour deficiency (Machado, Oliveira, Fernandes 2009)."""
    matrices = {
        "protanopia": (
            (0.152286, 1.052583, -0.204868),
            (0.114503, 0.786281, 0.099216),
            (-0.003882, -0.048116, 1.051998),
        ),
        "deuteranopia": (
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.01182, 0.04294, 0.968881),
        ),
        "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
        "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    }
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    r, g, b = (min(1, max(0, sum(m * c for m, c in zip(row, linear, strict=True)))) for row in matrices[kind])
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("kind", ["none", "protanopia", "deuteranopia", "tritanopia"])
def test_colour_blind_people_can_tell_the_colours_apart(kind: str) -> None:
    """Within a label set any two colours differ by at least 12 in CIELAB, however colours are seen."""
    for labels in LABEL_SETS.values():
        seen = {label: _seen(style_of(label).colour, kind) for label in labels.labels}
        for a in seen:
            for b in seen:
                distance = sum((p - q) ** 2 for p, q in zip(seen[a], seen[b], strict=True)) ** 0.5
                assert a == b or distance >= 12, (kind, a, b, distance)


def test_the_program_writes_files_for_their_owner_only(journal: Path, tmp_path: Path) -> None:
    """`--output` makes a file that others cannot read; without it the export goes to standard output."""
    target = tmp_path / "call.csv"
    command = [sys.executable, "-m", "realtime.export", str(journal), "--format", "csv"]
    subprocess.run([*command, "--output", str(target)], check=True)
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o600
    assert subprocess.run(command, check=True, capture_output=True).stdout == target.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["latest", "--journal", "nowhere"], 2, b"no journals"),
        (["{journal}", "--output", "/proc/nowhere/x.html"], 8, b"cannot be written"),
        (["{damaged}"], 8, b"does not begin with session.created"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_sentence(
    journal: Path, tmp_path: Path, arguments: list[str], code: int, said: bytes
) -> None:
    """Missing, damaged and unwritable each end with their exit code and one sentence."""
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))
    filled = [argument.format(journal=journal, damaged=damaged) for argument in arguments]
    done = subprocess.run([sys.executable, "-m", "realtime.export", *filled], capture_output=True, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
