"""`python -m realtime.listen --file`: the demonstration conversation from start to end with real weights."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import jsonschema
import msgspec
import pytest

from core_models.feature_log import features_path
from realtime.journal.reader import read_events
from realtime.journal.stored_lines import seal_line
from realtime.protocol import events, probabilities
from realtime.protocol.schema import build_json_schema
from realtime.review.rescoring import build_rescorer

pytestmark = pytest.mark.weights


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("’", "'"))


def _errors(reference: list[str], heard: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(heard) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, word in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (expected != word))
    return row[-1]


def test_every_line_on_standard_output_is_an_event_of_the_schema(judged) -> None:
    """Standard output holds events and nothing else, each valid against the published schema."""
    run, _ = judged
    validator = jsonschema.Draft202012Validator(build_json_schema())
    for line in run.lines:
        validator.validate(msgspec.json.decode(line))


def test_numbers_contradict_nothing(judged) -> None:
    """Probabilities sum to 1, confidence is that of the emotion, times run forwards."""
    for event in judged[0].events:
        probabilities.validate(event)


def test_session_is_framed_and_numbered(judged) -> None:
    """`session.created` comes first, `session.closed` last, and `seq` is contiguous within one epoch."""
    stream = judged[0].events
    assert isinstance(stream[0], events.SessionCreated)
    assert isinstance(stream[-1], events.SessionClosed)
    assert stream[-1].reason == "ended"
    assert [event.seq for event in stream] == list(range(1, len(stream) + 1))
    assert len({event.epoch for event in stream}) == 1


def test_every_start_of_speech_has_one_end(judged) -> None:
    """Each `speech.started` is followed by exactly one final or discard of the same utterance."""
    run, _ = judged
    started = Counter(e.utterance_id for e in run.of(events.SpeechStarted))
    ended = Counter(e.utterance_id for e in run.of((events.EmotionFinal, events.UtteranceDiscarded)))
    assert started == ended
    assert set(started.values()) == {1}


def test_words_match_what_was_said(judged, scene) -> None:
    """The words of each speaker are those of the written scene, up to one word in ten."""
    for speaker in ("anna", "ben"):
        said = _words(" ".join(line["text"] for line in scene if line["speaker"] == speaker))
        finals = [e for e in judged[0].of(events.EmotionFinal) if e.speaker == speaker]
        heard = _words(" ".join(e.text or "" for e in finals))
        assert _errors(said, heard) <= 0.1 * len(said), heard


def test_no_speech_is_missed(judged, scene) -> None:
    """Every line of the scene is covered by utterances of its speaker, its first and last word included."""
    finals = judged[0].of(events.EmotionFinal)
    for line in scene:
        mine = [e for e in finals if e.speaker == line["speaker"]]
        assert any(e.start_ms <= line["start_ms"] + 250 and e.end_ms > line["start_ms"] for e in mine), line
        assert any(e.end_ms >= line["end_ms"] - 350 and e.start_ms < line["end_ms"] for e in mine), line


def test_the_face_is_seen_and_absent_is_absent(judged) -> None:
    """The camera sees anna but never ben, and nobody while it is covered (seconds 62 to 68)."""
    for event in judged[0].of(events.EmotionFinal):
        face = event.modalities["face"]
        covered = event.start_ms >= 62_000 and event.end_ms <= 68_000
        if event.speaker == "ben" or covered:
            assert face.status == "absent"
            assert face.gate is None
            assert face.probabilities is None
    seen = [e for e in judged[0].of(events.EmotionFinal) if e.modalities["face"].status == "ok"]
    assert len(seen) >= 5


def test_the_smile_and_the_tears_are_told_apart(judged) -> None:
    """The face alone says joy more often than sadness while the clip laughs, and less often while it cries."""
    mean: dict[bool, list[float]] = {True: [], False: []}
    for event in judged[0].of(events.EmotionFinal):
        opinion = event.modalities["face"].probabilities
        if opinion is not None:
            laughs = event.end_ms < 26_000 or event.start_ms > 68_000
            mean[laughs].append(opinion["joy"] - opinion["sadness"])
    assert sum(mean[True]) / len(mean[True]) > sum(mean[False]) / len(mean[False])


def test_the_journal_holds_what_was_printed(judged) -> None:
    """The journal is the same lines, in the same order, readable by its owner only."""
    run, folder = judged
    journal, features = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: len(p.name))
    assert features == features_path(journal)
    assert journal.read_bytes().splitlines() == [seal_line(line) for line in run.lines]
    assert journal.stat().st_mode & 0o077 == 0


def test_the_same_model_over_the_stored_features_says_the_same(judged) -> None:
    """A second opinion of the checkpoint that judged live is the first, up to the float16 of the store."""
    run, folder = judged
    (journal,) = folder.glob("*[!s].jsonl")
    rescored = build_rescorer(journal, "default")
    finals = [event for event in map(rescored, read_events(journal)) if isinstance(event, events.EmotionFinal)]
    assert len(finals) == len(run.of(events.EmotionFinal))
    for event in finals:
        assert event.rescored is not None
        assert event.rescored.probabilities == pytest.approx(event.probabilities, abs=0.02)


def test_the_same_recording_gives_the_same_judgement(judged, listen, conversation: Path, tmp_path: Path) -> None:
    """Two runs over one recording agree in every boundary, word and emotion."""
    again = listen(
        *("--file", str(conversation), "--pace", "fast", "--channels", "split", "--speakers", "[anna,ben]"),
        *("--language", "en", "--events", "-", "--port", "-1", "--keep-journal", "false"),
    )

    def told(run) -> list[tuple[object, ...]]:
        return [(e.start_ms, e.end_ms, e.text, e.emotion) for e in run.of(events.EmotionFinal)]

    assert told(again) == told(judged[0])


def test_a_mono_mix_comes_out_as_two_people(listen, conversation: Path, scene) -> None:
    """Without `--channels split` the channels are mixed, and who says what is told apart by the voices."""
    run = listen("--file", str(conversation), "--pace", "fast", "--events", "-", "--port", "-1")
    assert run.code == 0, run.said
    finals = run.of(events.EmotionFinal)
    assert {e.speaker for e in finals} == {"speaker1", "speaker2"}
    named = {scene[0]["speaker"]: "speaker1"}  # names are given by first appearance
    right = wrong = 0
    for final in finals:
        for line in scene:
            shared = max(0, min(final.end_ms, line["end_ms"]) - max(final.start_ms, line["start_ms"]))
            if named.get(line["speaker"], "speaker2") == final.speaker:
                right += shared
            else:
                wrong += shared
    assert wrong < 0.05 * (right + wrong)
