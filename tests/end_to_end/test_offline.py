"""Nothing leaves the machine (contract 8)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from realtime.protocol import events

pytestmark = pytest.mark.weights

# Runs the program with every outgoing connection and name look-up of Python written down.
_WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        print("OUTGOING", event, arguments, file=sys.stderr)
sys.addaudithook(watch)
from realtime.listen import main
raise SystemExit(main(sys.argv[1:]))
"""


def test_a_session_without_a_network(conversation: Path) -> None:
    """With the network cut a session runs to its end, and not one outgoing connection is tried."""
    cut = [unshare, "--net", "--map-root-user"] if (unshare := shutil.which("unshare")) else None
    if cut is None or subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the network can only be cut where unshare(1) may make a network namespace")
    run = subprocess.run(
        [
            *cut,
            *(sys.executable, "-c", _WATCHED, "--file", str(conversation), "--pace", "fast"),
            *("--events", "-", "--port", "0", "--keep-journal", "false"),
        ],
        capture_output=True,
        env=os.environ,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert b"OUTGOING" not in run.stderr, run.stderr.decode()
    told = [events.decode(line) for line in run.stdout.splitlines()]
    assert isinstance(told[-1], events.SessionClosed)
    assert told[-1].totals["utterances"] >= 12
