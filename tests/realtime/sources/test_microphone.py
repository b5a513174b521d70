"""A real microphone path: sound played into a PulseAudio null sink, read back through PortAudio."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from support.collecting_sink import CollectingSink, alignment
from support.pulse_server import PulseServer

from core_models.errors import Exit, MicrophoneError
from realtime.sources.audio_backends.portaudio import find_microphone, stream_format
from realtime.sources.clock_sync import Block, ClockAligner
from realtime.sources.media import SAMPLE_RATE

Samples = NDArray[np.float32]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=[16_000, 44_100], ids=["16 kHz", "44.1 kHz"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PulseServer]:
    if not shutil.which("pulseaudio") or not shutil.which("paplay"):
        pytest.skip("no pulseaudio here: it makes the microphone of this test")
    started = PulseServer(tmp_path, request.param)
    yield started
    started.stop()


LISTEN = """
import sys
import numpy as np
from support.collecting_sink import CollectingSink
from realtime.sources.source import MediaClock
from realtime.sources.microphone import MicrophoneSource

clock, keeper = MediaClock(), CollectingSink()
microphone = MicrophoneSource(sys.argv[2] or None, clock=clock.elapsed_ms)
clock.start()
microphone.start(keeper)
keeper.until(lambda: len(keeper.chunks) > 3)
print("listening", flush=True)
input()
microphone.stop()
print(clock(), [s.status for s in keeper.said], microphone.detail, sep="|")
np.savez(sys.argv[1], sound=keeper.sound(), first=keeper.chunks[0].start)
"""


def test_what_is_played_is_heard(machine: PulseServer, tmp_path: Path, librivox: list[tuple[str, Samples]]) -> None:
    """Speech played into the microphone comes out whole, at its rate, and on the session's clock."""
    speech = librivox[1][1]
    file = tmp_path / "played.wav"
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        out.writeframes((speech * 32767).astype("<i2").tobytes())
    program = machine.python(LISTEN, str(tmp_path / "heard.npz"), "")
    assert program.stdout is not None
    assert program.stdout.readline() == "listening\n"
    machine.play(file)
    said, _ = program.communicate("\n")
    heard = np.load(tmp_path / "heard.npz")
    correlation, _ = alignment(speech, heard["sound"])
    assert correlation > 0.97  # PulseAudio resamples too, and the two grids may lie half a sample apart
    clock_ms, statuses, name = said.strip().split("|")
    assert statuses == "['opened', 'ended']"
    assert name
    # The clock goes on a little while the stream is closed, never the other way round.
    ended_ms = len(heard["sound"]) * 1000 / SAMPLE_RATE
    assert ended_ms <= int(clock_ms) + 60
    assert heard["first"] > 0


def test_devices_are_listed_and_chosen_by_name(machine: PulseServer) -> None:
    """`list_devices` names the microphones and marks one; a part of that name opens it, a wrong name is refused."""
    program = machine.python(
        "from realtime.sources.devices import list_devices\n"
        "from realtime.sources.microphone import MicrophoneSource\n"
        "from core_models.errors import MicrophoneError\n"
        "there, missing = list_devices()\n"
        "hears = [d for d in there if d.kind == 'microphone']\n"
        "assert hears and sum(d.default for d in hears) == 1, there\n"
        "assert not any('No microphone' in s for s in missing), missing\n"
        "for device in hears:\n"
        "    assert MicrophoneSource(str(device.number), clock=lambda: 0).detail == device.name\n"
        "    assert MicrophoneSource(device.name.upper(), clock=lambda: 0).detail == device.name\n"
        "try:\n"
        "    MicrophoneSource('theremin', clock=lambda: 0)\n"
        "except MicrophoneError as error:\n"
        "    assert 'theremin' in str(error) and hears[0].name in str(error)\n"
        "    print('refused')\n"
    )
    assert program.communicate()[0] == "refused\n"


@pytest.mark.parametrize(
    ("hidden", "fix"),
    [
        ("import ctypes.util; ctypes.util.find_library = lambda name: None; sys.platform = 'linux'", "libportaudio2"),
        ("import os; os.environ['PULSE_SERVER'] = 'unix:/nowhere'", "PulseAudio"),
    ],
    ids=["no PortAudio", "no microphone"],
)
def test_without_a_microphone_the_fix_is_named(tmp_path: Path, hidden: str, fix: str) -> None:
    """Without PortAudio, and without any microphone, one sentence says what to do, and the exit code is documented."""
    program = (
        f"import sys; {hidden}\n"
        "from realtime.sources.devices import list_devices\n"
        "from realtime.sources.microphone import MicrophoneSource\n"
        "from core_models.errors import MicrophoneError\n"
        "assert any('--file' in sentence for sentence in list_devices()[1])\n"
        "try:\n"
        "    MicrophoneSource(clock=lambda: 0)\n"
        "except MicrophoneError as error:\n"
        "    print(error)\n"
        "    raise SystemExit(error.exit_code)\n"
    )
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == Exit.NO_MICROPHONE, ran.stderr
    assert fix in ran.stdout
    assert ran.stdout.count("\n") == 1


MUTED = """
from support.collecting_sink import CollectingSink
from realtime.sources import microphone
from realtime.sources.source import MediaClock

microphone._MUTED_MS = 1_000
clock, keeper = MediaClock(), CollectingSink()
source = microphone.MicrophoneSource(clock=clock.elapsed_ms)
clock.start()
source.start(keeper)
keeper.until(lambda: any(said.status == "muted" for said in keeper.said))
print("muted", flush=True)
keeper.until(lambda: keeper.said[-1].status == "opened")
keeper.until(lambda: keeper.said[-1].status == "muted")
source.stop()
print(*(said.status for said in keeper.said), *(s.detail for s in keeper.said if "unmute it" in s.detail), sep="|")
"""


def test_a_muted_microphone_is_told(machine: PulseServer, tmp_path: Path, librivox: list[tuple[str, Samples]]) -> None:
    """Zeros for good are `muted`, once; the first sound opens it again, and the next silence is told again."""
    file = tmp_path / "played.wav"
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        out.writeframes((librivox[1][1] * 32767).astype("<i2").tobytes())
    program = machine.python(MUTED)
    assert program.stdout is not None
    assert program.stdout.readline() == "muted\n"
    machine.play(file)
    statuses = program.communicate()[0].strip().split("|")
    assert statuses[:5] == ["opened", "muted", "opened", "muted", "ended"]
    assert len(statuses) == 7


SLOW = """
import sys
import time
import numpy as np
from support.collecting_sink import CollectingSink
from realtime.sources import microphone
from realtime.sources.source import MediaClock

microphone._QUEUE_BLOCKS = 10


class Slow(CollectingSink):
    def audio(self, chunk):
        if len(self.chunks) == 5:
            time.sleep(1.5)
        super().audio(chunk)


clock, keeper = MediaClock(), Slow()
source = microphone.MicrophoneSource(clock=clock.elapsed_ms)
clock.start()
source.start(keeper)
keeper.until(lambda: len(keeper.chunks) > 60)
source.stop()
ends = np.array([c.start + len(c.samples) for c in keeper.chunks])
gaps = np.array([c.start for c in keeper.chunks[1:]]) - ends[:-1]
said = next(s.detail for s in keeper.said if s.status == "overflow")
print(gaps.max() // 16, said.split()[0], ends[-1] // 16, clock())
"""


def test_what_a_slow_machine_loses_is_counted_and_leaves_a_gap(machine: PulseServer) -> None:
    """While the pipeline stands still the microphone does not wait: what it lost is told, and time stays right."""
    gap_ms, said_ms, heard_ms, clock_ms = map(int, machine.python(SLOW).communicate()[0].split())
    assert gap_ms > 500
    assert abs(gap_ms - said_ms) <= 30
    assert clock_ms - 1_000 < heard_ms <= clock_ms + 60


def blocks(samples: Samples, rate: int, jitter_ms: list[int]) -> list[Block]:
    """What PortAudio gives of `samples` [n, channels] at `rate`, in blocks of 30 ms, the first heard after a second."""
    size = rate * 30 // 1000
    parts = [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]
    heard = [1_030 + 30 * number + jitter_ms[number % len(jitter_ms)] for number in range(len(parts))]
    return [Block(part, at, 0, False) for part, at in zip(parts, heard, strict=True)]


def placed(aligner: ClockAligner, given: list[Block]) -> CollectingSink:
    keeper = CollectingSink()
    for block in given:
        for chunk in aligner.align(block):
            keeper.audio(chunk)
    for chunk in aligner.flush():
        keeper.audio(chunk)
    return keeper


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 8_000])
def test_samples_are_counted_from_when_the_first_was_heard(rate: int, librivox: list[tuple[str, Samples]]) -> None:
    """At any rate of the device the sound is mono at 16 kHz and gapless, however the callbacks jitter."""
    speech = librivox[1][1]
    at_rate = soxr.resample(speech, SAMPLE_RATE, rate, quality="VHQ").astype(np.float32)
    stereo = np.stack([at_rate * 0, at_rate * 2], axis=1)
    keeper = placed(ClockAligner("m", rate), blocks(stereo, rate, [120, 40, 0, 15]))
    heard = keeper.sound()
    assert keeper.chunks[0].start == SAMPLE_RATE
    assert all(a.start + len(a.samples) == b.start for a, b in pairwise(keeper.chunks))
    correlation, late = alignment(soxr.resample(soxr.resample(speech, 16_000, 8_000), 8_000, 16_000), heard)
    assert correlation > 0.95
    assert abs(late - SAMPLE_RATE) <= 2


def test_dropped_frames_are_a_gap_of_their_length() -> None:
    """Blocks that found the queue full are missing by exactly as many samples."""
    given = blocks(np.ones((48_000, 1), np.float32), 48_000, [0])
    aligner = ClockAligner("m", 48_000)
    late = dataclasses.replace(given[20], dropped=4_800)
    keeper = placed(aligner, [*given[:10], late])
    assert keeper.chunks[-1].start + len(keeper.chunks[-1].samples) == 16_000 + 11 * 480 + 1_600
    assert aligner.lost_ms == 100


def test_an_overflow_of_portaudio_is_a_gap_by_the_clock() -> None:
    """Where PortAudio lost sound and does not say how much, the clock does; it never sets sound back."""
    given = blocks(np.ones((48_000, 1), np.float32), 16_000, [0])
    aligner = ClockAligner("m", 16_000)
    keeper = placed(aligner, [*given[:10], dataclasses.replace(given[30], overflow=True)])
    assert keeper.chunks[-1].start + len(keeper.chunks[-1].samples) == given[30].heard_ms * 16
    assert aligner.lost_ms == 20 * 30
    keeper = placed(aligner, [dataclasses.replace(given[5], overflow=True)])
    assert keeper.chunks[0].start == given[30].heard_ms * 16


def test_a_name_that_fits_several_is_refused() -> None:
    """Two microphones with the same word in their names cannot be told apart by it; an exact name can."""
    names = ("USB", "USB Headset", "Speakers")
    there = [{"index": n, "name": name, "max_input_channels": n < 2} for n, name in enumerate(names)]
    portaudio = SimpleNamespace(query_devices=lambda: there, default=SimpleNamespace(device=(1, 2)))
    with pytest.raises(MicrophoneError, match="Several microphones are called 'us'.*0 'USB', 1 'USB Headset'"):
        find_microphone(portaudio, "us")  # type: ignore[arg-type]
    assert find_microphone(portaudio, "usb")["index"] == 0  # type: ignore[arg-type]
    assert find_microphone(portaudio)["index"] == 1  # type: ignore[arg-type]
    with pytest.raises(MicrophoneError, match="No microphone is called '2'"):
        find_microphone(portaudio, "2")  # type: ignore[arg-type]


def test_a_device_that_refuses_16_khz_is_opened_at_its_own_rate() -> None:
    """The rate of the networks where the device takes it, else the device's own, in mono if possible."""

    class Refusing:
        PortAudioError = OSError

        def __init__(self, *taken: tuple[int, int]) -> None:
            self.taken = taken

        def check_input_settings(self, index: int, channels: int, kind: str, samplerate: int) -> None:
            if (samplerate, channels) not in self.taken:
                raise self.PortAudioError

    device = {"index": 0, "default_samplerate": 44_100.0, "max_input_channels": 2}
    for taken, chosen in {
        ((16_000, 1), (44_100, 1)): (16_000, 1),
        ((44_100, 1),): (44_100, 1),
        (): (44_100, 2),
    }.items():
        assert stream_format(Refusing(*taken), device) == chosen  # type: ignore[arg-type]
