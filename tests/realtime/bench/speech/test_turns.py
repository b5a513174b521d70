"""`bench turns`: what is laid out is what is scored, and the live turn segmenter goes through it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.bench.speech.turn_scores import count_word_errors, diarization_error, score_finals, word_errors_by_person
from realtime.bench.speech.turns import turns
from realtime.bench.workloads.mixed_conversations import assemble_conversation, find_voices
from realtime.bench.workloads.turn_layouts import LaidTurn, cut_overlaps, draw_layout, overlap_share, read_layouts


def test_error_rate_of_known_cases() -> None:
    """Missed, false and confused time are told apart; names do not matter, collars leave out the edges."""
    said = {"a": [(0.0, 4.0)], "b": [(4.0, 8.0)]}
    swapped = diarization_error(said, {"x": [(4.0, 8.0)], "y": [(0.0, 4.0)]}, 10, collar_s=0)
    assert swapped.total == 0
    assert swapped.naming == {"x": "b", "y": "a"}
    one = diarization_error(said, {"x": [(0.0, 8.0)]}, 10, collar_s=0)
    assert (one.missed, one.false, one.confused) == pytest.approx((0, 0, 50))
    late = diarization_error(said, {"x": [(0.0, 4.2)], "y": [(4.2, 9.0)]}, 10, collar_s=0)
    assert (late.missed, late.false, late.confused) == pytest.approx((0, 12.5, 2.5))
    assert diarization_error(said, {"x": [(0.0, 4.2)], "y": [(4.2, 8.0)]}, 10, collar_s=0.25).total == 0
    both = {"a": [(0.0, 4.0)], "b": [(2.0, 4.0)]}
    assert diarization_error(both, {"x": [(0.0, 4.0)]}, 5, collar_s=0).missed == pytest.approx(100 / 3)


def test_finals_are_asked_outside_overlaps() -> None:
    """A final that holds two people is none of one, but what is overlapped counts for neither."""
    said = {"a": [(0.0, 4.0)], "b": [(3.0, 8.0)]}
    mixed = score_finals(said, [("x", 0.0, 8.0)], {"x": "a"}, 9)
    assert (mixed.of_one, mixed.asked) == (0, 1)
    assert (mixed.right_s, mixed.spoken_s) == pytest.approx((3, 7))
    apart = score_finals(said, [("x", 0.0, 4.0), ("y", 3.0, 8.0)], {"x": "a", "y": "b"}, 9)
    assert (apart.of_one, apart.asked) == (2, 2)
    assert apart.right_s == apart.spoken_s


def test_words_are_counted_by_person() -> None:
    """Words under the wrong person are wrong twice; who is called what does not matter."""
    said = {"a": "one two three".split(), "b": "four five".split()}
    assert word_errors_by_person(said, {"x": "four five".split(), "y": "one two three".split()}) == (0, 5)
    assert word_errors_by_person(said, {"x": "one two".split(), "y": "three four five".split()}) == (2, 5)
    assert count_word_errors("a b c".split(), "a x c d".split()) == 2


@given(st.integers(0, 99), st.floats(0.02, 0.3))
def test_overlaps_are_cut_to_a_share(seed: int, share: float) -> None:
    """However two people overlap, after the cut no more of the speech is overlapped, and nobody begins earlier."""
    chance = random.Random(seed)
    layout, at = [], [0.0, 0.0]
    for number in range(12):
        start = max(at[number % 2], max(at) - chance.uniform(-0.5, 2))
        at[number % 2] = start + chance.uniform(0.4, 5)
        layout.append(LaidTurn(number % 2, start, at[number % 2]))
    layout.sort(key=lambda turn: turn.start_s)
    cut = cut_overlaps(layout, share)
    assert overlap_share(cut) <= share + 1e-6
    assert min(turn.start_s for turn in cut) >= min(turn.start_s for turn in layout)


def test_a_conversation_holds_what_its_turns_say() -> None:
    """Each person's speech lies within their turns, and there is sound where somebody speaks."""
    chance = random.Random(1)
    layout = draw_layout(read_layouts(None), 20, 2, chance)
    voices = find_voices(None)
    made = assemble_conversation("made", layout, sorted(voices), voices, chance, whole=False)
    assert made.people == sorted(voices) or made.people == sorted(voices)[::-1]
    for turn in made.turns:
        assert all(turn.start_s <= a < b <= turn.end_s + 0.011 for a, b in turn.speech)
        part = made.samples[round(turn.start_s * 16_000) : round(turn.end_s * 16_000)]
        assert (part**2).mean() > 1e-4
    whole = assemble_conversation("whole", layout, sorted(voices), voices, chance, whole=True)
    assert all(turn.text for turn in whole.turns)


@pytest.mark.weights
def test_the_demonstrations_two_voices() -> None:
    """Without any corpus two people are found in a short conversation, and every figure is there."""
    result = turns(ravdess=None, iemocap=None, conversations=1, seconds=30, overlaps="cut", given=True)
    figures = result["cut"]
    assert figures["people_found"] == [2]
    assert figures["speaker_right"] > 70
    assert figures["error_rate"] == pytest.approx(sum(figures["missed_false_confused"]), abs=0.2)
    assert figures["end_to_decision_s"]["p50"] < 3
