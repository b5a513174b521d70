"""`python -m realtime.doctor`: what this computer has and can, on one screen, and what it should run."""

from __future__ import annotations

import os

# See realtime/listen.py; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import torch
from rich.table import Table
from rich.text import Text

from core_models.assets import model_folder
from core_models.checkpoint import TENSORS, WEIGHTS, load
from core_models.command_line.options import build_parser, read_options
from core_models.command_line.run import TerminalConsole, run_cli
from core_models.errors import Exit, TrackerError
from core_models.features.audio.whisper import Whisper
from core_models.features.face.expression_posteriors import open_face
from realtime.cli.latency_report import describe_latency, measure_latency
from realtime.demo.assemble import FACE
from realtime.dialogue.tracker import Tracker
from realtime.pipeline.models import load_models
from realtime.sources.devices import device_table, list_devices
from realtime.sources.media import SAMPLE_RATE
from realtime.sources.recording.file import read_audio

# The larger one first.
RECOGNISERS = ("whisper-base", "whisper-tiny.en")
_CLIP_S = 5
_ROUNDS = 3
# An utterance of five seconds should be judged within this, so that its result follows the pause that ends it.
_BUDGET_MS = 600.0
# Six pictures a second, the default, then keep a third of a core busy.
_FACE_BUDGET_MS = 60.0
_DEMO = Path(__file__).with_name("demo") / "conversation.ogg"


@dataclass(frozen=True)
class Timing:
    """How long something takes here, in ms, or why it cannot be done."""

    what: str
    ms: float | None
    trouble: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the screen; the exit code is that with which `realtime.listen` would refuse to begin here, else 0."""
    return run_cli(lambda: _run_doctor(sys.argv[1:] if arguments is None else arguments))


def _run_doctor(arguments: Sequence[str]) -> Exit:
    read_options(build_parser("python -m realtime.doctor", __doc__, config=False), arguments)
    console = TerminalConsole(highlight=False)
    console.print(device_table())
    with console.status("Measuring"):
        recognisers = {
            name: _measure_stage(f"{name}, {_CLIP_S} s of speech", partial(_prepare_recogniser, name))
            for name in RECOGNISERS
        }
        names = _live_checkpoints()
        steps = {name: _measure_stage(f"{name}: words and a step", partial(_prepare_step, name)) for name in names}
        face = _measure_stage(
            "a picture: landmarks and expression", partial(_prepare_face, next(iter(names), "default"))
        )
    table = Table("model", "this machine needs")
    for timing in (*recognisers.values(), *steps.values(), face):
        table.add_row(Text(timing.what), _format_timing(timing))
    console.print(table)
    console.print(_latency_lines(next(iter(names), "default")), soft_wrap=True, markup=False)
    whole = {name: [step, recognisers[_recogniser_of(name)]] for name, step in steps.items()}
    microphone = any(device.kind == "microphone" for device in list_devices()[0])
    console.print(recommend_command(whole, face, microphone=microphone), soft_wrap=True, markup=False)
    if not _measured_runs(whole):
        return Exit.WEIGHTS
    return Exit.OK if microphone else Exit.NO_MICROPHONE


def _latency_lines(checkpoint: str) -> str:
    """What the pipeline's stages declare of their latency, beside what the demonstration took with `checkpoint`."""
    try:
        return describe_latency(*measure_latency(checkpoint, _DEMO))
    except TrackerError as error:
        return str(error)


def recommend_command(timings: dict[str, list[Timing]], face: Timing, *, microphone: bool) -> str:
    """What to run, in a sentence or two, after what was measured; never what cannot begin here."""
    runs = _measured_runs(timings)
    if not runs:
        return "No model can be loaded: run `python -m core_models.assets fetch`, then this again."
    fast = [name for name, ms in runs.items() if ms <= _BUDGET_MS]
    chosen = fast[0] if fast else min(runs, key=runs.__getitem__)
    command = f"python -m realtime.listen --checkpoint {chosen}"
    if microphone:
        said = f"Run `{command}`: five seconds of speech take {runs[chosen]:.0f} ms."
    else:
        said = (
            f"There is no microphone: run `{command} --file RECORDING`, or `{command} --source browser` with the one "
            f"of a browser. Five seconds of speech take {runs[chosen]:.0f} ms."
        )
    if not fast:
        said += " That is slow: results come late while others use this machine."
    if face.ms is not None and face.ms > _FACE_BUDGET_MS:
        said += f" Faces are costly here ({face.ms:.0f} ms each): add `--video-fps 3`, or `--camera null`."
    return said


def _measured_runs(timings: dict[str, list[Timing]]) -> dict[str, float]:
    """Checkpoint -> ms of all its parts, of those all of whose parts could be timed."""
    return {n: sum(t.ms or 0.0 for t in all_) for n, all_ in timings.items() if all(t.ms is not None for t in all_)}


def _live_checkpoints() -> list[str]:
    """The dialogue models that ship and can run live, the default first."""
    shipped = (load(file.parent) for file in WEIGHTS.glob(f"*/{TENSORS}"))
    there = [c.name for c in shipped if not any(s.settings.get("imported") for s in c.sidecar.features.values())]
    return sorted(there, key=lambda name: (name != "default", name))


def _recogniser_of(checkpoint: str) -> str:
    """The recogniser of a checkpoint."""
    voice = load(checkpoint).sidecar.features.get("voice")
    named = str(voice.settings.get("whisper")) if voice else ""
    return named if named in RECOGNISERS else RECOGNISERS[0]


def _prepare_recogniser(name: str) -> Callable[[], object]:
    clip = read_audio(_DEMO)[SAMPLE_RATE : (1 + _CLIP_S) * SAMPLE_RATE]
    whisper = Whisper(model_folder(name))
    return lambda: whisper.decode(whisper.encode(clip), "en")


def _prepare_step(name: str) -> Callable[[], object]:
    torch.set_num_threads(1)
    models = load_models(name)
    tracker = Tracker(models.checkpoint)
    features = {m: np.zeros(spec.dimension, np.float32) for m, spec in models.checkpoint.sidecar.features.items()}
    if models.text is None:
        return lambda: tracker.step("anna", features)
    text = models.text

    def judge_utterance() -> None:
        tracker.step("anna", features | {"text": text(["I did not expect that at all, thank you so much."])[0]})

    return judge_utterance


def _prepare_face(name: str) -> Callable[[], object]:
    face = open_face(load(WEIGHTS / name).sidecar.features["face"].name)
    with av.open(str(model_folder("demo-face") / FACE)) as clip:
        picture = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    return lambda: face.look(picture)


def _measure_stage(what: str, prepare: Callable[[], Callable[[], object]]) -> Timing:
    """The median of a few rounds, after one to warm up."""
    try:
        run = prepare()
        run()
        taken = []
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            run()
            taken.append((time.perf_counter() - begun) * 1000)
    except TrackerError as error:
        return Timing(what, None, str(error))
    return Timing(what, float(np.median(taken)))


def _format_timing(timing: Timing) -> Text:
    return Text(timing.trouble, "red") if timing.ms is None else Text(f"{timing.ms:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
