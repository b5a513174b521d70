"""The declared waits of the stages and the measured work stand in one sum."""

from __future__ import annotations

import pytest
from support.scripted_pipeline import THREE, Tape, finals, session

from realtime.cli.latency_report import describe_latency
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing


@pytest.mark.parametrize("hangover_ms", [300, 700])
def test_what_segmentation_declares_is_what_a_final_waited_for(hangover_ms: int) -> None:
    """The sum of the declared waits of one source is the endpoint latency of its finals."""
    running, told = session(Tape(THREE), endpointing=Endpointing(hangover_ms=hangover_ms))
    running.run()
    (segmentation, inference) = running.stages
    assert {final.latency_ms.endpoint for final in finals(told)} == {segmentation.wait_ms} == {hangover_ms}
    assert inference.most_wait_ms == 0
    assert {stage.queue_bound for stage in running.stages} == {bound for _, bound in running.queues.values()}


def test_several_sources_wait_for_each_other() -> None:
    """Of two sources one may be behind, and that is declared as a longest wait."""
    alone, _ = session(Tape(THREE))
    both, _ = session(Tape(THREE, "a"), Tape(THREE, "b"))
    assert both.stages[1].most_wait_ms > alone.stages[1].most_wait_ms


def test_the_report_adds_waiting_and_work() -> None:
    """A line for each stage, then the sum and the median of what was measured."""
    running, _ = session(Tape(THREE))
    latencies = [
        events.Latency(endpoint=400, queue=0, asr=asr, features=20, fusion=5, total=425 + asr) for asr in (75, 85, 300)
    ]
    *stages, total = describe_latency(running.stages, latencies).splitlines()
    assert stages[0].startswith("segmentation: waits 400 ms for the silence")
    assert len(stages) == 2
    assert "wait 400 ms" in total
    assert "110 ms (median of 3 utterances)" in total
    assert "about 510 ms" in total
    assert "work" not in describe_latency(running.stages, [])
