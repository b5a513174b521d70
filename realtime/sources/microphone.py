"""A device that records as a source: watched by a clock, opened again when it falls silent for good."""

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
from realtime.sources.source import Sink, SourceStatus

_WAITING_BLOCKS = 1_000  # 30 s: whoever reads this slowly has lost the call anyway
_SAY_EVERY_MS = 10_000
_STALLED_S = 0.8
"""No microphone pauses for so long; a stream that died says nothing else."""
_FIRST_BLOCK_S = 5.0
"""Sound servers take up to two seconds to begin."""
_RETRY_S, _RETRY_MOST_S = 0.25, 5.0
_MUTED_MS = 8_000
"""A microphone that works gives noise where nobody speaks; zeros alone for so long are no sound."""


class MicrophoneSource:
    """Delivers what a microphone, or another recorder, hears: mono at 16 kHz, from when its first block arrives.

    `recorder` reads it; a number of `--list-devices`, a part of a name, or None for the system's default means a
    microphone. `clock` gives the milliseconds since the session began; the camera shares it. MicrophoneError
    where there is no such microphone, or no PortAudio.

    Sound that stops coming is noticed within a second: the source is `lost`, and `opened` again as soon as
    that is possible. A microphone that gives nothing but zeros is `muted` until it gives sound; what a system plays
    may well be zeros.
    """

    has_audio = True

    def __init__(
        self,
        recorder: AudioBackend | str | int | None = None,
        *,
        clock: Callable[[], int],
        name: str = "microphone",
        kind: str = "microphone",
    ) -> None:
        if recorder is None or isinstance(recorder, str | int):
            recorder = PortAudioBackend(recorder)
        self.name = name
        self.kind = kind
        self.detail = recorder.detail
        self._recorder = recorder
        self._clock = clock
        self._blocks: queue.SimpleQueue[Block | None] = queue.SimpleQueue()  # None: look what happened
        self._dropped = 0  # frames that found the queue full
        self._rate = 0
        self._zeros = 0  # frames of nothing else, the last ones
        self._muted = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Open the microphone; MicrophoneError where the system refuses it."""
        self._rate = self._recorder.open(self._take)
        self._thread = threading.Thread(target=self._run, args=(sink,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the microphone; idempotent; what it heard until now is delivered."""
        self._stopping.set()
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _take(self, frames: NDArray[np.float32] | None, overflow: bool) -> None:
        """Runs on the recorder's thread: a full queue loses the block rather than let it wait."""
        if frames is None:
            self._blocks.put(None)
        elif self._blocks.qsize() >= _WAITING_BLOCKS:
            self._dropped += len(frames)
        else:
            self._blocks.put(Block(frames, self._clock(), self._dropped, overflow))
            self._dropped = 0

    def _run(self, sink: Sink) -> None:
        end = ("lost", f"Reading {self.detail} failed.")
        try:
            timeline = ClockAligner(self.name, self._rate)
            self._tell(sink, "opened", f"Listening to {self.detail}.")
            self._follow(sink, timeline, _FIRST_BLOCK_S)
            while not self._stopping.is_set():
                self._tell(sink, "lost", f"{self.detail} gives no more sound; it is tried again.", will_retry=True)
                if (first := self._reopened()) is not None:
                    self._tell(sink, "opened", f"Listening to {self.detail} again.")
                    timeline = timeline.after(self._rate)
                    self._place(sink, timeline, first)
                    self._follow(sink, timeline, _STALLED_S)
            end = ("ended", "The microphone was closed.")
        finally:
            self._recorder.close()
            self._tell(sink, *end)

    def _follow(self, sink: Sink, timeline: ClockAligner, patience_s: float) -> None:
        """Deliver blocks until no more come, or `stop`; then what was held back."""
        said_at = -_SAY_EVERY_MS
        while (block := self._next(patience_s)) is not None:
            patience_s = _STALLED_S
            self._place(sink, timeline, block)
            if self.kind == "microphone":
                self._watch_mute(sink, block)
            if timeline.lost_ms and block.heard_ms - said_at >= _SAY_EVERY_MS:
                said_at = block.heard_ms
                self._tell(sink, "overflow", f"{timeline.lost_ms} ms of its sound were lost: this machine is too slow.")
                timeline.lost_ms = 0
        for chunk in timeline.rest():
            sink.audio(chunk)

    def _watch_mute(self, sink: Sink, block: Block) -> None:
        """Tell once when sound turns into zeros for good, and when it is back."""
        self._zeros = 0 if block.frames.any() else self._zeros + len(block.frames)
        if not self._muted and self._zeros * 1000 >= _MUTED_MS * self._rate:
            self._muted = True
            self._tell(
                sink,
                "muted",
                f"{self.detail} gives nothing but digital silence: unmute it in the system's settings, allow this "
                "program to use it, or choose another one with --microphone.",
            )
        elif self._muted and not self._zeros:
            self._muted = False
            self._tell(sink, "opened", f"{self.detail} is heard again.")

    def _reopened(self) -> Block | None:
        """Its first block, once the recorder gives sound again; None after `stop`."""
        wait_s = _RETRY_S
        while True:
            self._recorder.close()
            while not self._blocks.empty():
                self._blocks.get()
            if self._stopping.wait(wait_s):
                return None
            wait_s = min(2 * wait_s, _RETRY_MOST_S)
            try:
                self._rate = self._recorder.open(self._take)
            except MicrophoneError:
                continue
            self.detail = self._recorder.detail
            if (first := self._next(_FIRST_BLOCK_S)) is not None:
                return first

    def _next(self, patience_s: float) -> Block | None:
        """The next block; None where there will be none, or there was none for so long."""
        try:
            return self._blocks.get(timeout=patience_s)  # by the monotonic clock
        except queue.Empty:
            return None

    def _place(self, sink: Sink, timeline: ClockAligner, block: Block) -> None:
        for chunk in timeline.place(block):
            sink.audio(chunk)

    def _tell(self, sink: Sink, status: str, detail: str, *, will_retry: bool = False) -> None:
        sink.status(SourceStatus(self.name, self.kind, status, detail, will_retry))
