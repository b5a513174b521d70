"""One table of many results, mean and deviation over seeds: `python -m train table RESULT.json ...`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from core_models.errors import DiskError, UsageError
from train.evaluation.results import SCORES, STAMP, Result, mean_and_deviation, read_results

TITLES = {"weighted_f1": "weighted F1", "macro_f1": "macro F1", "accuracy": "accuracy", "uar": "UAR", "ece": "ECE"}


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Which results stand in the table, and where it goes."""

    results: Sequence[Path]
    """Files that `python -m train eval --json FILE` wrote, and folders of them."""
    score: str = "weighted_f1"
    """What the cells hold: weighted_f1, macro_f1, accuracy, uar or ece, in percent."""
    out: Path | None = None
    """Write Markdown to this file, and the same with every score as CSV beside it; standard output where it is null."""

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise UsageError(f"score is {self.score!r}: choose from {', '.join(SCORES)}.")


class Row(NamedTuple):
    """What makes a system; seeds and folds of it share a row."""

    model: str
    run: str
    context: str
    modalities: str
    selection: str
    stamp: str


class Column(NamedTuple):
    """What makes a test set; a fold's part of it has its fold's name in `split`."""

    corpus: str
    split: str
    labels: str
    prior: str


class Cell(NamedTuple):
    """A system on a test set."""

    scores: dict[str, tuple[float, float]]
    """Score -> (mean, deviation)."""
    seeds: int
    folds: int
    n: tuple[int, ...]
    """Utterances scored, of each fold."""


def write_table(config: TableConfig) -> None:
    """Write the table of `config.results`. Raises UsageError, DiskError."""
    cells = read_cells(config.results)
    text = format_markdown(cells, config.score)
    if config.out is None:
        sys.stdout.write(text)
        return
    try:
        config.out.write_text(text, encoding="utf-8")
        config.out.with_suffix(".csv").write_text(comma_separated(cells), encoding="utf-8")
    except OSError as error:
        raise DiskError(f"The table cannot be written to {config.out} ({error.strerror}): name another file.") from None


def read_cells(places: Sequence[Path]) -> dict[tuple[Row, Column], Cell]:
    """`group_results` of what lies in files that `eval --json` wrote, and in folders of them. Raises UsageError."""
    files = [f for given in places for f in (sorted(given.rglob("*.json")) if given.is_dir() else [given])]
    if not files:
        raise UsageError("There is no result to tabulate: name files that `python -m train eval --json` wrote.")
    return group_results([result for file in files for result in read_results(file)])


def group_results(results: Sequence[Result]) -> dict[tuple[Row, Column], Cell]:
    """The mean and deviation of every system on every test set, in the order of `results`.

    Where there are folds, a seed's score is the mean over its folds, and the deviation is over seeds; with one
    seed it is over folds. Raises UsageError for two results of one seed, fold and place.
    """
    found: dict[tuple[Row, Column], dict[tuple[int | None, str], Result]] = {}
    for result in results:
        modalities = "+".join(result.modalities_used)
        row = Row(result.model, result.run, result.context, modalities, result.selection, result.stamp)
        column = Column(result.corpus, _part_title(result), ", ".join(result.labels), result.prior)
        of = found.setdefault((row, column), {})
        if of.setdefault((result.seed, result.fold), result) != result:
            raise UsageError(
                f"Two results of {result.run}, seed {result.seed}, on {result.corpus} {result.split} differ: "
                "tabulate one of them."
            )
    return {key: _average_runs(runs) for key, runs in found.items()}


def _part_title(result: Result) -> str:
    cut = "" if result.cut == "clip" else f" cut to {result.cut}"
    return result.split + (f" {result.subset}" if result.subset else "") + cut


def _average_runs(runs: dict[tuple[int | None, str], Result]) -> Cell:
    seeds = list(dict.fromkeys(seed for seed, _ in runs))
    folds = list(dict.fromkeys(fold for _, fold in runs))
    if len(runs) != len(seeds) * len(folds):
        absent = next((s, f) for s in seeds for f in folds if (s, f) not in runs)
        raise UsageError(f"Fold {absent[1]!r} of seed {absent[0]} is missing: evaluate every fold with every seed.")
    scores = {}
    for name in SCORES:
        by_seed = [[getattr(runs[seed, fold], name) for fold in folds] for seed in seeds]
        scores[name] = mean_and_deviation(by_seed[0] if len(seeds) == 1 else [sum(f) / len(f) for f in by_seed])
    return Cell(scores, len(seeds), len(folds), tuple(runs[seeds[0], fold].n for fold in folds))


def format_markdown(cells: dict[tuple[Row, Column], Cell], score: str) -> str:
    """Systems down, test sets across, `score` in percent; below, what each column is."""
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    heads = ["system", "context", "modalities", *(_column_title(column) for column in columns), "chosen by"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        values = [_percent_of(cells.get((row, column)), score) for column in columns]
        chosen = row.selection.replace(STAMP, f"**{STAMP}**") or "not recorded"
        chosen += f"; **{row.stamp}**" if row.stamp else ""
        name = row.run if row.model in row.run else f"{row.model} {row.run}"
        lines.append(f"| {' | '.join([name, row.context, row.modalities, *values, chosen])} |")
    notes = [
        f"- {_column_title(column)}: {', '.join(sorted({str(n) for c in _cells_of(cells, column) for n in c.n}))} "
        f"utterances, labels {column.labels}"
        for column in columns
    ]
    title = f"{TITLES[score]}, percent; mean ± sample standard deviation over seeds (number of seeds)."
    return "\n".join([title, "", *lines, "", *notes]) + "\n"


def _cells_of(cells: dict[tuple[Row, Column], Cell], column: Column) -> list[Cell]:
    return [cell for (_, other), cell in cells.items() if other == column]


def _column_title(column: Column) -> str:
    return f"{column.corpus} {column.split}" + ("" if column.prior == "checkpoint" else f", {column.prior} prior")


def _percent_of(cell: Cell | None, score: str) -> str:
    if cell is None:
        return ""
    mean, deviation = cell.scores[score]
    folds = "" if cell.folds == 1 else f", {cell.folds} folds"
    if cell.seeds == cell.folds == 1:
        return f"{100 * mean:.1f} (1)"
    return f"{100 * mean:.1f} ± {100 * deviation:.1f} ({cell.seeds}{folds})"


def comma_separated(cells: dict[tuple[Row, Column], Cell]) -> str:
    """A line for each system and test set, with every score as a share."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [part for name in SCORES for part in (name, f"{name}_deviation")]
    writer.writerow([*Row._fields, *Column._fields, "seeds", "folds", "n", *scores])
    for (row, column), cell in cells.items():
        values = [value for name in SCORES for value in cell.scores[name]]
        writer.writerow([*row, *column, cell.seeds, cell.folds, sum(cell.n), *values])
    return text.getvalue()
