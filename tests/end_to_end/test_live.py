"""`python -m realtime.listen` as it is typed, on a real microphone path and with a real subscriber."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from support.pulse_server import ROOT, PulseServer
from websockets.sync.client import connect

from core_models.errors import Exit
from realtime.protocol import events

pytestmark = pytest.mark.weights


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PulseServer]:
    if not shutil.which("pulseaudio") or not shutil.which("paplay"):
        pytest.skip("no pulseaudio here: it makes the microphone of this test")
    started = PulseServer(tmp_path, 44_100)
    yield started
    started.stop()


def test_the_default_microphone_is_followed(
    machine: PulseServer, librivox: list[tuple[str, NDArray[np.float32]]], tmp_path: Path
) -> None:
    """What is played into the microphone comes out as words and an emotion; Ctrl-C ends the session in order."""
    said, samples = librivox[0]
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, samples, 16_000)
    listening = subprocess.Popen(
        [sys.executable, "-m", "realtime.listen", "--events", "-", "--port", "-1", "--keep-journal", "false"],
        env=machine.environment | {"EMOTION_TRACKER_HOME": str(ROOT / ".cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listening.stdout is not None
    assert listening.stderr is not None
    told: list[events.Message] = []
    for line in listening.stdout:
        told.append(events.decode(line))
        if isinstance(told[-1], events.SourceStatus) and told[-1].kind == "microphone":
            machine.play(clip)
        if isinstance(told[-1], events.EmotionFinal):
            listening.send_signal(signal.SIGINT)
    assert listening.wait() == Exit.OK, listening.stderr.read().decode()
    finals = [e for e in told if isinstance(e, events.EmotionFinal)]
    assert finals[0].speaker == "local"
    heard = (finals[0].text or "").lower()
    assert sum(word in heard for word in said.split()) >= 0.6 * len(said.split()), heard
    assert finals[0].modalities["face"].status == "absent"
    assert any(isinstance(e, events.SourceStatus) and e.kind == "camera" and e.status == "absent" for e in told)
    assert isinstance(told[-1], events.SessionClosed)
    assert told[-1].reason == "interrupted"


def test_a_subscriber_sees_what_is_printed(conversation: Path) -> None:
    """A WebSocket client that comes in the middle and asks for everything gets every event that was printed."""
    playing = subprocess.Popen(
        [
            *(sys.executable, "-m", "realtime.listen", "--file", str(conversation), "--pace", "fast"),
            *("--events", "-", "--port", "0", "--keep-journal", "false"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert playing.stdout is not None
    assert playing.stderr is not None
    address = next(line for line in playing.stderr if line.startswith(b"feed: ")).decode().split()[1]
    printed = [playing.stdout.readline()]
    received = []
    with connect(f"{address}?from=0") as feed:
        for message in feed:
            received.append(message if isinstance(message, bytes) else message.encode())
            if isinstance(events.decode(received[-1]), events.SessionClosed):
                break
    printed += playing.stdout.readlines()
    playing.wait()
    assert received == [line.rstrip(b"\n") for line in printed]
