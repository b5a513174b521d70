"""`python -m realtime.bench BENCHMARK`: how fast, how lasting, how restrained the live run is on this machine.

Each prints a table, or with `--json` one JSON object; realtime/bench/README.md has figures and how they were taken.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Spinning OpenMP threads turn a 28 ms step into 390 ms as soon as anything else runs; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.table import Table

from core_models.command_line.options import build_parser, read_options
from core_models.command_line.run import TerminalConsole, choose_command, run_cli
from realtime.bench.machine import describe_machine, measure_load

_PROGRAM = "python -m realtime.bench"

Measure = Callable[..., dict[str, Any]]


class Benchmark(NamedTuple):
    """A benchmark: its line in `--help`, and how to load the function whose parameters are its options."""

    summary: str
    load: Callable[[], Measure]


# A benchmark's modules load when it is asked for: all of them took 10 s on a busy machine before `--help` answered.


def _load_latency() -> Measure:
    from realtime.bench.speech.latency import latency

    return latency


def _load_perception() -> Measure:
    from realtime.bench.models.perception import perception

    return perception


def _load_step() -> Measure:
    from realtime.bench.models.dialogue_step import step

    return step


def _load_memory() -> Measure:
    from realtime.bench.models.memory import memory

    return memory


def _load_text() -> Measure:
    from realtime.bench.models.text_encoder import text

    return text


def _load_restraint() -> Measure:
    from realtime.bench.speech.restraint import restraint

    return restraint


def _load_short_words() -> Measure:
    from realtime.bench.speech.short_words import short_words

    return short_words


def _load_turns() -> Measure:
    from realtime.bench.speech.turns import turns

    return turns


def _load_endurance() -> Measure:
    from realtime.bench.speech.endurance import endurance

    return endurance


def _load_feed() -> Measure:
    from realtime.bench.serving.feed import feed

    return feed


def _load_page() -> Measure:
    from realtime.bench.serving.page import page

    return page


def _load_trust() -> Measure:
    from realtime.bench.serving.trust import trust

    return trust


BENCHMARKS: dict[str, Benchmark] = {
    "latency": Benchmark("End of speech to emotion.final, in real time, over turns with known ends.", _load_latency),
    "perception": Benchmark("End of an utterance to emotion.final, beside padded `transcribe()`.", _load_perception),
    "step": Benchmark("One step of the dialogue model beside recomputing the dialogue.", _load_step),
    "memory": Benchmark("Resident memory after everything is loaded.", _load_memory),
    "text": Benchmark("Milliseconds of a text encoder for one utterance.", _load_text),
    "restraint": Benchmark("Strong emotions an hour in sound that holds none.", _load_restraint),
    "short-words": Benchmark("Word errors on one to three words alone, beside padded decoding.", _load_short_words),
    "turns": Benchmark("Whose turn it is, of two to four people on one channel.", _load_turns),
    "endurance": Benchmark("Memory growth, lag and recall over hours.", _load_endurance),
    "feed": Benchmark("Encoding, fan-out to many clients, mass resumption, kill -9.", _load_feed),
    "page": Benchmark("The dashboard in Chromium with 10,000 utterances.", _load_page),
    "trust": Benchmark("Attacks on what is kept and read: consent, writers, readers, text, damage.", _load_trust),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and print it as a table, or with `--json` as one JSON object."""
    return run_cli(lambda: _run_benchmark(sys.argv[1:] if arguments is None else arguments))


def _run_benchmark(arguments: Sequence[str]) -> None:
    load_before = measure_load()
    summaries = {name: benchmark.summary for name, benchmark in BENCHMARKS.items()}
    name, rest = choose_command(_PROGRAM, __doc__ or "", summaries, arguments)
    measure = BENCHMARKS[name].load()
    parser = build_parser(f"{_PROGRAM} {name}", inspect.getdoc(measure))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_function_arguments(measure)
    given = read_options(parser, rest)
    result = measure(**{option: given[option] for option in inspect.signature(measure).parameters})
    result["machine"] = describe_machine(load_before)
    if given.json:
        print(json.dumps(result, indent=1))
    else:
        TerminalConsole().print(_build_table(result))


def _build_table(result: dict[str, Any]) -> Table:
    machine = result["machine"]
    table = Table(title=f"{result['benchmark']} ({machine['cores']} cores, load {machine['load_before']} before)")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result.items():
        if name not in ("machine", "benchmark"):
            table.add_row(name, _format_value(value))
    return table


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{k}: {_format_value(v)}" for k, v in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)
