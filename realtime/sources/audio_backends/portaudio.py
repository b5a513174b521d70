"""Microphones through PortAudio, which counts its devices once and for all unless it is started again."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MicrophoneError
from realtime.sources.audio_backends.backend import BLOCK_MS, BlockCallback
from realtime.sources.media import SAMPLE_RATE


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
    """PortAudio's description of every recording device; MicrophoneError where there is none."""
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


class PortAudioBackend:
    """Reads the microphone of a number of `--list-devices`, of a part of a name, or the system's default (None).

    MicrophoneError where there is no such microphone, or no PortAudio.
    """

    _open: set[PortAudioBackend] = set()  # noqa: RUF012 (of the process, as PortAudio is)
    _lock = threading.RLock()

    def __init__(self, device: str | int | None = None) -> None:
        self._portaudio = portaudio()
        self._found = find_microphone(self._portaudio, device)
        self.detail: str = self._found["name"]
        # Numbers change when devices come and go.
        self._wanted = None if device is None else self.detail
        self._stream: Any = None
        self._used = False
        self._on_block: BlockCallback | None = None

    def open(self, on_block: BlockCallback) -> int:
        """See AudioBackend. Opened again, it looks for the device among those that there are by then."""
        with self._lock:
            if self._used:
                self._look_again()
            self._used = True
            rate, channels = stream_format(self._portaudio, self._found)
            self._on_block = on_block
            try:
                self._stream = self._portaudio.InputStream(
                    device=self._found["index"],
                    samplerate=rate,
                    channels=channels,
                    dtype="float32",
                    blocksize=rate * BLOCK_MS // 1000,
                    callback=self._pass_block,
                    finished_callback=self._report_end,
                )
                self._stream.start()
            except self._portaudio.PortAudioError as error:
                self.close()
                raise MicrophoneError(
                    f"The microphone {self.detail!r} cannot be opened ({error.args[0]}): allow its use, close the "
                    "program that holds it, or choose another one with --microphone (see --list-devices)."
                ) from None
            self._open.add(self)
            return rate

    def close(self) -> None:
        """See AudioBackend."""
        with self._lock:
            self._on_block = None
            self._open.discard(self)
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close(ignore_errors=True)

    def _look_again(self) -> None:
        """PortAudio's list of devices is that of its start; others that are open notice, and open again."""
        for other in list(self._open):
            other.close()
        self._portaudio._terminate()
        self._portaudio._initialize()
        self._found = find_microphone(self._portaudio, self._wanted)
        self.detail = self._found["name"]

    def _pass_block(self, frames: NDArray[np.float32], count: int, times: object, flags: Any) -> None:
        on_block = self._on_block
        if on_block is not None:
            on_block(frames.copy(), bool(flags.input_overflow))

    def _report_end(self) -> None:
        on_block = self._on_block
        if on_block is not None:
            on_block(None, False)


def stream_format(portaudio: ModuleType, device: dict[str, Any]) -> tuple[int, int]:
    """(rate, channels) to open a device with: the network's rate if it takes it, else its own."""
    own = round(device["default_samplerate"])
    for rate, channels in ((SAMPLE_RATE, 1), (own, 1)):
        try:
            portaudio.check_input_settings(device["index"], channels, "float32", samplerate=rate)
            return rate, channels
        except portaudio.PortAudioError:
            continue
    return own, int(device["max_input_channels"])
