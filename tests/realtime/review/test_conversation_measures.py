"""Who talked how much, how fast and over whom, counted from utterances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.review.conversation import Utterance
from realtime.review.conversation_measures import SpeakerMeasures, measure_conversation

Said = tuple[str, int, int, str]


def conversation(*said: Said) -> list[Utterance]:
    """Utterances from (speaker, start in ms, end in ms, words)."""
    return [
        Utterance(
            id=f"u{number}",
            speaker=speaker,
            name=speaker.title(),
            start_ms=start,
            end_ms=end,
            text=words or None,
            language="en",
            emotion="neutral",
            judged="neutral",
            confidence=1.0,
            probabilities={},
            modalities={},
            shifted_from=None,
        )
        for number, (speaker, start, end, words) in enumerate(said)
    ]


def measured(*said: Said) -> dict[str, SpeakerMeasures]:
    return {one.speaker: one for one in measure_conversation(conversation(*said))}


def test_talk_pace_and_turns() -> None:
    """Two utterances in a row are one turn; pace is words by the length of what has words."""
    told = measured(("a", 0, 3000, "one two three"), ("a", 3500, 6500, ""), ("b", 7000, 9000, "four five"))
    assert (told["a"].turns, told["b"].turns) == (1, 1)
    assert (told["a"].talk_ms, told["a"].talk_share) == (6000, 0.75)
    assert told["a"].words_per_minute == 60
    assert (told["a"].name, told["a"].utterances) == ("A", 2)


def test_answers() -> None:
    """The time to answer is the median over turns, below zero where they overlap; who begins has answered nobody."""
    told = measured(("a", 0, 1000, "x"), ("b", 1200, 5000, "x"), ("a", 4900, 8000, "x"), ("b", 8600, 9900, "x"))
    assert told["b"].answer_ms == 400
    assert told["a"].answer_ms == -100
    assert measured(("a", 0, 1000, "x"))["a"].answer_ms is None


def test_a_long_pause_is_ones_own() -> None:
    """Two seconds of silence count where the same person goes on, and not where another answers."""
    told = measured(("a", 0, 1000, "x"), ("a", 3000, 4000, "x"), ("a", 5999, 7000, "x"), ("b", 12_000, 13_000, "x"))
    assert told["a"].long_pauses == 1
    assert told["b"].long_pauses == 0


def test_an_interruption_outlasts_who_was_interrupted() -> None:
    """To begin half a second before the other's end and go on is one; to know the end is near, or give up, is none."""
    assert measured(("a", 0, 5000, "x"), ("b", 4000, 8000, "x"))["b"].interruptions == 1
    assert measured(("a", 0, 5000, "x"), ("b", 4600, 8000, "x"))["b"].interruptions == 0
    assert measured(("a", 0, 5000, "x"), ("b", 2000, 4500, "x y z w"))["b"].interruptions == 0


def test_a_back_channel_takes_no_turn() -> None:
    """`mm-hm` while the other tells a story is no turn, no answer, and leaves the story one turn."""
    told = measured(("a", 0, 4000, "x"), ("b", 4100, 4600, "mm-hm"), ("a", 4700, 9000, "x"), ("b", 9200, 9900, "no"))
    assert told["a"].turns == 1
    assert (told["b"].back_channels, told["b"].turns, told["b"].answer_ms) == (1, 1, 200)
    long = measured(("a", 0, 4000, "x"), ("b", 4100, 6000, "mm-hm"), ("a", 6100, 9000, "x"))
    assert (long["b"].back_channels, long["a"].turns) == (0, 2)


SAID = st.tuples(
    st.sampled_from("abc"), st.integers(0, 60_000), st.integers(200, 15_000), st.sampled_from(["", "well well"])
)


@given(st.lists(SAID, max_size=12))
def test_shares_add_up(said: list[tuple[str, int, int, str]]) -> None:
    """Whatever is said: shares sum to one, no one is lost, and nobody has more turns than utterances."""
    spoken = sorted((speaker, start, start + length, words) for speaker, start, length, words in said)
    told = measured(*sorted(spoken, key=lambda one: one[1]))
    assert set(told) == {speaker for speaker, *_ in said}
    if said:
        assert sum(one.talk_share for one in told.values()) == pytest.approx(1)
    for one in told.values():
        assert one.turns + one.back_channels <= one.utterances
