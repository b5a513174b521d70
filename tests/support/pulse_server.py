"""A sound server of its own for a test: its null sinks are the only microphone and the only output there are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class PulseServer:
    """A PulseAudio server of its own, whose null sink `vmic` is the only microphone there is.

    With `output`, a second one, `speakers`, is what the system plays to.
    """

    def __init__(self, folder: Path, rate: int, *, output: bool = False) -> None:
        self.environment = os.environ | {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
        self.environment["PYTHONPATH"] = str(ROOT)
        self._rate = rate
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit", "--realtime=no"]
        command += ["--high-priority=no", "-L", "module-native-protocol-unix auth-anonymous=1"]
        command += ["-L", f"module-null-sink sink_name=vmic rate={rate} channels=1 format=s16le"]
        if output:
            command += ["-L", "module-null-sink sink_name=speakers rate=48000 channels=2 format=s16le"]
        self._server = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)
        while subprocess.run(["pactl", "info"], env=self.environment, capture_output=True).returncode:
            assert self._server.poll() is None, "pulseaudio ended"
            time.sleep(0.05)
        if output:
            self.pactl("set-default-sink", "speakers")
            self.pactl("set-default-source", "vmic.monitor")

    def pactl(self, *arguments: str) -> str:
        """What the server says to a command."""
        return subprocess.run(
            ["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def unplug(self, sink: str = "vmic") -> None:
        """Take a null sink away, and with it its monitor and whoever listens there."""
        modules = [line.split("\t") for line in self.pactl("list", "short", "modules").splitlines()]
        (number,) = [module[0] for module in modules if f"sink_name={sink}" in " ".join(module[2:])]
        self.pactl("unload-module", number)

    def plug(self, sink: str = "vmic") -> None:
        """Bring it back."""
        self.pactl("load-module", "module-null-sink", f"sink_name={sink}", f"rate={self._rate}", "channels=1")
        if sink == "vmic":
            self.pactl("set-default-source", "vmic.monitor")

    def python(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """A Python program on this machine: PortAudio lists devices once a process."""
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT / "tests",
        )

    def play(self, file: Path, sink: str = "vmic") -> None:
        """Play a recording to its end."""
        subprocess.run(["paplay", f"--device={sink}", str(file)], env=self.environment, check=True)

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait()
