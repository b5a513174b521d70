"""A microphone as a source, through PortAudio."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from core_models.errors import MicrophoneError
from realtime.sources.media import SAMPLE_RATE, AudioChunk, Sink, SourceStatus

_BLOCK_MS = 30
_WAITING_BLOCKS = 1_000  # 30 s: whoever reads this slowly has lost the call anyway
_PLACED_TOGETHER = 10
_SAY_EVERY_MS = 10_000


def portaudio() -> ModuleType:
    """The sounddevice module; MicrophoneError where it finds no PortAudio.

    Imported only when needed: it loads PortAudio, which lists the devices once and for all, and fails without it.
    """
    try:
        import sounddevice
    except OSError:
        raise MicrophoneError(
            "PortAudio is missing, which reads microphones: install it (Debian, Ubuntu: sudo apt-get install "
            "libportaudio2; Fedora: sudo dnf install portaudio; macOS and Windows: pip install --force-reinstall "
            "sounddevice), or give a recording with --file."
        ) from None
    module: ModuleType = sounddevice
    return module


def microphones(portaudio: ModuleType) -> list[dict[str, Any]]:
    """What PortAudio says of every device that hears; MicrophoneError where there is none."""
    heard = [dict(device) for device in portaudio.query_devices() if device["max_input_channels"] > 0]
    if not heard:
        raise MicrophoneError(
            "No microphone was found: plug one in and allow its use (in a container or over SSH, start PulseAudio or "
            "PipeWire), or give a recording with --file."
        )
    return heard


def find_microphone(portaudio: ModuleType, device: str | int | None = None) -> dict[str, Any]:
    """The microphone of this number or with this in its name, or the default; MicrophoneError if not exactly one."""
    there = microphones(portaudio)
    if device is None:
        default = portaudio.default.device[0]
        return next((d for d in there if d["index"] == default), there[0])
    if isinstance(device, int) or device.isdecimal():
        meant = [d for d in there if d["index"] == int(device)]
    else:
        meant = [d for d in there if device.lower() in d["name"].lower()]
        meant = [d for d in meant if d["name"].lower() == device.lower()] or meant
    if len(meant) == 1:
        return meant[0]
    wrong = "Several microphones are" if meant else "No microphone is"
    names = ", ".join(f"{d['index']} {d['name']!r}" for d in meant or there)
    raise MicrophoneError(f"{wrong} called {device!r}: choose one of {names} with --microphone.")


class MicrophoneSource:
    """Delivers what a microphone hears, mono at 16 kHz, from the moment its first block arrives.

    `device` is a number of `--list-devices`, a part of a name, or None for the system's default. `clock` gives
    the milliseconds since the session began; the camera shares it. MicrophoneError where there is no such
    microphone, or no PortAudio.
    """

    kind = "microphone"
    hears = True

    def __init__(self, device: str | int | None = None, *, clock: Callable[[], int], name: str = "microphone") -> None:
        self.name = name
        self._clock = clock
        self._portaudio = portaudio()
        self._device = find_microphone(self._portaudio, device)
        self.detail: str = self._device["name"]
        self._blocks: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()  # None ends
        self._dropped = 0  # frames that found the queue full
        self._stopping = False
        self._stream: Any = None
        self._thread: threading.Thread | None = None

    def start(self, sink: Sink) -> None:
        """Open the microphone; MicrophoneError where the system refuses it."""
        rate, channels = _format(self._portaudio, self._device)
        try:
            self._stream = self._portaudio.InputStream(
                device=self._device["index"],
                samplerate=rate,
                channels=channels,
                dtype="float32",
                blocksize=rate * _BLOCK_MS // 1000,
                callback=self._take,
                finished_callback=self._finished,
            )
            self._stream.start()
        except self._portaudio.PortAudioError as error:
            raise MicrophoneError(
                f"The microphone {self.detail!r} cannot be opened ({error.args[0]}): allow its use, close the program "
                "that holds it, or choose another one with --microphone (see --list-devices)."
            ) from None
        self._thread = threading.Thread(target=self._run, args=(sink, rate), name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the microphone; idempotent; what it heard until now is delivered."""
        self._stopping = True
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _take(self, frames: NDArray[np.float32], count: int, times: object, flags: Any) -> None:
        """Runs on PortAudio's thread: a full queue loses the block rather than let it wait."""
        if self._blocks.qsize() >= _WAITING_BLOCKS:
            self._dropped += count
            return
        self._blocks.put(_Block(frames.copy(), self._clock(), self._dropped, flags.input_overflow))
        self._dropped = 0

    def _finished(self) -> None:
        if not self._stopping:
            self._blocks.put(None)

    def _run(self, sink: Sink, rate: int) -> None:
        sink.status(SourceStatus(self.name, self.kind, "opened", f"Listening to {self.detail}."))
        timeline = _Timeline(self.name, rate)
        said_at = -_SAY_EVERY_MS
        while (block := self._blocks.get()) is not None:
            for chunk in timeline.place(block):
                sink.audio(chunk)
            if timeline.lost_ms and block.heard_ms - said_at >= _SAY_EVERY_MS:
                said_at = block.heard_ms
                lost = f"{timeline.lost_ms} ms of its sound were lost: this machine is too slow."
                sink.status(SourceStatus(self.name, self.kind, "overflow", lost))
                timeline.lost_ms = 0
        for chunk in timeline.rest():
            sink.audio(chunk)
        end = ("ended", "The microphone was closed.") if self._stopping else ("lost", f"{self.detail} went away.")
        sink.status(SourceStatus(self.name, self.kind, *end))


@dataclass(frozen=True, slots=True)
class _Block:
    """What PortAudio gave at once: frames [n, channels], the last of which was heard at `heard_ms` of media time.

    `dropped` frames before it found the queue full; `overflow`: PortAudio lost some, and does not say how many.
    """

    frames: NDArray[np.float32]
    heard_ms: int
    dropped: int
    overflow: bool


class _Timeline:
    """Places blocks on the media clock: the first few by when they were heard, the others by counting samples.

    A callback can be late, by 100 ms and more when a stream begins, but never early: of a few blocks, the least late
    says when they began. The clock is asked again only where PortAudio lost something. What was lost is a
    gap; `lost_ms` adds it up.
    """

    def __init__(self, name: str, rate: int) -> None:
        self.lost_ms = 0
        self._name = name
        self._rate = rate
        self._unplaced: list[_Block] = []
        self._resampler: Any = None
        self._next = 0  # sample at 16 kHz

    def place(self, block: _Block) -> Iterator[AudioChunk]:
        if block.dropped or block.overflow:
            yield from self.rest()
            if not block.overflow:
                self._begin(self._next + self._at_16_khz(block.dropped))
        if self._resampler is not None:
            yield from self._given(self._resampler.resample_chunk(block.frames.mean(axis=1)))
            return
        self._unplaced.append(block)
        if len(self._unplaced) == _PLACED_TOGETHER:
            yield from self._place_together()

    def rest(self) -> Iterator[AudioChunk]:
        """What was held back; a block after it is placed by the clock again."""
        if self._unplaced:
            yield from self._place_together()
        if self._resampler is not None:
            yield from self._given(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None

    def _place_together(self) -> Iterator[AudioChunk]:
        counted = np.cumsum([len(block.frames) for block in self._unplaced])
        ends = [block.heard_ms * SAMPLE_RATE // 1000 for block in self._unplaced]
        self._begin(min(end - self._at_16_khz(int(n)) for end, n in zip(ends, counted, strict=True)))
        frames = np.concatenate([block.frames for block in self._unplaced])
        self._unplaced.clear()
        yield from self._given(self._resampler.resample_chunk(frames.mean(axis=1)))

    def _begin(self, at: int) -> None:
        if self._next:
            self.lost_ms += max(0, at - self._next) * 1000 // SAMPLE_RATE
        self._next = max(self._next, at)
        self._resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32")

    def _given(self, samples: NDArray[np.float32]) -> Iterator[AudioChunk]:
        if len(samples):
            yield AudioChunk(self._name, self._next, samples)
            self._next += len(samples)

    def _at_16_khz(self, frames: int) -> int:
        return frames * SAMPLE_RATE // self._rate


def _format(portaudio: ModuleType, device: dict[str, Any]) -> tuple[int, int]:
    """(rate, channels) to open a device with: the network's rate if it takes it, else its own."""
    own = round(device["default_samplerate"])
    for rate, channels in ((SAMPLE_RATE, 1), (own, 1)):
        try:
            portaudio.check_input_settings(device["index"], channels, "float32", samplerate=rate)
            return rate, channels
        except portaudio.PortAudioError:
            continue
    return own, int(device["max_input_channels"])
