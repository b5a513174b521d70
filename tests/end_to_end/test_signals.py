"""Ctrl-C and SIGTERM, whenever they come."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.protocol import events

pytestmark = pytest.mark.weights


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "realtime.listen", *arguments, "--port", "-1", "--keep-journal", "false"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has loaded")
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_interrupted_while_libraries_load(library: str, conversation: Path) -> None:
    """Ctrl-C before anything has begun ends the program without a word."""
    process = start("--file", str(conversation))
    maps = Path(f"/proc/{process.pid}/maps")
    while library not in maps.read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, said = process.communicate()
    assert process.returncode != 0
    assert out == said == b""


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")], ids=["term", "int"]
)
def test_ended_in_mid_utterance(number: int, reason: str, conversation: Path) -> None:
    """The open utterance is flushed and judged, every announced one has its end, and `session.closed` is the last."""
    process = start("--file", str(conversation), "--events", "-")
    assert process.stdout is not None
    told: list[events.Message] = []
    for line in process.stdout:
        told.append(events.decode(line))
        if isinstance(told[-1], events.EmotionProvisional):  # half-way through what is being said
            process.send_signal(number)
            break
    told += [events.decode(line) for line in process.stdout]
    assert process.wait() == 0
    spoken = told[-1]
    assert isinstance(spoken, events.SessionClosed)
    assert spoken.reason == reason
    looked_at = next(e.utterance_id for e in told if isinstance(e, events.EmotionProvisional))
    ended = ids(told, events.EmotionFinal, events.UtteranceDiscarded)
    assert looked_at in ended
    assert sorted(ended) == sorted(ids(told, events.SpeechStarted))


def ids(told: list[events.Message], *kinds: Callable[..., events.Message]) -> list[str]:
    return [e.utterance_id for e in told if isinstance(e, kinds)]  # type: ignore[arg-type,union-attr]
