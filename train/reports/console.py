"""Results in the terminal: as JSON, or as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from train.evaluation.results import SCORES, STAMP, Result, Summary, write_result


def show_result(result: Result | Summary, json: str | None) -> None:
    """Write the result as JSON to the file `json`, `-` for standard output; without it print tables. DiskError."""
    if json is not None:
        write_result(result, json)
    elif isinstance(result, Result):
        print_result(result, Console())
    else:
        print_summary(result, Console())


def print_result(result: Result, console: Console) -> None:
    """The result for people: scores, the confusion matrix with each class's F1, and the breakdowns."""
    console.print(
        f"{result.checkpoint} ({result.digest[:8]}) on {result.corpus} {result.split} {result.subset or ''}: "
        f"{result.n} utterances, {', '.join(result.modalities_used)}, {result.context}, prior: {result.prior}, "
        f"labels: {result.label_map}, left out: {result.left_out or 'none'}",
        highlight=False,
    )
    if result.stamp:
        console.print(f"{result.stamp}.", style="bold red")
    if result.selected_on_test:
        console.print(f"{STAMP}: this pass was chosen by its test score.", style="bold red")
    console.print(
        f"weighted F1 {result.weighted_f1:.1%}  macro F1 {result.macro_f1:.1%}  accuracy {result.accuracy:.1%}  "
        f"UAR {result.uar:.1%}  ECE {result.ece:.3f}",
        highlight=False,
    )
    table = Table("truth \\ predicted", *result.labels, "F1")
    for label, row in zip(result.labels, result.confusion, strict=True):
        table.add_row(label, *map(str, row), f"{result.per_class_f1[label]:.1%}")
    console.print(table)
    for name, breakdown in result.breakdown.items():
        table = Table(name, "n", "weighted F1", "accuracy", caption=breakdown.protocol)
        for label, part in breakdown.parts.items():
            table.add_row(label, str(part.n), f"{part.weighted_f1:.1%}", f"{part.accuracy:.1%}")
        console.print(table)
    if result.against is not None:
        other = result.against
        low, high = other.interval["weighted_f1"]
        console.print(
            f"against {other.checkpoint} ({other.context}) on {other.n} utterances: weighted F1 "
            f"{other.here.weighted_f1:.1%} and {other.there.weighted_f1:.1%}, difference "
            f"{100 * other.difference['weighted_f1']:+.1f} (95%: {100 * low:+.1f} to {100 * high:+.1f})",
            highlight=False,
        )


def print_summary(summary: Summary, console: Console) -> None:
    """Each run's scores, and their mean and deviation."""
    title = f"{summary.corpus} {summary.split}: {summary.n} utterances, labels: {summary.label_map}"
    table = Table("checkpoint", "seed", "weighted F1", "macro F1", "accuracy", "UAR", "ECE", title=title)
    for run in summary.runs:
        stamp = f" {STAMP}" if run.selected_on_test else ""
        table.add_row(f"{run.run}{stamp}", str(run.seed), *(f"{100 * getattr(run, n):.1f}" for n in SCORES))
    deviations = [f"{100 * getattr(summary, n):.1f} ± {100 * summary.deviation[n]:.1f}" for n in SCORES]
    table.add_row("mean", str(len(summary.runs)), *deviations)
    console.print(table)
    if summary.difference:
        mean, deviation = summary.difference["weighted_f1"]
        console.print(f"difference in weighted F1: {100 * mean:+.1f} ± {100 * deviation:.1f}", highlight=False)
