"""What was measured of a checkpoint, from the results that ship with it: `python -m train numbers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Column, Table

from core_models.checkpoint import WEIGHTS, locate
from core_models.errors import CheckpointError
from train.evaluation.results import Result, read_results, write_json
from train.reports.results_table import TITLES

# Columns of an evaluation; F1 is the weighted one, "misses" the accuracy if what was not found is wrong.
TOLD = ("weighted_f1", "accuracy", "uar", "ece")
# Columns of a benchmark.
BENCHES = ("p50_ms", "p95_ms", "strong_per_hour_of_recordings", "hours_of_recordings", "whisper", "clips", "turns")


@dataclass(frozen=True, kw_only=True)
class RecordedConfig:
    """Checkpoints whose figures are printed."""

    checkpoint: Sequence[str] = ("default",)
    """Names of checkpoints that ship, or folders."""
    json: str | None = None
    """Write them as one JSON object to this file, `-` for standard output, instead of printing tables."""


def print_recorded(config: RecordedConfig) -> None:
    """Print the results in `record/` of each checkpoint and of the features that it was trained on.

    `eval_*.json` are what `python -m train eval --json` wrote, `bench_*.json` what `python -m realtime.bench --json`
    did; with `--corpus` and `--root`, `python -m train eval` measures them again. Raises CheckpointError where there
    are none.
    """
    found = {name: read_recorded(folder) for one in config.checkpoint for name, folder in _record_folders(one).items()}
    if not any(results or benches for results, benches in found.values()):
        raise CheckpointError(
            f"No figure stands beside {', '.join(config.checkpoint)}: measure one with "
            "`python -m train eval --corpus NAME --root FOLDER --json RECORD/eval_NAME.json`."
        )
    if config.json is not None:
        told = {name: {"results": results, "benchmarks": benches} for name, (results, benches) in found.items()}
        write_json(told, config.json)
        return
    for name, (results, benches) in found.items():
        _print_results(name, results, benches, Console())


def read_recorded(folder: Path) -> tuple[dict[str, Result], dict[str, dict[str, Any]]]:
    """(evaluations, benchmarks) by the names of their files in `folder`'s record. CheckpointError."""
    try:
        evaluations = {
            path.stem: result
            for path in sorted((folder / "record").glob("eval_*.json"))
            for result in read_results(path)[:1]
        }
        benches = {
            path.stem: msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            for path in sorted((folder / "record").glob("bench_*.json"))
        }
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{folder / 'record'} cannot be read ({error}): fetch the checkpoint again.") from None
    return evaluations, benches


def _record_folders(name: str) -> dict[str, Path]:
    """The checkpoint's folder, and those of the heads and adapters under its features."""
    folder = locate(name)
    found = {folder.name: folder}
    try:
        features = msgspec.json.decode((folder / "sidecar.json").read_bytes(), type=dict[str, Any]).get("features", {})
    except (OSError, msgspec.DecodeError):
        features = {}
    for spec in features.values():
        for part in (spec["name"], *(v for v in spec.get("settings", {}).values() if isinstance(v, str))):
            if (WEIGHTS / part / "record").is_dir():
                found[part] = WEIGHTS / part
    return found


def _print_results(name: str, results: dict[str, Result], benches: dict[str, dict[str, Any]], console: Console) -> None:
    if results:
        heads = ("F1" if score == "weighted_f1" else TITLES[score] for score in TOLD)
        table = Table(Column("result", no_wrap=True), "n", *heads, "misses", title=name)
        for stem, one in results.items():
            cells = (f"{getattr(one, score):.1%}" for score in TOLD)
            table.add_row(stem.removeprefix("eval_"), str(one.n), *cells, f"{one.accuracy_left_out_as_errors:.1%}")
        console.print(table)
    if benches:
        table = Table("benchmark", "figure", "value", title=f"{name}, on {_describe_machine(benches)}")
        for stem, bench in benches.items():
            for figure in BENCHES:
                if figure in bench:
                    value = bench[figure]
                    table.add_row(stem, figure, f"{value:.1f}" if isinstance(value, float) else str(value))
        console.print(table)


def _describe_machine(benches: dict[str, dict[str, Any]]) -> str:
    machines = {f"{b['machine']['cores']} cores" for b in benches.values() if "machine" in b}
    return ", ".join(sorted(machines)) or "a machine that was not noted"
