from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from realtime.protocol import events, probabilities
from realtime.protocol.schema import build_json_schema

FINAL = events.EmotionFinal(
    seq=412,
    epoch="01J",
    session="01H",
    utterance_id="u57",
    revision=3,
    speaker="remote",
    start_ms=183220,
    end_ms=185910,
    text="You had your hands full.",
    language="en",
    emotion="joy",
    confidence=0.71,
    probabilities={"neutral": 0.12, "joy": 0.71, "sadness": 0.17},
    modalities={
        "text": events.Modality(status="ok", gate=0.55, probabilities={"neutral": 0.4, "joy": 0.5, "sadness": 0.1}),
        "face": events.Modality(status="absent"),
    },
    shift=events.Shift(from_="neutral", to="joy"),
    latency_ms=events.Latency(endpoint=400, queue=1, asr=8, features=40, fusion=4, total=453),
)
STAMP = {"seq": 1, "epoch": "01J", "session": "01H"}
ONE_OF_EACH: list[events.Message] = [
    events.SessionCreated(
        **STAMP,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        labels=events.Labels(name="meld7", labels=("neutral", "joy")),
        checkpoint=events.CheckpointDescription(name="live", digest="ab" * 32),
        models={"whisper": "whisper-base"},
        features={"voice": "voice whisper-base v1 1024-d"},
        sources=(events.SourceDescription(source="microphone", kind="microphone"),),
        notice="This call is analysed.",
    ),
    events.SpeechStarted(**STAMP, utterance_id="u1", source="microphone", speaker="local", start_ms=10),
    events.SpeechEnded(**STAMP, utterance_id="u1", source="microphone", speaker="local", start_ms=10, end_ms=900),
    FINAL,
    msgspec.structs.replace(FINAL, text=None, language=None, shift=None),
    events.UtteranceDiscarded(
        **STAMP, utterance_id="u1", source="m", start_ms=1, end_ms=2, reason="noise", detail="No words in it."
    ),
    events.SourceStatus(**STAMP, source="camera", kind="camera", status="absent", detail="There is no camera."),
    events.StreamDegraded(**STAMP, what="video_frames", count=3),
    events.Error(**STAMP, code="asr", message="It failed.", fatal=False),
    events.SessionClosed(**STAMP, reason="end", totals={"utterances": 3}),
    events.EmotionProvisional(
        **STAMP,
        utterance_id="u57",
        revision=1,
        speaker="remote",
        start_ms=183220,
        end_ms=184220,
        emotion="joy",
        confidence=0.6,
        probabilities={"neutral": 0.4, "joy": 0.6},
        modalities={"voice": events.Modality(status="ok")},
    ),
    events.EmotionShift(**STAMP, utterance_id="u57", speaker="remote", at_ms=185910, from_="neutral", to="joy"),
    events.ModalityStatus(**STAMP, modality="face", status="absent", speaker="local", detail="The camera is off."),
    events.SpeakerMerged(**STAMP, speaker="speaker3", into="speaker1"),
    events.SpeakerRenamed(**STAMP, speaker="remote", name="Ann"),
    events.SpeakerOptedOut(**STAMP, speaker="remote", opted_out=True),
    events.EmotionCorrected(**STAMP, utterance_id="u57", speaker="remote", from_="joy", to="surprise"),
    events.MomentMarked(**STAMP, at_ms=185910, note="The vase."),
    events.Snapshot(
        session="01H",
        epoch="01J",
        seq=412,
        speakers=(
            events.SpeakerState(
                speaker="remote",
                utterances=1,
                emotion="joy",
                confidence=0.71,
                trend=(
                    events.TrendPoint(
                        utterance_id="u57",
                        start_ms=183220,
                        end_ms=185910,
                        emotion="joy",
                        confidence=0.71,
                        probabilities={"neutral": 0.29, "joy": 0.71},
                    ),
                ),
            ),
        ),
        open=(events.OpenUtterance(utterance_id="u58", source="m", speaker="local", start_ms=186000),),
        sources=(events.SourceStatus(**STAMP, source="m", kind="microphone", status="opened"),),
    ),
    events.CommandResult(session="01H", id="c1", ok=False, code="unknown_speaker", message="Nobody here is that."),
    events.StreamGap(session="01H", from_epoch="01J", from_=3, epoch="01K", to=1, reason="not_kept"),
]
VALIDATOR = Draft202012Validator(build_json_schema())


@pytest.mark.parametrize("message", ONE_OF_EACH, ids=lambda message: type(message).__name__)
def test_every_message_fits_the_schema_and_comes_back_equal(message: events.Message) -> None:
    """Every kind of message validates against the schema and decodes to what was encoded."""
    line = events.encode(message)
    VALIDATOR.validate(json.loads(line))
    assert events.decode(line) == message


def test_there_is_one_of_each_kind_above() -> None:
    """The list above has an example of every type that the schema names."""
    kinds = {json.loads(events.encode(message))["type"] for message in ONE_OF_EACH}
    assert kinds == set(build_json_schema()["discriminator"]["mapping"])


def test_the_wire_reads_as_documented() -> None:
    """Stamps come first, `from` is called `from`, and what is absent is left out."""
    wire = json.loads(events.encode(FINAL))
    assert list(wire)[:4] == ["type", "seq", "epoch", "session"]
    assert wire["type"] == "emotion.final"
    assert wire["shift"] == {"from": "neutral", "to": "joy"}
    assert wire["modalities"]["face"] == {"status": "absent"}
    assert "text" not in json.loads(events.encode(events.without_words(FINAL)))


def test_a_field_that_is_not_known_is_ignored() -> None:
    """A message with a field of a later minor version decodes and validates."""
    wire = json.loads(events.encode(FINAL)) | {"valence": 0.4}
    VALIDATOR.validate(wire)
    assert events.decode(json.dumps(wire)) == FINAL


@pytest.mark.parametrize("change", [{"type": "emotion.guess"}, {"seq": None}, {"modalities": {"text": {}}}])
def test_what_breaks_the_contract_does_not_fit_the_schema(change: dict[str, object]) -> None:
    """An unknown type, a missing number and a modality without status are refused by schema and decoder."""
    wire = {k: v for k, v in (json.loads(events.encode(FINAL)) | change).items() if v is not None}
    assert not VALIDATOR.is_valid(wire)
    if "seq" in wire:
        with pytest.raises(msgspec.ValidationError):
            events.decode(json.dumps(wire))


@pytest.mark.parametrize(
    "change",
    [
        {"probabilities": {"joy": 0.71, "neutral": 0.2}},
        {"probabilities": {"joy": 1.2, "neutral": -0.2}, "confidence": 1.2},
        {"confidence": 0.7},
        {"emotion": "neutral", "confidence": 0.12},
        {"end_ms": 183220},
        {"modalities": {"voice": events.Modality(status="ok", gate=1.0, probabilities={"joy": 0.9})}},
    ],
)
def test_numbers_that_contradict_each_other_are_found(change: dict[str, object]) -> None:
    """`validate` passes a sound event and names the utterance of one whose numbers cannot be true."""
    probabilities.validate(FINAL)
    with pytest.raises(ValueError, match="u57"):
        probabilities.validate(msgspec.structs.replace(FINAL, **change))


def test_ids_sort_by_the_time_they_were_made() -> None:
    """Ids are 26 characters, unlike each other, and those made in later milliseconds sort later."""
    ids = []
    for _ in range(20):
        ids.append(events.new_id())
        time.sleep(0.002)
    assert ids == sorted(set(ids))
    assert all(len(i) == 26 and i.isalnum() for i in ids)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda weights: sum(weights) > 0.1))
def test_probabilities_of_the_wire_sum_to_one_as_printed(weights: list[float]) -> None:
    """Rounded to four decimals the printed numbers sum to exactly 1, none moves by a ten-thousandth, and what was
    the most probable still is."""
    labels = [f"e{n}" for n in range(len(weights))]
    exact = dict(zip(labels, (weight / sum(weights) for weight in weights), strict=True))
    emotion = max(exact, key=exact.__getitem__)
    event = msgspec.structs.replace(
        FINAL,
        emotion=emotion,
        confidence=exact[emotion],
        probabilities=exact,
        modalities={"voice": events.Modality(status="ok", gate=1 / 3, probabilities=exact)},
    )
    wire = json.loads(events.encode(probabilities.round_probabilities(event)), parse_float=Decimal)
    for printed in (wire["probabilities"], wire["modalities"]["voice"]["probabilities"]):
        assert sum(printed.values()) == 1
        assert all(abs(float(value) - exact[label]) < 1e-4 for label, value in printed.items())
        assert printed[emotion] == max(printed.values())
    assert wire["confidence"] == wire["probabilities"][emotion]
    assert str(wire["modalities"]["voice"]["gate"]) == "0.3333"
    probabilities.validate(probabilities.round_probabilities(event))


def test_what_is_no_distribution_is_not_made_to_look_like_one() -> None:
    """Rounding leaves numbers that do not sum to 1 as they are, for `validate` to find."""
    wrong = msgspec.structs.replace(FINAL, probabilities={"joy": 0.71, "neutral": 0.2})
    assert probabilities.round_probabilities(wrong) == wrong
