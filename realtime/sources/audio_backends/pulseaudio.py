"""What the system plays, on PulseAudio and PipeWire: the monitor of the output, read by `parec`.

PortAudio lists no monitors, so the sound server's own program reads them; it ends when the server does, which a
stream of PortAudio would not tell. When an output vanishes, the server moves whoever listens to it to another source,
and that may be the microphone: so its messages are followed too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import IO

import numpy as np

from core_models.errors import MicrophoneError
from realtime.sources.audio_backends.backend import BLOCK_MS, BlockCallback
from realtime.sources.media import SAMPLE_RATE

_BYTES = 4 * SAMPLE_RATE * BLOCK_MS // 1000
_NEEDED = ("parec", "pactl")
_ANSWER_S = 5.0


def monitor(wanted: str | None = None) -> str:
    """The PulseAudio source with `wanted` in its name, or the monitor of the default output. MicrophoneError.

    The default is refused where the default microphone is that same monitor: everything would be heard twice.
    """
    missing = [program for program in _NEEDED if shutil.which(program) is None]
    if missing:
        raise MicrophoneError(
            f"The system's sound cannot be heard without {missing[0]}: install pulseaudio-utils (also for PipeWire), "
            "or give --system-sound off."
        )
    there = [line.split("\t")[1] for line in _run_pactl("list", "short", "sources").splitlines()]
    if wanted is None:
        stated = dict(line.strip().partition(": ")[::2] for line in _run_pactl("info").splitlines())
        name = f"{stated.get('Default Sink', '')}.monitor"
        if name in there and name != stated.get("Default Source"):
            return name
        raise MicrophoneError(
            "The default output has no monitor besides the default microphone, so the system's sound cannot be told "
            "apart: choose a source with --system-sound NAME, or give --system-sound off."
        )
    meant = [name for name in there if wanted.lower() in name.lower()]
    meant = [name for name in meant if name.lower() == wanted.lower()] or meant
    if len(meant) != 1:
        wrong = "Several sources are" if meant else "No source is"
        raise MicrophoneError(
            f"{wrong} called {wanted!r}: choose one of {', '.join(meant or there) or 'none'} with --system-sound."
        )
    return meant[0]


class PulseAudioBackend:
    """Reads a PulseAudio source by its name, or what the default output plays (None). MicrophoneError."""

    def __init__(self, wanted: str | None = None) -> None:
        self._wanted = wanted
        self.detail = monitor(wanted)
        self._running: list[tuple[subprocess.Popen[bytes], threading.Thread]] = []

    def open(self, on_block: BlockCallback) -> int:
        """See AudioBackend; the default output is that of this moment."""
        self.detail = monitor(self._wanted)
        self._run_command(
            self._read_blocks,
            on_block,
            *("parec", "--raw", "--format=float32le", f"--rate={SAMPLE_RATE}", "--channels=1"),
            *(f"--latency-msec={BLOCK_MS}", f"--device={self.detail}", "--client-name=emotion-tracker"),
        )
        self._run_command(self._watch_messages, on_block, "pactl", "subscribe")
        return SAMPLE_RATE

    def close(self) -> None:
        """See AudioBackend."""
        running, self._running = self._running, []
        for program, _ in running:
            program.kill()
        for program, thread in running:
            thread.join()
            program.wait()

    def _run_command(
        self, follow: Callable[[IO[bytes], BlockCallback], None], on_block: BlockCallback, *command: str
    ) -> None:
        program = subprocess.Popen(
            command,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the session's: what was heard until then is still delivered
        )
        assert program.stdout is not None
        thread = threading.Thread(target=follow, args=(program.stdout, on_block), name=command[0], daemon=True)
        self._running.append((program, thread))
        thread.start()

    def _read_blocks(self, sound: IO[bytes], on_block: BlockCallback) -> None:
        with sound:
            while len(block := sound.read(_BYTES)) == _BYTES:
                on_block(np.frombuffer(block, np.float32)[:, None], False)
        on_block(None, False)

    def _watch_messages(self, messages: IO[bytes], on_block: BlockCallback) -> None:
        with messages:
            for line in messages:
                if b"'change' on server" in line or b"'remove' on source #" in line:
                    try:
                        same = monitor(self._wanted) == self.detail
                    except MicrophoneError:
                        same = False
                    if not same:
                        on_block(None, False)
                        return


def _run_pactl(*arguments: str) -> str:
    try:
        said = subprocess.run(
            ["pactl", *arguments],
            env=os.environ | {"LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise MicrophoneError(
            "No PulseAudio or PipeWire server answers, so the system's sound cannot be heard: start one, or give "
            "--system-sound off."
        ) from None
    return said.stdout
