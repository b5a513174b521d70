"""The inference worker: takes requests from the queue, a list at a time, and runs the models on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from realtime.pipeline.call_inference import CallInference
from realtime.pipeline.inference_queue import InferenceQueue, InferenceRequest, RequestKind
from realtime.pipeline.work_item import WorkItem


class InferenceWorker:
    """Runs the requests of one call on one thread, in the order in which its queue gives them.

    `batch` is how many it takes at once. A session takes one, because its next best request may change with every
    result: an utterance whose turn has come goes before one that waits to be transcribed. `process` takes a list, so
    that a server of many calls can hand it requests of the same kind together: those of different calls do not depend
    on each other and may share a pass through a network.
    """

    def __init__(self, queue: InferenceQueue, call: CallInference, *, batch: int = 1) -> None:
        self._queue = queue
        self._call = call
        self._batch = batch

    def run(self) -> None:
        """Work until the queue has ended and nothing is outstanding."""
        try:
            while requests := self._queue.take(self._batch):
                self.process(requests)
        finally:
            # So that nobody waits for a thread that is gone.
            self._queue.end()

    def process(self, requests: Sequence[InferenceRequest]) -> None:
        """Run requests in their order; neighbours of one kind as a list."""
        for kind, group in groupby(requests, key=lambda request: request.kind):
            match kind:
                case RequestKind.CALLBACK:
                    for request in group:
                        assert request.callback is not None
                        request.callback()
                case RequestKind.COMMIT:
                    self._commit_items(_items_of(group))
                case RequestKind.TRANSCRIBE:
                    self._transcribe_items(_items_of(group))
                case RequestKind.INTERIM:
                    self._judge_interim(_items_of(group))

    def _commit_items(self, items: Sequence[WorkItem]) -> None:
        # Of one call each step of the dialogue follows from the one before.
        for item in items:
            self._call.commit(item)
            self._queue.mark_committed(item)

    def _transcribe_items(self, items: Sequence[WorkItem]) -> None:
        for item in items:
            self._call.transcribe(item)
            self._queue.mark_transcribed(item)

    def _judge_interim(self, items: Sequence[WorkItem]) -> None:
        for item in items:
            self._call.judge_interim(item)


def _items_of(requests: Iterable[InferenceRequest]) -> list[WorkItem]:
    return [request.item for request in requests if request.item is not None]
