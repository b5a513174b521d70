"""Whatever times a source gives its chunks, an utterance ends at worst, and the session goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.scripted_pipeline import Tape, finals, session, silence, voiced

from realtime.protocol import events
from realtime.segmentation.chunk_sequencer import SET_BACK, ChunkSequencer
from realtime.sources.media import SAMPLE_RATE, AudioChunk
from realtime.sources.source import Sink, SourceStatus

SPEECH = np.concatenate([silence(0.3), voiced(1.6), silence(0.7), voiced(2.0), silence(0.3)])
HOUR = 3600 * SAMPLE_RATE


class Timed(Tape):
    """A source that delivers given chunks, whatever their times."""

    def __init__(self, chunks: Sequence[AudioChunk], name: str = "tape") -> None:
        super().__init__(silence(0), name)
        self._chunks = chunks

    def _play(self, sink: Sink) -> None:
        for chunk in self._chunks:
            sink.audio(chunk)
        sink.status(SourceStatus(self.name, self.kind, "ended"))


@st.composite
def chunk_sequences(draw: st.DrawFn) -> list[AudioChunk]:
    """Speech in chunks of any length, with gaps, jumps both ways, repeats, losses and swaps in it."""
    chunks: list[AudioChunk] = []
    at = offset = 0
    while at < len(SPEECH):
        count = draw(st.sampled_from([160, 333, 480, 1_600, 8_000]))
        match draw(st.sampled_from(["as it is"] * 8 + ["lose", "gap", "jump", "back", "repeat", "stray", "swap"])):
            case "lose":
                at += count
            case "gap":
                offset += draw(st.integers(1, 2 * SAMPLE_RATE))
            case "jump":
                offset += HOUR
            case "back":
                offset -= draw(st.integers(1, 3 * SAMPLE_RATE))
            case "repeat" if chunks:
                chunks += chunks[-draw(st.integers(1, 5)) :]
            case "stray":
                chunks.append(AudioChunk("tape", draw(st.integers(-HOUR, HOUR)), silence(0.1)))
            case "swap" if len(chunks) > 1:
                chunks[-1], chunks[-2] = chunks[-2], chunks[-1]
        chunks.append(AudioChunk("tape", at + offset, SPEECH[at : at + count]))
        at += count
    return chunks


@settings(max_examples=60, deadline=None)
@given(chunk_sequences())
def test_any_times_of_chunks_end_an_utterance_at_worst(chunks: list[AudioChunk]) -> None:
    """Nothing breaks, every announced utterance has its end, and media time never goes back."""
    running, told = session(Timed(chunks))
    running.run()
    assert running.failure is None
    announced = [e.utterance_id for e in told if isinstance(e, events.SpeechStarted)]
    ended = [e.utterance_id for e in told if isinstance(e, events.EmotionFinal | events.UtteranceDiscarded)]
    assert sorted(announced) == sorted(ended)
    spans = [(e.start_ms, e.end_ms) for e in finals(told)]
    assert all(0 <= start <= end for start, end in spans)
    assert spans == sorted(spans)


@settings(max_examples=200, deadline=None)
@given(chunk_sequences())
def test_sound_is_heard_once_or_counted(chunks: list[AudioChunk]) -> None:
    """Placed chunks follow each other, and every sample is either placed or counted as left out."""
    sequencer = ChunkSequencer()
    placed = [one for chunk in chunks for one in sequencer.place(chunk)]
    sequencer.drop_late()
    ends = [0, *(chunk.start + len(chunk.samples) for chunk in placed)]
    assert all(chunk.start >= end for chunk, end in zip(placed, ends, strict=False))
    heard = sum(len(chunk.samples) for chunk in placed)
    assert heard + sequencer.left_out == sum(len(chunk.samples) for chunk in chunks)


def in_chunks(samples: NDArray[np.float32], start: int) -> list[AudioChunk]:
    return [AudioChunk("tape", start + at, samples[at : at + 1_600]) for at in range(0, len(samples), 1_600)]


@pytest.mark.parametrize("lost_s", [0.25, 0.5, 0.7, 1.1, 30.0])
def test_sound_that_goes_missing_while_somebody_speaks_is_a_gap(lost_s: float) -> None:
    """A packet loss in mid-speech ends an utterance where it is longer than the hangover, and both sides are judged."""
    speech = voiced(2.0)
    chunks = in_chunks(np.concatenate([silence(0.5), speech]), 0)
    after = int((2.5 + lost_s) * SAMPLE_RATE)
    running, told = session(Timed([*chunks, *in_chunks(np.concatenate([speech, silence(1.0)]), after)]))
    running.run()
    assert running.failure is None
    assert len(finals(told)) == (1 if lost_s < 0.4 else 2)
    assert finals(told)[-1].end_ms == pytest.approx(after / 16 + 2_000, abs=100)


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    """Sound whose times begin again is heard after what came before, all of it."""
    first, second = np.concatenate([silence(0.5), voiced(1.5), silence(1.0)]), np.concatenate([voiced(3.0), silence(1)])
    running, told = session(Timed([*in_chunks(first, 10 * SAMPLE_RATE), *in_chunks(second, 0)]))
    summary = running.run()
    assert [round(e.end_ms, -2) for e in finals(told)] == [12_000, 16_000]
    assert not summary.lost


def test_repeated_sound_is_heard_once_and_the_rest_announced() -> None:
    """A network that delivers a second twice costs nothing but a line that says so."""
    chunks = in_chunks(SPEECH, 0)
    running, told = session(Timed([*chunks[:15], *chunks[5:]]))
    summary = running.run()
    plain, undisturbed = session(Timed(chunks))
    plain.run()
    assert [(e.start_ms, e.end_ms) for e in finals(told)] == [(e.start_ms, e.end_ms) for e in finals(undisturbed)]
    (said,) = [e for e in told if isinstance(e, events.StreamDegraded)]
    assert (said.what, said.count) == ("late_sound_ms", 1_000)
    assert summary.lost == {"late_sound_ms": 1_000}
    assert SET_BACK > SAMPLE_RATE
