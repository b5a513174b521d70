"""A pool of worker processes for feature extraction; results come in the order of completion."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError
from train.corpora.dialogues import UtteranceInContext
from train.extraction.extractor import Extractor  # the protocol alone: a worker opens one extractor's libraries

# The vectors of a batch, or the sentence that says why its clip is broken.
Vectors = list[NDArray[np.float32] | None] | str

_extractor: Extractor | None = None  # of a worker process


def extract_batches(
    extractor: Extractor, batches: Sequence[Sequence[UtteranceInContext]], workers: int
) -> Iterator[tuple[int, Vectors]]:
    """(number of the batch, its vectors) of every batch, each once.

    A clip on which a worker process dies (decoders are C) is broken like one that cannot be decoded: those that
    were under way are tried again alone, and whoever takes its process along a second time is named.
    """
    if workers == 1 or len(batches) < 2 * workers:
        for number, batch in enumerate(batches):
            yield number, _extract_batch(extractor, batch)
        return
    left = dict(enumerate(batches))
    alone: dict[int, Sequence[UtteranceInContext]] = {}  # under way when a process died
    while left or alone:
        given, count = (alone, 1) if alone else (left, workers)
        for number, vectors in _extract_in_pool(extractor, dict(given), count):
            batch = given.pop(number)
            if vectors is not None:
                yield number, vectors
            elif count > 1:
                alone[number] = batch
            else:
                utterance = batch[0].utterance
                clip = utterance.audio or utterance.video or utterance.id
                yield number, f"{clip} ended the process that read it: replace the file."


def _extract_in_pool(
    extractor: Extractor, batches: dict[int, Sequence[UtteranceInContext]], workers: int
) -> Iterator[tuple[int, Vectors | None]]:
    """The batches' vectors, from a pool of processes; None for those under way when one of them died, then no more.

    A pool of one has one batch under way.
    """
    waiting = iter(batches.items())
    # Two batches a worker: one that it computes and one that is already there when it has finished.
    ahead = 1 if workers == 1 else 2 * workers
    running: dict[Future[Vectors], int] = {}
    context = multiprocessing.get_context("spawn")  # threads of OpenMP and MediaPipe do not survive a fork
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(extractor,)) as pool:
        try:
            while True:
                for number, batch in waiting:
                    running[pool.submit(_work_on_batch, list(batch))] = number
                    if len(running) == ahead:
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    vectors = future.result()
                    yield running.pop(future), vectors
        except BrokenProcessPool:
            yield from ((number, None) for number in running.values())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _extract_batch(extractor: Extractor, batch: Sequence[UtteranceInContext]) -> Vectors:
    try:
        return extractor.vectors(batch)
    except MediaError as error:
        return str(error)


def _start_worker(extractor: Extractor) -> None:
    global _extractor
    _extractor = extractor  # unpickled here: its weights are open by now
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    threading.Thread(target=_end_with_parent, daemon=True).start()


# A parent that was killed cannot end its pool: the workers would wait for batches for ever, each with its weights.
def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work_on_batch(batch: list[UtteranceInContext]) -> Vectors:
    assert _extractor is not None
    return _extract_batch(_extractor, batch)
