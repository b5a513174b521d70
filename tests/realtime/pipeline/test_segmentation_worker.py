"""From sound to utterances on their way: where one becomes several turns, and what of a failure reaches the log."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.scripted_diarizer import ScriptedDiarizer
from support.scripted_pipeline import THREE, Scripted, Tape, finals, session

from realtime.diarization.turn_segmenter import TurnSegmenter
from realtime.perception.transcriber import Transcript
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing


def test_an_utterance_of_several_people_is_split_before_its_finals() -> None:
    """The first turn keeps the announced id, each further one is announced, and all are judged in order, by name."""
    undivided, told_whole = session(Tape(THREE))
    undivided.run()
    wholes = [(e.start_ms, e.end_ms) for e in finals(told_whole)]
    spans = [
        (person, one, end)
        for start, end in wholes
        for person, one, end in ((0, start, (start + end) // 2), (1, (start + end) // 2, end))
    ]
    diarizer = ScriptedDiarizer([(person, start * 16, end * 16) for person, start, end in spans])

    def make() -> TurnSegmenter:
        return TurnSegmenter("tape", Endpointing(), diarizer)  # type: ignore[arg-type]

    running, told = session(Tape(THREE), turn_segmenters={"tape": make})
    summary = running.run()
    assert summary.utterances == 6
    found = [(e.start_ms, e.end_ms) for e in finals(told)]
    assert [(a, d) for (a, _), (_, d) in zip(found[::2], found[1::2], strict=True)] == wholes
    assert all(end == start for (_, end), (start, _) in zip(found[::2], found[1::2], strict=True))
    assert [e.speaker for e in finals(told)] == ["speaker0", "speaker1"] * 3
    started = {e.utterance_id: e.start_ms for e in told if isinstance(e, events.SpeechStarted)}
    assert {e.utterance_id: e.start_ms for e in finals(told)} == started


def test_speech_that_has_ended_is_said_before_it_is_judged() -> None:
    """Each final comes behind one `speech.ended` of the same utterance, however long it waits for its turn."""
    running, told = session(Tape(THREE), perceiver=Scripted([0.2] * 3))
    running.run()
    ended = {e.utterance_id: (told.index(e), e.start_ms, e.end_ms) for e in told if isinstance(e, events.SpeechEnded)}
    assert len(ended) == 3
    for final in finals(told):
        at, *times = ended[final.utterance_id]
        assert at < told.index(final)
        assert times == [final.start_ms, final.end_ms]
    assert max(at for at, *_ in ended.values()) < told.index(finals(told)[-1])


@pytest.mark.parametrize("real_time", [True, False])
def test_latency_counts_no_waiting_behind_a_file(real_time: bool) -> None:
    """Of a file that is read at once the last utterance waits for all others; where time is real, that is a delay."""
    running, told = session(Tape(THREE), perceiver=Scripted([0.3] * 3), real_time=real_time, speculate=False)
    summary = running.run()
    last = finals(told)[-1].latency_ms
    assert (last.queue >= 300) is real_time
    assert last.queue == 0 or real_time
    assert last.total == last.endpoint + last.queue + last.asr + last.features + last.fusion
    assert summary.latencies_ms[-1] == last.total - last.endpoint


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_traceback_shows_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    """The log of a failure tells where it happened, without the values of local variables."""

    class Broken(Scripted):
        def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
            words = "my password is swordfish"
            raise RuntimeError(f"after {len(words)} letters")

    running, _ = session(Tape(THREE), perceiver=Broken())
    running.run()
    shown = "".join(capfd.readouterr())
    assert "after 24 letters" in shown
    assert "in transcribe" in shown
    assert "swordfish" not in shown.replace('words = "my password is swordfish"', "")  # the source line itself
    assert "array(" not in shown
