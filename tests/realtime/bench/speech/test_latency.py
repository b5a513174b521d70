"""`bench latency`: what came is held against the turns that were played."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import soundfile
from numpy.typing import NDArray

from realtime.bench.speech.latency import compare_turns
from realtime.bench.workloads.speech_clips import Turn, assemble_conversation, find_speech_clips
from realtime.protocol import events
from realtime.sources.media import SAMPLE_RATE

TURNS = [Turn(1_000, 4_000), Turn(5_000, 7_000), Turn(8_000, 9_000)]
LOOK = events.EmotionProvisional(
    utterance_id="u1",
    revision=1,
    speaker="speaker",
    start_ms=0,
    end_ms=0,
    emotion="joy",
    confidence=1.0,
    probabilities={"joy": 1.0},
    modalities={},
)


def final(at: float, start_ms: int, end_ms: int) -> tuple[float, events.Logged]:
    return at, events.EmotionFinal(
        **msgspec.structs.asdict(msgspec.structs.replace(LOOK, start_ms=start_ms, end_ms=end_ms)),
        latency_ms=events.Latency(endpoint=400, queue=0, asr=0, features=0, fusion=0, total=400),
    )


def look(at: float, start_ms: int) -> tuple[float, events.Logged]:
    return at, msgspec.structs.replace(LOOK, start_ms=start_ms)


def test_latency_counts_from_the_known_end_of_the_turn() -> None:
    """To the arrival of the final that holds the turn's end, whatever end the program itself found."""
    told = [final(4_500, 1_020, 4_100), final(7_650, 5_030, 6_950), final(9_400, 8_000, 9_000)]
    found = compare_turns(told, TURNS)
    assert found["final_ms"] == [500, 650, 400]
    assert found["false_ms"] == found["missed_ms"] == []


def test_cuts_at_the_wrong_place_are_counted() -> None:
    """An end inside a turn is a false cut; an utterance that runs into the next turn is a missed one."""
    told = [final(3_000, 1_000, 2_500), final(4_500, 2_900, 4_000), final(9_500, 5_000, 9_000)]
    found = compare_turns(told, TURNS)
    assert found["false_ms"] == [2_500]
    assert found["missed_ms"] == [7_000]
    assert found["final_ms"] == [500, 500]


def test_the_first_look_counts_from_the_known_start() -> None:
    """Turns of 1.2 s and less may be over before anybody looks."""
    told = [look(2_000, 1_010), look(3_000, 1_010), look(6_100, 5_050), look(8_900, 8_000)]
    assert compare_turns(told, TURNS)["first_ms"] == [1_000, 1_100]


def test_turns_stand_where_they_are_said_to(librivox: list[tuple[str, NDArray[np.float32]]]) -> None:
    """Between the turns of an assembled conversation there is only a quiet room."""
    stream, turns = assemble_conversation([samples for _, samples in librivox])
    silent = np.ones(len(stream), bool)
    for turn in turns:
        silent[round(turn.start_ms * 16) : round(turn.end_ms * 16)] = False
    assert np.abs(stream[silent]).max() < 0.002
    assert all(np.abs(stream[round(t.start_ms * 16) :][: SAMPLE_RATE // 2]).max() > 0.02 for t in turns)
    assert len(turns) == len(librivox)
    gaps = [after.start_ms - before.end_ms for before, after in pairwise(turns)]
    assert all(500 <= gap <= 2_000 for gap in gaps)


def test_recordings_of_silence_are_no_speech(tmp_path: Path) -> None:
    """A clip as quiet as digital dither is left out; a tone at the level of speech is not."""
    tone = 0.1 * np.sin(np.arange(2 * SAMPLE_RATE) / 8)
    for name, samples in (("silence", 1e-5 * tone), ("tone", tone)):
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    assert [path.stem for path, _ in find_speech_clips([tmp_path], 5)] == ["tone"]
