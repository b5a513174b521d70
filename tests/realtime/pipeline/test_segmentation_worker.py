"""From sound to utterances on their way: where one becomes several turns, and what of a failure reaches the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from support.scripted_pipeline import THREE, Scripted, Tape, finals, session

from realtime.perception.transcriber import Transcript
from realtime.pipeline.segmentation_worker import TurnSplitter
from realtime.protocol import events
from realtime.segmentation.segments import Utterance


class Halving(TurnSplitter):
    """Takes every utterance for two turns that meet in its middle."""

    def split(self, utterance: Utterance) -> Sequence[Utterance]:
        middle, count = (utterance.start_ms + utterance.end_ms) // 2, len(utterance.samples) // 2
        return [
            replace(utterance, end_ms=middle, samples=utterance.samples[:count]),
            replace(
                utterance,
                start_ms=middle,
                samples=utterance.samples[count:],
                samples_start=utterance.samples_start + count,
            ),
        ]


def test_an_utterance_of_several_people_is_split_before_its_finals() -> None:
    """The first turn keeps the announced id, each further one is announced, and all are judged in order."""
    running, told = session(Tape(THREE), splitter=Halving())
    summary = running.run()
    assert summary.utterances == 6
    whole, undivided = session(Tape(THREE))
    whole.run()
    spans = [(e.start_ms, e.end_ms) for e in finals(told)]
    assert [(a, d) for (a, _), (_, d) in zip(spans[::2], spans[1::2], strict=True)] == [
        (e.start_ms, e.end_ms) for e in finals(undivided)
    ]
    assert all(end == start for (_, end), (start, _) in zip(spans[::2], spans[1::2], strict=True))
    started = {e.utterance_id: e.start_ms for e in told if isinstance(e, events.SpeechStarted)}
    assert {e.utterance_id: e.start_ms for e in finals(told)} == started


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
