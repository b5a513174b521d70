"""A camera as a source, through OpenCV; its failures never end the call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.sources.media import VideoFrame
from realtime.sources.source import Sink
from realtime.sources.status_reporter import RetryDelay, StatusReporter

# A webcam that wakes up gives a few empty reads.
_MISSED_MOST = 5
_RETRY_S = 0.1
# Opening a camera can take seconds of a core, so an absent one is tried ever more seldom.
_REOPEN_S, _REOPEN_MOST_S = 0.5, 10.0
# Mean and deviation of the grey levels below which a picture shows nothing: a lens that is covered.
_DARK = 2.0


def is_dark(picture: NDArray[np.uint8]) -> bool:
    """Whether a picture [height, width, 3] is that of a lens that is covered."""
    return max(float(picture.mean()), float(picture.std())) < _DARK


class CameraSource:
    """Delivers at most `fps` pictures a second, stamped when they were taken from the camera.

    `camera` is a number of `--list-devices`, or a path or URL that OpenCV opens (a recording is played at its own
    pace). `clock` gives the milliseconds since the session began; the microphone shares it. A camera that is absent,
    covered or lost reports that as its status; nothing is raised. One that gave pictures and then none is reopened
    as soon as that is possible.
    """

    kind = "camera"
    has_audio = False

    def __init__(
        self, camera: str | int = 0, *, fps: float = 10.0, clock: Callable[[], int], name: str = "camera"
    ) -> None:
        self.name = name
        self._camera = int(camera) if isinstance(camera, int) or camera.isdecimal() else camera
        self.detail = f"camera {camera}" if isinstance(self._camera, int) else str(camera)
        self._fps = fps
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Begin; the camera is opened from the thread, because that can take seconds."""
        self._thread = threading.Thread(target=self._run_camera, args=(sink,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the camera; idempotent; returns when the read in progress has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run_camera(self, sink: Sink) -> None:
        end = ("lost", f"Reading {self.detail} failed.")
        reporter = StatusReporter(sink, self.name, self.kind)
        try:
            end = self._deliver_pictures(sink, reporter)
            while end[0] == "lost":
                reporter.report(*end, will_retry=True)
                end = self._deliver_again(sink, reporter)
        finally:
            reporter.report(*end)

    def _deliver_again(self, sink: Sink, reporter: StatusReporter) -> tuple[str, str]:
        """Deliver once the camera is there again, until there are no more pictures; (status, why)."""
        delay = RetryDelay(_REOPEN_S, _REOPEN_MOST_S)
        while not self._stop.wait(delay.take()):
            end = self._deliver_pictures(sink, reporter)
            if end[0] != "absent":
                return end
        return "ended", "The camera was closed."

    def _deliver_pictures(self, sink: Sink, reporter: StatusReporter) -> tuple[str, str]:
        """Deliver pictures until there are no more; (status, why)."""
        try:
            import cv2
        except ImportError as error:
            return (
                "absent",
                f"OpenCV cannot be loaded ({error}): on Debian or Ubuntu, apt-get install libgl1 libglib2.0-0.",
            )
        # Pages about a camera that is merely absent.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        capture = cv2.VideoCapture(self._camera)
        try:
            if not capture.isOpened():
                return "absent", f"There is no {self.detail} that can be opened: the call goes on without faces."
            reporter.report("opened", f"Looking through {self.detail}.")
            return self._read_pictures(capture, cv2, sink, reporter)
        finally:
            capture.release()

    def _read_pictures(self, capture: Any, cv2: Any, sink: Sink, reporter: StatusReporter) -> tuple[str, str]:
        # A recording, which OpenCV would read as fast as it can.
        recorded = capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        begun = self._clock()
        due = begun
        missed = 0
        covered = False
        while not self._stop.is_set():
            if not capture.grab():
                if recorded:
                    return "ended", f"{self.detail} has ended."
                missed += 1
                if missed > _MISSED_MOST:
                    return "lost", f"{self.detail} gives no more pictures: the call goes on without faces."
                self._stop.wait(_RETRY_S)
                continue
            missed = 0
            if recorded:
                ahead = begun + capture.get(cv2.CAP_PROP_POS_MSEC) - self._clock()
                if self._stop.wait(max(0.0, ahead / 1000)):
                    break
            now = self._clock()
            if now < due:
                continue
            due = max(due + round(1000 / self._fps), now)
            taken, bgr = capture.retrieve()
            if taken and (dark := is_dark(bgr)) != covered:
                covered = dark
                status = ("covered", f"{self.detail} is dark.") if dark else ("opened", f"{self.detail} sees again.")
                reporter.report(*status)
            if taken:
                sink.video(VideoFrame(self.name, now, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
        return "ended", "The camera was closed."
