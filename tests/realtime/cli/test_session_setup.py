"""What a live run refuses before its models load, and the outputs that it shares with a replay."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from core_models.errors import DiskError, Exit, FeedError, UsageError
from realtime.cli.event_file import open_event_file
from realtime.cli.feed_options import FeedOptions, build_feed
from realtime.replay import main as replay

SCENE = Path(__file__).parents[3] / "realtime" / "demo" / "conversation.ogg"


def listen(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program without any weights: whatever is refused with another code than theirs was refused before them."""
    return subprocess.run(
        [sys.executable, "-m", "realtime.listen", "--file", str(SCENE), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"EMOTION_TRACKER_HOME": str(home)},
    )


def test_a_port_in_use_is_told_before_the_models_load(tmp_path: Path) -> None:
    """One sentence that names port and option, exit code 7, no journal begun; a free port gets further."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = listen(tmp_path, "--port", str(port), "--journal", str(tmp_path / "kept"))
    assert refused.returncode == Exit.FEED, refused.stderr
    assert str(port) in refused.stderr
    assert "--port" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "kept").glob("*"))
    free = listen(tmp_path, "--port", "0", "--journal", str(tmp_path / "kept"))
    assert free.returncode == Exit.WEIGHTS, free.stderr


def test_a_journal_that_cannot_be_written_is_told_before_the_models_load(tmp_path: Path) -> None:
    """One sentence that names the folder and both ways out: exit code 8."""
    (tmp_path / "file").write_text("no folder")
    refused = listen(tmp_path, "--port", "-1", "--journal", str(tmp_path / "file" / "sessions"))
    assert refused.returncode == Exit.DISK, refused.stderr
    assert all(word in refused.stderr for word in ("sessions", "--journal FOLDER", "--keep-journal false"))
    assert len(refused.stderr.splitlines()) == 1


def test_events_are_for_their_owner_alone(tmp_path: Path) -> None:
    """The file of `--events` is made 0600, and each line is there as soon as it is written."""
    with ExitStack() as stack:
        file = open_event_file(str(tmp_path / "events.jsonl"), stack)
        file.write_line(b"{}")
        assert (tmp_path / "events.jsonl").read_bytes() == b"{}\n"
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o600
    with ExitStack() as stack, pytest.raises(DiskError, match="nowhere"):
        open_event_file(str(tmp_path / "nowhere" / "events.jsonl"), stack)


def test_a_feed_is_built_from_the_same_options_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No feed for a negative port; beyond this machine only with a token, which may come from the environment."""
    assert build_feed(FeedOptions(port=-1), "S") is None
    with pytest.raises(UsageError, match="token"):
        build_feed(FeedOptions(port=0, host="0.0.0.0"), "S")
    monkeypatch.setenv("EMOTION_TRACKER_TOKEN", "secret")
    assert build_feed(FeedOptions(port=0, host="0.0.0.0"), "S") is not None
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(FeedError, match="stop the program"):
        build_feed(FeedOptions(port=other.getsockname()[1]), "S")


def test_a_replay_has_the_feeds_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Names and TLS, which once were a live run's alone; experiments of a live run are no wall in its help."""
    with pytest.raises(SystemExit):
        replay(["--help"])
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--certificate", "--key", "--hosts", "--origins"))
    done = subprocess.run(
        [sys.executable, "-m", "realtime.listen", "--help"], capture_output=True, text=True, check=False
    )
    assert "--endpointing.hangover-ms" in done.stdout
    assert "--endpointing.onset-share" not in done.stdout
    assert "endpointing.onset_share" in " ".join(done.stdout.split())
