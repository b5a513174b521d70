"""What each stage of the pipeline declares of the time that it adds, and the sum of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from realtime.perception.face_track import PATIENCE_S, QUEUE_FRAMES


@dataclass(frozen=True)
class StageLatency:
    """What a stage adds by waiting, between the end of speech and `emotion.final`; its work is measured, not declared.

    `wait_ms` is waited every time, `most_wait_ms` at most. `queue` says what waits before the stage, and
    `queue_bound` how many of them at most (contract 7).
    """

    stage: str
    waits_for: str
    queue: str
    queue_bound: int
    wait_ms: int = 0
    most_wait_ms: int = 0

    def __post_init__(self) -> None:
        if self.most_wait_ms < self.wait_ms or self.queue_bound < 1:
            raise ValueError(f"stage {self.stage} declares a wait beyond its longest, or a queue without room")


def total_wait_ms(stages: Iterable[StageLatency]) -> tuple[int, int]:
    """What all stages wait together: (every time, at most)."""
    declared = list(stages)
    return sum(stage.wait_ms for stage in declared), sum(stage.most_wait_ms for stage in declared)


def face_latency() -> StageLatency:
    """What the face track adds: an utterance waits until the pictures of its time are seen through."""
    return StageLatency(
        stage="faces",
        waits_for="the landmarks of pictures that came before the utterance ended",
        most_wait_ms=round(PATIENCE_S * 1000),
        queue="pictures",
        queue_bound=QUEUE_FRAMES,
    )
