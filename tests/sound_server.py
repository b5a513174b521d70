"""A sound server of its own for a test: its null sink is the only microphone there is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Machine:
    """A PulseAudio server of its own, whose null sink is the only microphone there is."""

    def __init__(self, folder: Path, rate: int) -> None:
        self.environment = os.environ | {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
        self.environment["PYTHONPATH"] = str(ROOT)
        self._rate = rate
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--realtime=no"]
        command += ["--high-priority=no", "-L", "module-native-protocol-unix auth-anonymous=1"]
        command += ["-L", f"module-null-sink sink_name=vmic rate={rate} channels=1 format=s16le"]
        self._server = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)
        while subprocess.run(["pactl", "info"], env=self.environment, capture_output=True).returncode:
            assert self._server.poll() is None, "pulseaudio ended"
            time.sleep(0.05)

    def python(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """A Python program on this machine: PortAudio lists devices once a process."""
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT / "tests" / "realtime",
        )

    def play(self, file: Path) -> None:
        """Play a recording to its end."""
        subprocess.run(["paplay", "--device=vmic", str(file)], env=self.environment, check=True)

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait()
