"""A recording device as a source: watched by a clock, reopened when no more blocks come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MicrophoneError
from realtime.sources.audio_backends.backend import AudioBackend
from realtime.sources.audio_backends.portaudio import PortAudioBackend
from realtime.sources.clock_sync import Block, ClockAligner
from realtime.sources.source import Sink
from realtime.sources.status_reporter import RetryDelay, StatusReporter

# 30 s of blocks: a pipeline that is further behind has lost the call anyway.
_QUEUE_BLOCKS = 1_000
# No microphone pauses for so long; a stream that died says nothing else.
_STALLED_S = 0.8
# Sound servers take up to two seconds to begin.
_FIRST_BLOCK_S = 5.0
_RETRY_S, _RETRY_MOST_S = 0.25, 5.0
# A microphone that works gives noise where nobody speaks; zeros alone for so long are no sound.
_MUTED_MS = 5_000


class MicrophoneSource:
    """Delivers the sound of a microphone, or of another recording device: mono at 16 kHz.

    `backend` reads the device; a number of `--list-devices`, a part of a name, or None for the system's default
    means a microphone. `clock` gives the milliseconds since the session began; the camera shares it. MicrophoneError
    where there is no such microphone, or no PortAudio.

    Sound that stops coming is noticed within a second: the source is `lost`, and `opened` again as soon as that is
    possible. A microphone that gives nothing but zeros is `muted` until it gives sound; a system that plays nothing
    gives zeros too, which is no fault.
    """

    has_audio = True

    def __init__(
        self,
        backend: AudioBackend | str | int | None = None,
        *,
        clock: Callable[[], int],
        name: str = "microphone",
        kind: str = "microphone",
    ) -> None:
        if backend is None or isinstance(backend, str | int):
            backend = PortAudioBackend(backend)
        self.name = name
        self.kind = kind
        self.detail = backend.detail
        self._backend = backend
        self._clock = clock
        self._blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()  # None: the device gives no more
        self._dropped = 0  # frames that found the queue full
        self._rate = 0
        # Frames of nothing else, the last ones.
        self._zeros = 0
        self._muted = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Open the microphone; MicrophoneError where the system refuses it."""
        self._rate = self._backend.open(self._on_block)
        self._thread = threading.Thread(target=self._run_device, args=(sink,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the microphone; idempotent; what it has recorded until now is delivered."""
        self._stopping.set()
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _on_block(self, frames: NDArray[np.float32] | None, overflow: bool) -> None:
        """Runs on the backend's thread: a full queue loses the block rather than let it wait."""
        if frames is None:
            self._blocks.put(None)
        elif self._blocks.qsize() >= _QUEUE_BLOCKS:
            self._dropped += len(frames)
        else:
            self._blocks.put(Block(frames, self._clock(), self._dropped, overflow))
            self._dropped = 0

    def _run_device(self, sink: Sink) -> None:
        end = ("lost", f"Reading {self.detail} failed.")
        reporter = StatusReporter(sink, self.name, self.kind)
        try:
            aligner = ClockAligner(self.name, self._rate)
            reporter.report("opened", f"Listening to {self.detail}.")
            self._deliver_blocks(sink, reporter, aligner, _FIRST_BLOCK_S)
            while not self._stopping.is_set():
                reporter.report("lost", f"{self.detail} gives no more sound; it is tried again.", will_retry=True)
                if (first := self._reopen_device()) is not None:
                    reporter.report("opened", f"Listening to {self.detail} again.")
                    aligner = aligner.reopened(self._rate)
                    self._place_block(sink, aligner, first)
                    self._deliver_blocks(sink, reporter, aligner, _STALLED_S)
            end = ("ended", "The microphone was closed.")
        finally:
            self._backend.close()
            reporter.report(*end)

    def _deliver_blocks(self, sink: Sink, reporter: StatusReporter, aligner: ClockAligner, patience_s: float) -> None:
        """Deliver blocks until no more come, or `stop`; then what was held back."""

        def take_losses() -> str:
            lost_ms, aligner.lost_ms = aligner.lost_ms, 0
            return f"{lost_ms} ms of its sound were lost" if lost_ms else ""

        while (block := self._next_block(patience_s)) is not None:
            patience_s = _STALLED_S
            self._place_block(sink, aligner, block)
            if self.kind == "microphone":
                self._report_mute(reporter, block)
            reporter.report_losses(
                block.heard_ms,
                take_losses,
                reason="this machine is too slow",
                recovered=f"All sound of {self.detail} arrives again.",
            )
        for chunk in aligner.flush():
            sink.audio(chunk)

    def _report_mute(self, reporter: StatusReporter, block: Block) -> None:
        """Report once that there are only zeros, and once that sound is back."""
        self._zeros = 0 if block.frames.any() else self._zeros + len(block.frames)
        if not self._muted and self._zeros * 1000 >= _MUTED_MS * self._rate:
            self._muted = True
            reporter.report(
                "muted",
                f"{self.detail} gives nothing but digital silence: unmute it in the system's settings, allow this "
                "program to use it, or choose another one with --microphone.",
            )
        elif self._muted and not self._zeros:
            self._muted = False
            reporter.report("opened", f"{self.detail} is heard again.")

    def _reopen_device(self) -> Block | None:
        """Its first block, once the device gives sound again; None after `stop`."""
        delay = RetryDelay(_RETRY_S, _RETRY_MOST_S)
        while True:
            self._backend.close()
            while not self._blocks.empty():
                self._blocks.get()
            if self._stopping.wait(delay.take()):
                return None
            try:
                self._rate = self._backend.open(self._on_block)
            except MicrophoneError:
                continue
            self.detail = self._backend.detail
            if (first := self._next_block(_FIRST_BLOCK_S)) is not None:
                return first

    def _next_block(self, patience_s: float) -> Block | None:
        """The next block; None where there will be none, or there was none for so long."""
        try:
            return self._blocks.get(timeout=patience_s)  # by the monotonic clock
        except queue.Empty:
            return None

    def _place_block(self, sink: Sink, aligner: ClockAligner, block: Block) -> None:
        for chunk in aligner.align(block):
            sink.audio(chunk)
