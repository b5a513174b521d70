"""The two sides of a call on a real sound server, and what becomes of them when devices go and come back."""

from __future__ import annotations

import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.collecting_sink import alignment
from support.pulse_server import PulseServer

from core_models.errors import MicrophoneError
from realtime.sources.loopback import virtual_device
from realtime.sources.media import SAMPLE_RATE

Samples = NDArray[np.float32]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PulseServer]:
    if not shutil.which("pulseaudio") or not shutil.which("parec"):
        pytest.skip("no pulseaudio here: it makes the devices of this test")
    started = PulseServer(tmp_path, 44_100, output=True)
    yield started
    started.stop()


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[PulseServer]:
    if not shutil.which("pulseaudio") or not shutil.which("parec"):
        pytest.skip("no pulseaudio here: it makes the devices of this test")
    started = PulseServer(tmp_path, 16_000)
    yield started
    started.stop()


def written(file: Path, samples: Samples) -> Path:
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file


SIDES = """
import sys
import numpy as np
from support.collecting_sink import CollectingSink
from realtime.sources.source import MediaClock
from realtime.sources.microphone import MicrophoneSource
from realtime.sources.loopback import system_sound


class Telling(CollectingSink):
    def status(self, status):
        super().status(status)
        print(clock(), status.source, status.status, status.will_retry, flush=True)


clock, keeper = MediaClock(), Telling()
sources = [MicrophoneSource(clock=clock.elapsed_ms), system_sound("auto", clock=clock.elapsed_ms)]
clock.start()
for source in sources:
    source.start(keeper)
keeper.until(lambda: {c.source for c in keeper.chunks} == {"microphone", "system"})
print("listening", sources[1].detail, flush=True)
input()
live = {s.source: s.status == "opened" for s in keeper.said}
end = clock.elapsed_ms() * 16 + 8_000  # what was played last is still on its way
late = lambda: {c.source for c in keeper.chunks[-99:] if c.start > end}
keeper.until(lambda: late() >= {s for s in live if live[s]})
for source in sources:
    source.stop()
np.savez(sys.argv[1], **{s.name: keeper.sound(s.name) for s in sources}, clock=clock())
"""


def until(program: subprocess.Popen[str], *said: str) -> list[str]:
    """The words of the first line that begins with `said` after the time."""
    assert program.stdout is not None
    for line in program.stdout:
        if list(said) in (line.split()[: len(said)], line.split()[1 : 1 + len(said)]):
            return line.split()
    raise AssertionError(f"the program ended without {said}")


def test_each_side_is_heard_where_it_belongs(
    machine: PulseServer, tmp_path: Path, librivox: list[tuple[str, Samples]]
) -> None:
    """The microphone's sink is heard as the microphone, what the system plays as `system`; neither in the other."""
    near, far = librivox[0][1], librivox[1][1]
    program = machine.python(SIDES, str(tmp_path / "heard.npz"))
    assert until(program, "listening") == ["listening", "speakers.monitor"]
    machine.play(written(tmp_path / "near.wav", near))
    machine.play(written(tmp_path / "far.wav", far), "speakers")
    program.communicate("\n")
    heard = np.load(tmp_path / "heard.npz")
    (right, near_at), (wrong, _) = alignment(near, heard["microphone"]), alignment(far, heard["microphone"])
    assert right > 0.95
    assert wrong < 0.3
    (right, far_at), (wrong, _) = alignment(far, heard["system"]), alignment(near, heard["system"])
    assert right > 0.95
    assert wrong < 0.3
    # Both stand on one clock: what was played second comes second, and neither is ahead of the clock.
    assert far_at > near_at + len(near)
    assert max(len(heard["microphone"]), len(heard["system"])) <= heard["clock"] * 16 + 60 * 16


def test_an_output_that_vanishes_is_lost_and_heard_again(
    machine: PulseServer, tmp_path: Path, librivox: list[tuple[str, Samples]]
) -> None:
    """The server would go on with the microphone instead; the system's sound is lost until there is an output."""
    near, far = librivox[0][1], librivox[1][1]
    program = machine.python(SIDES, str(tmp_path / "heard.npz"))
    until(program, "listening")
    machine.unplug("speakers")
    assert until(program, "system", "lost")[3] == "True"
    machine.play(written(tmp_path / "near.wav", near))
    machine.plug("speakers")
    machine.pactl("set-default-sink", "speakers")
    until(program, "system", "opened")
    machine.play(written(tmp_path / "far.wav", far), "speakers")
    program.communicate("\n")
    heard = np.load(tmp_path / "heard.npz")
    assert alignment(far, heard["system"])[0] > 0.9
    assert alignment(near, heard["system"])[0] < 0.3
    assert len(heard["system"]) <= heard["clock"] * 16 + 60 * 16


ALONE = (
    SIDES.replace(', system_sound("auto", clock=clock.elapsed_ms)', "")
    .replace('== {"microphone", "system"}', "")
    .replace("sources[1].detail", '""')
)


def test_a_microphone_that_vanishes_is_lost_and_heard_again(
    lone: PulseServer, tmp_path: Path, librivox: list[tuple[str, Samples]]
) -> None:
    """Unplugged, it is lost within a second; plugged in, it is opened again, and time never turns back."""
    program = lone.python(ALONE, str(tmp_path / "heard.npz"))
    until(program, "listening")
    lone.unplug()
    assert until(program, "microphone", "lost")[3] == "True"
    lone.plug()
    until(program, "microphone", "opened")
    lone.play(written(tmp_path / "near.wav", librivox[1][1]))
    program.communicate("\n")
    assert program.returncode == 0
    heard = np.load(tmp_path / "heard.npz")
    assert alignment(librivox[1][1], heard["microphone"])[0] > 0.9  # `sound` has seen that no chunks overlap
    assert len(heard["microphone"]) <= heard["clock"] * 16 + 60 * 16


def test_a_sound_server_that_dies_is_noticed(machine: PulseServer, tmp_path: Path) -> None:
    """When the server itself is gone both sides are lost, and the program can still end."""
    program = machine.python(SIDES, str(tmp_path / "heard.npz"))
    until(program, "listening")
    machine.stop()
    lost = {word for _ in range(2) for word in until(program)[1:2]}
    assert lost == {"microphone", "system"}
    program.communicate("\n")
    assert program.returncode == 0


def test_a_single_sink_is_not_heard_twice(lone: PulseServer) -> None:
    """Where the default microphone is the monitor of the default output, there is no other side to hear."""
    program = lone.python(
        "from core_models.errors import MicrophoneError\n"
        "from realtime.sources.loopback import system_sound\n"
        "try:\n    system_sound('auto', clock=lambda: 0)\n"
        "except MicrophoneError as error:\n    print(error)\n"
        "print(system_sound('VMIC', clock=lambda: 0).detail)\n"
    )
    said = program.communicate()[0].splitlines()
    assert "--system-sound" in said[0]
    assert said[1] == "vmic.monitor"


def test_a_mac_is_told_how_to_hear_itself() -> None:
    """A virtual device is found among a Mac's inputs by its name; without one, a sentence says how to get one."""
    assert virtual_device(["MacBook Microphone", "BlackHole 2ch"]) == "BlackHole 2ch"
    with pytest.raises(MicrophoneError, match="blackhole-2ch.*--system-sound off"):
        virtual_device(["MacBook Microphone"])
