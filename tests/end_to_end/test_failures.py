"""What goes wrong in a person's hands ends in one sentence and a documented exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from core_models.checkpoint import WEIGHTS
from core_models.errors import Exit
from realtime.protocol import events

pytestmark = pytest.mark.weights

QUIET = ("--port", "-1", "--keep-journal", "false", "--pace", "fast")


def sentence(said: str) -> str:
    """The last thing said, on one line; a traceback is never shown."""
    assert "Traceback" not in said, said
    return " ".join(said.split())


def test_a_file_that_is_not_there(listen) -> None:
    """A wrong path is named, exit code 4."""
    run = listen("--file", "nowhere.wav", *QUIET)
    assert run.code == Exit.MEDIA
    assert "nowhere.wav" in sentence(run.said)


@pytest.mark.parametrize("content", [b"", b"this is no recording" * 100], ids=["empty", "text"])
def test_a_file_that_is_no_recording(listen, tmp_path: Path, content: bytes) -> None:
    """An empty file and one that is no media end with exit code 4 and the file's name."""
    file = tmp_path / "call.wav"
    file.write_bytes(content)
    run = listen("--file", str(file), *QUIET)
    assert run.code == Exit.MEDIA
    assert "call.wav" in sentence(run.said)


def test_a_video_without_sound(listen, tmp_path: Path) -> None:
    """A recording without sound cannot be judged: exit code 4, and the sentence says so."""
    file = tmp_path / "silent.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        out.mux(stream.encode(None))
    run = listen("--file", str(file), *QUIET)
    assert run.code == Exit.MEDIA
    assert "sound" in sentence(run.said) or "audio" in sentence(run.said)


def test_an_unknown_config_key(listen, tmp_path: Path) -> None:
    """A key that does not exist is named, exit code 2."""
    config = tmp_path / "listen.yaml"
    config.write_text("hangover: 400\n")
    run = listen("--config", str(config))
    assert run.code == Exit.USAGE
    assert "hangover" in sentence(run.said)


def test_a_checkpoint_trained_on_other_features(listen, conversation: Path, tmp_path: Path) -> None:
    """A checkpoint of another voice feature is refused in a sentence that names both: exit code 6."""
    folder = tmp_path / "other"
    shutil.copytree(WEIGHTS / "default", folder)
    sidecar = json.loads((folder / "sidecar.json").read_text())
    sidecar["features"]["voice"]["digest"] = "f" * 64
    (folder / "sidecar.json").write_text(json.dumps(sidecar))
    run = listen("--file", str(conversation), "--checkpoint", str(folder), *QUIET)
    assert run.code == Exit.CHECKPOINT
    assert sentence(run.said).count("voice") >= 2
    assert "ffffffff" in run.said


def test_a_damaged_checkpoint(listen, conversation: Path, tmp_path: Path) -> None:
    """A checkpoint cut short is refused: exit code 6."""
    folder = tmp_path / "cut"
    shutil.copytree(WEIGHTS / "default", folder)
    tensors = folder / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1000])
    run = listen("--file", str(conversation), "--checkpoint", str(folder), *QUIET)
    assert run.code == Exit.CHECKPOINT
    assert "damaged" in sentence(run.said)


def test_weights_that_are_not_there(listen, conversation: Path, tmp_path: Path) -> None:
    """Without the weights the command that fetches them is named: exit code 5."""
    run = listen("--file", str(conversation), *QUIET, EMOTION_TRACKER_HOME=str(tmp_path))
    assert run.code == Exit.WEIGHTS
    assert "make weights" in sentence(run.said)


def test_beyond_this_machine_only_with_a_token(listen, conversation: Path) -> None:
    """The feed refuses to listen on every address without a token: exit code 2."""
    run = listen("--file", str(conversation), "--host", "0.0.0.0", "--port", "0", "--keep-journal", "false")
    assert run.code == Exit.USAGE
    assert "token" in sentence(run.said)


def test_speakers_and_channels_must_agree(listen, conversation: Path) -> None:
    """Three names for two channels are refused before anything is loaded: exit code 2."""
    run = listen("--file", str(conversation), "--channels", "split", "--speakers", "[a,b,c]", *QUIET)
    assert run.code == Exit.USAGE
    assert "2 channels" in sentence(run.said)


def test_events_to_a_place_that_cannot_be_written(listen, conversation: Path, tmp_path: Path) -> None:
    """An output in a folder that is not there is named before the session begins: exit code 8."""
    target = tmp_path / "nowhere" / "events.jsonl"
    run = listen("--file", str(conversation), "--events", str(target), *QUIET)
    assert run.code == Exit.DISK
    assert "nowhere" in sentence(run.said)


def test_settings_of_endpointing_that_cannot_work(listen) -> None:
    """A nested option that is refused is a sentence too: exit code 2."""
    run = listen("--endpointing.frame-ms", "25")
    assert run.code == Exit.USAGE
    assert "frame_ms must be 10, 20 or 30" in sentence(run.said)


def test_a_disk_that_is_full_under_the_events(listen, conversation: Path) -> None:
    """The session outlives an output that cannot be written, says so, and closes without a traceback."""
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a device that is always full")
    run = listen("--file", str(conversation), "--events", "/dev/full", *QUIET)
    assert run.code == Exit.OK
    assert "cannot be written any more" in sentence(run.said + b"\n".join(run.lines).decode())


@pytest.mark.parametrize("events_too", [(), ("--events", "-")], ids=["people", "events"])
def test_a_reader_that_has_gone(conversation: Path, events_too: tuple[str, ...]) -> None:
    """A pipe closed by its reader (`| head`) neither hangs the session nor shows a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "realtime.listen", "--file", str(conversation), *events_too, *QUIET],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait() == Exit.OK, said
    sentence(said)


def test_sigterm_flushes_and_closes(conversation: Path) -> None:
    """SIGTERM in mid-call: what was heard is judged, `session.closed` says `terminated`, exit code 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "realtime.listen", "--file", str(conversation), "--events", "-", *QUIET[:4]],
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if isinstance(events.decode(line), events.SpeechStarted):
            time.sleep(1.0)
            process.send_signal(signal.SIGTERM)
            break
    lines += process.stdout.read().splitlines(keepends=True)
    assert process.wait() == Exit.OK
    told = [events.decode(line) for line in lines]
    assert isinstance(told[-1], events.SessionClosed)
    assert told[-1].reason == "terminated"
    assert any(isinstance(e, events.EmotionFinal | events.UtteranceDiscarded) for e in told)
