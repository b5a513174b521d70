"""What the system plays, on Windows: WASAPI loopback through the soundcard package (`the extra `loopback``)."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from core_models.errors import MicrophoneError
from realtime.sources.audio_backends.backend import BLOCK_MS, BlockCallback
from realtime.sources.media import SAMPLE_RATE

_OPENED_S = 5.0


def loopback(wanted: str | None = None) -> Any:
    """soundcard's loopback of the speaker with `wanted` in its name, or of the default one. MicrophoneError."""
    try:
        import soundcard
    except (ImportError, OSError, AssertionError, RuntimeError) as error:
        raise MicrophoneError(
            f"The system's sound cannot be heard without soundcard ({error}): run `pip install soundcard`, or give "
            "--system-sound off."
        ) from None
    try:
        name = str(soundcard.default_speaker().name) if wanted is None else wanted
        return soundcard.get_microphone(name, include_loopback=True)
    except (IndexError, RuntimeError, OSError):
        raise MicrophoneError(
            f"No output is called {wanted or 'the default'!r}: name one with --system-sound, or give off."
        ) from None


class WasapiLoopbackBackend:
    """Reads the loopback of an output by a part of its name, or of the default one (None). MicrophoneError."""

    def __init__(self, wanted: str | None = None) -> None:
        self._wanted = wanted
        self.detail = str(loopback(wanted).name)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, on_block: BlockCallback) -> int:
        """See AudioBackend."""
        self._closing = threading.Event()
        opened = threading.Event()
        failures: list[Exception] = []
        arguments = (on_block, self._closing, opened, failures)
        self._thread = threading.Thread(target=self._read_blocks, args=arguments, name="loopback", daemon=True)
        self._thread.start()
        if not opened.wait(_OPENED_S) or failures:
            self.close()
            raise MicrophoneError(
                f"The sound of {self.detail!r} cannot be read ({failures[0] if failures else 'no answer'}): "
                "give --system-sound off, or the name of another output."
            )
        return SAMPLE_RATE

    def close(self) -> None:
        """See AudioBackend."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_OPENED_S)
            self._thread = None

    def _read_blocks(
        self,
        on_block: BlockCallback,
        closing: threading.Event,
        opened: threading.Event,
        failures: list[Exception],
    ) -> None:
        frames = SAMPLE_RATE * BLOCK_MS // 1000
        try:
            if sys.platform == "win32":  # COM is each thread's own affair
                import ctypes

                ctypes.windll.ole32.CoInitializeEx(None, 0)
            heard = loopback(self._wanted)
            self.detail = str(heard.name)
            with heard.recorder(samplerate=SAMPLE_RATE, channels=1, blocksize=frames) as recorder:
                opened.set()
                while not closing.is_set():
                    block = np.asarray(recorder.record(numframes=frames), np.float32)
                    if not closing.is_set():
                        on_block(block, False)
        except Exception as error:  # of a driver, in whatever form: the source is lost and tried again
            failures.append(error)
            opened.set()
        if not closing.is_set():
            on_block(None, False)
