"""The face track: which faces were seen and how they looked, frame by frame, beside the audio path."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core_models.features.face.landmarker import FaceFeature
from realtime.perception.active_speaker import FaceObservation, IouTracker, mouth, speaker_of
from realtime.sources.media import VideoFrame

# What one frame says of a face, for the feature's `pool`; None where it is not there.
FaceVector = NDArray[np.float32] | None

QUEUE_FRAMES = 16
PATIENCE_S = 2.0


class FaceTrack:
    """The faces in the last `history_ms` of a camera, worked out on a thread of its own.

    A recording is read ahead of perception, so there the history counts back from the last span asked for.
    `lossless` makes `put` wait while the landmarker is busy, as a recording can; a live camera sheds its
    oldest waiting frame instead, and `shed` counts them (contract 7). `failed` is told in a sentence when
    the landmarker itself breaks; the face is then absent and the call goes on.
    """

    def __init__(
        self,
        face: FaceFeature,
        *,
        lossless: bool,
        history_ms: int = 60_000,
        failed: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.shed = 0
        self._face = face
        self._lossless = lossless
        self._history_ms = history_ms
        self._failed = failed
        self._queue: deque[VideoFrame] = deque()
        self._times: list[int] = []
        self._seen: list[list[FaceObservation]] = []
        self._identities = IouTracker()
        self._last_put = -1
        self._done_to = -1
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run_worker, name="faces", daemon=True)
        self._thread.start()

    def put(self, frame: VideoFrame) -> None:
        """Take the next frame of the camera, in order of media time."""
        with self._changed:
            while self._lossless and len(self._queue) >= QUEUE_FRAMES and not self._ended:
                self._changed.wait()
            if self._ended:
                return
            if len(self._queue) >= QUEUE_FRAMES:
                self._queue.popleft()
                self.shed += 1
            self._queue.append(frame)
            self._last_put = frame.at_ms
            self._changed.notify_all()

    def between(self, start_ms: int, end_ms: int, *, wait: bool = True) -> list[FaceVector]:
        """The face of whoever speaks from `start_ms` to `end_ms`: what each frame says of it, None where it is not.

        Of several faces it is the largest, or one whose mouth moves clearly more in that time.

        With `wait`, waits for frames that were put and are not yet seen through; those that the source has
        still to deliver are not waited for (a recording delivers sound and pictures in order of media time).
        """
        with self._changed:
            while wait and self._done_to < min(end_ms, self._last_put) and self._changed.wait(PATIENCE_S):
                pass
            span = slice(bisect_left(self._times, start_ms), bisect_right(self._times, end_ms))
            seen = self._seen[span]
            if self._lossless and wait:
                self._forget_frames(start_ms - self._history_ms)
        chosen = speaker_of(seen)
        return [next((g.vector for g in frame if g.identity == chosen), None) for frame in seen]

    def clear(self) -> None:
        """Forget every face seen so far."""
        with self._changed:
            self._queue.clear()
            self._last_put = self._done_to
            self._times.clear()
            self._seen.clear()
            self._changed.notify_all()

    def end(self) -> None:
        """No more frames will come (the file or the camera ended); idempotent."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """End, and wait until the thread has."""
        self.end()
        self._thread.join()

    def _run_worker(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._ended:
                    self._changed.wait()
                if not self._queue:
                    return
                frame = self._queue.popleft()
            try:
                observations = self._observe_faces(frame)
            except Exception as error:  # the landmarker is native code: whatever it throws must not end the call
                self._failed(f"the face landmarker failed and the face is left out from here on: {error}")
                with self._changed:
                    self._queue.clear()
                    self._last_put = self._done_to
                self.end()
                return
            with self._changed:
                self._times.append(frame.at_ms)
                self._seen.append(observations)
                if not self._lossless:
                    self._forget_frames(frame.at_ms - self._history_ms)
                self._done_to = frame.at_ms
                self._changed.notify_all()

    def _observe_faces(self, frame: VideoFrame) -> list[FaceObservation]:
        faces = self._face.faces(frame.rgb)
        numbers = self._identities.of(faces, frame.at_ms)
        return [
            FaceObservation(number, face.area, mouth(face), self._face.vector(frame.rgb, face))
            for number, face in zip(numbers, faces, strict=True)
        ]

    def _forget_frames(self, before_ms: int) -> None:
        old = bisect_left(self._times, before_ms)
        del self._times[:old], self._seen[:old]
