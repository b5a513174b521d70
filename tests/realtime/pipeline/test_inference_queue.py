"""What comes next for inference, and that a list of requests gives what one after another gives."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.scripted_pipeline import Scripted, Steady

from realtime.dialogue.provisional import Provisional
from realtime.pipeline.call_inference import CallInference
from realtime.pipeline.inference_queue import CAPACITY, InferenceQueue, RequestKind
from realtime.pipeline.inference_worker import InferenceWorker
from realtime.pipeline.load_shedding import LoadShedder
from realtime.pipeline.stage_latency import StageLatency, total_wait_ms
from realtime.pipeline.summary import Summary
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.segmentation.segments import Utterance


def item(number: int, source: str = "mic") -> WorkItem:
    start = number * 2_000
    samples = np.full(16_000, number, np.float32)
    utterance = Utterance(source, start, start + 1_000, start + 1_400, samples, start * 16, cut=False)
    return WorkItem(f"u{number}", utterance, "anna", None)


def queue_of(told: list[events.Logged], *, live: bool = False) -> InferenceQueue:
    return InferenceQueue(LoadShedder(["provisional"]), told.append, Summary(), live=live)


def test_what_is_due_in_the_dialogue_goes_before_what_waits_to_be_transcribed() -> None:
    """Callbacks, commits, ended utterances, pausing ones, open ones: in this order, whatever came first."""
    queue = queue_of([])
    queue.request_interim(item(9, "open"))
    queue.speculate(item(8, "pausing"))
    queue.enqueue(item(1))
    queue.enqueue(item(2))
    (first,) = queue.take()
    assert first.item is not None
    queue.mark_transcribed(first.item)
    queue.post(lambda: None)
    queue.advance("mic", 10_000)
    kinds = [request.kind.name for request in queue.take(10)]
    assert kinds == ["CALLBACK", "COMMIT", "TRANSCRIBE", "TRANSCRIBE", "INTERIM"]


def test_a_transcript_that_was_ready_at_the_endpoint_is_used() -> None:
    """The same sound is not transcribed again, and other sound is."""
    queue = queue_of([])
    queue.speculate(item(1))
    (request,) = queue.take()
    assert request.item is not None
    CallInference(Scripted(), Steady(), lambda event: None, Summary(), provisional=Provisional(every_ms=0)).transcribe(  # type: ignore[arg-type]
        request.item
    )
    queue.mark_transcribed(request.item)
    queue.enqueue(item(1))
    queue.enqueue(item(2))
    queue.end()
    (commit, transcribe) = queue.take(2)
    assert (commit.kind, commit.item) == (RequestKind.COMMIT, request.item)
    assert transcribe.kind is RequestKind.TRANSCRIBE


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_a_list_of_requests_gives_what_one_after_another_gives(batch: int) -> None:
    """However many requests the worker takes at once, the events are the same in the same order."""
    told: list[events.Logged] = []
    perceiver = Scripted()
    call = CallInference(perceiver, Steady(), told.append, Summary(), provisional=Provisional(every_ms=0))  # type: ignore[arg-type]
    queue = queue_of(told)
    for number in range(1, 8):
        queue.enqueue(item(number))
    queue.end()
    InferenceWorker(queue, call, batch=batch).run()
    finals = [e for e in told if isinstance(e, events.EmotionFinal)]
    assert [e.utterance_id for e in finals] == [f"u{number}" for number in range(1, 8)]
    assert [len(past) for past in perceiver.pasts] == list(range(7))
    assert len({msgspec.json.encode(e.probabilities) for e in finals}) == 1
    assert queue.outstanding == 0


def test_stages_declare_their_waits_and_bounds() -> None:
    """The queue says what it bounds, and only several sources make an utterance wait in it."""
    queue = queue_of([])
    alone, several = queue.latency(several_sources=False), queue.latency(several_sources=True)
    assert (alone.queue_bound, alone.most_wait_ms) == (CAPACITY, 0)
    hangover = StageLatency("segmentation", "silence", "chunks", 3_000, wait_ms=400, most_wait_ms=400)
    assert total_wait_ms([hangover, several]) == (400, 400 + several.most_wait_ms)
    with pytest.raises(ValueError, match="without room"):
        StageLatency("x", "y", "z", 0)
