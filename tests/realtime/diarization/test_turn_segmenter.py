"""Speech of several people on one channel comes out as turns: nothing is lost, and nobody waits for long."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.scripted_diarizer import ScriptedDiarizer
from support.scripted_pipeline import silence, voiced

from realtime.diarization.turn_segmenter import FindSentenceEnd, TurnSegmenter
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Rejected, Segment, SpeechStarted, Utterance
from realtime.sources.media import AudioChunk

SOUND = np.concatenate([silence(0.6), voiced(4), silence(1), voiced(9), silence(0.8), voiced(1.2), silence(1)])


UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""An example takes a third of a second: making a failing one smaller would take minutes."""


def cut(
    spans: list[tuple[int, int, int]], sizes: list[int], find: FindSentenceEnd | None = None
) -> list[Segment]:
    segmenter = TurnSegmenter("m", Endpointing(), ScriptedDiarizer(spans), find)  # type: ignore[arg-type]
    segments: list[Segment] = []
    at = number = 0
    while at < len(SOUND):
        size = sizes[number % len(sizes)]
        segments += segmenter.feed(AudioChunk("m", at, SOUND[at : at + size]))
        at, number = at + size, number + 1
    return [*segments, *segmenter.flush()]


def utterances(segments: list[Segment]) -> list[Utterance]:
    return [segment for segment in segments if isinstance(segment, Utterance)]


def covered(found: list[Utterance]) -> NDArray[np.bool_]:
    """Milliseconds that are within an utterance."""
    out = np.zeros(len(SOUND) // 16 + 1, bool)
    for one in found:
        out[one.start_ms : one.end_ms] = True
    return out


WHOLE = covered(
    utterances([*(plain := Segmenter("m", Endpointing())).feed(AudioChunk("m", 0, SOUND)), *plain.flush()])
)

SPANS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, len(SOUND)), st.integers(1_000, 90_000)).map(
        lambda drawn: (drawn[0], drawn[1], drawn[1] + drawn[2])
    ),
    max_size=9,
)


@settings(max_examples=25, deadline=None, phases=UNSHRUNK)
@given(SPANS)
def test_no_division_shortens_what_was_heard(spans: list[tuple[int, int, int]]) -> None:
    """Whatever the diarizer says, the union of the turns is the union of the speech, and starts match their ends."""
    segments = cut(spans, [len(SOUND)])
    assert (covered(utterances(segments)) == WHOLE).all()
    started: list[int] = []
    for segment in segments:
        if isinstance(segment, SpeechStarted):
            started.append(segment.start_ms)
        elif isinstance(segment, Utterance | Rejected):
            assert started.pop() == segment.start_ms
            assert not started
    for one in utterances(segments):
        assert one.start_ms < one.end_ms <= one.decided_ms
        first = one.samples_start
        assert (one.samples == SOUND[first : first + len(one.samples)]).all()


@settings(max_examples=8, deadline=None, phases=UNSHRUNK)
@given(SPANS, st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_chunks_do_not_matter(spans: list[tuple[int, int, int]], sizes: list[int]) -> None:
    """At the pace of real time and at once the same turns are decided, at the same moments."""
    one, other = utterances(cut(spans, [len(SOUND)])), utterances(cut(spans, [max(size, 300) for size in sizes]))
    key = [(u.start_ms, u.end_ms, u.decided_ms, u.speaker, u.overlapped, u.samples_start) for u in one]
    assert key == [(u.start_ms, u.end_ms, u.decided_ms, u.speaker, u.overlapped, u.samples_start) for u in other]


def test_who_speaks_next_ends_a_turn_while_they_speak() -> None:
    """A turn is out about a second after somebody else has taken the floor, and not only at the next silence."""
    second = 16_000
    found = utterances(cut([(0, 5 * second, 9 * second), (1, 9 * second, 15 * second)], [320]))
    first = next(one for one in found if one.start_ms >= 5_000)
    assert abs(first.end_ms - 9_000) <= 200
    assert first.decided_ms - first.end_ms <= 2_000
    assert [one.speaker for one in found if one.start_ms >= 5_000][:2] == ["speaker0", "speaker1"]


def test_nobody_waits_longer_than_about_six_seconds() -> None:
    """In nine seconds without a pause there is a cut, at a sentence's end where there is one."""
    found = utterances(cut([], [320]))
    assert max(one.end_ms - one.start_ms for one in found) <= 6_500
    asked: list[tuple[int, bool]] = []

    def find(samples: NDArray[np.float32], any_word: bool) -> int | None:
        asked.append((len(samples), any_word))
        return 40_000 if len(asked) == 1 else None

    found = utterances(cut([], [320], find))
    long = [one for one in found if one.start_ms > 5_000]
    assert 2_400 <= long[0].end_ms - long[0].start_ms <= 2_600
    assert long[0].cut
    assert asked[0][1] is False
    assert asked[-1][1] is True
