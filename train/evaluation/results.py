"""What an evaluation found, as it stands in JSON: one checkpoint's result, and the mean over several seeds."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from core_models.errors import DiskError, UsageError
from train.corpora.dialogues import Corpus

# The scores of every result, part and difference, all shares in [0, 1].
SCORES = ("weighted_f1", "macro_f1", "accuracy", "uar", "ece")

# What every result, table and card says where the pass was chosen by its test score.
STAMP = "SELECTED ON TEST"


class ScoreFields(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of some utterances, shares in [0, 1]."""

    n: int
    """Utterances counted."""
    weighted_f1: float
    """F1 of each class, weighted by its count."""
    macro_f1: float
    """F1 of each class, weighted alike; a class that neither occurs nor is predicted counts as 0."""
    accuracy: float
    """Share that is right (WA)."""
    uar: float
    """Unweighted average recall over the classes that occur (UA)."""
    ece: float
    """Expected calibration error, 15 bins of equal width (Guo et al., 2017, eq. 3)."""


class Scores(ScoreFields, frozen=True, kw_only=True):
    """The scores of a classification, class by class too."""

    per_class_f1: dict[str, float]
    """Label -> F1."""
    confusion: list[list[int]]
    """[C][C], rows the truth, columns the prediction, in the order of the labels."""

    def rounded(self) -> dict[str, Any]:
        """As a dict of plain values, shares to four digits: n = 1109 utterances tell no fifth one apart."""
        return {
            "n": self.n,
            **{name: round(getattr(self, name), 4) for name in SCORES},
            "per_class_f1": {label: round(value, 4) for label, value in self.per_class_f1.items()},
            "confusion": self.confusion,
        }


class Part(ScoreFields, frozen=True, kw_only=True, omit_defaults=True):
    """Scores of some of the utterances, or of all of them under other conditions."""

    dropped: float | None = None
    """Share of the present entries that was taken away; None where nothing was meant to be."""


class Breakdown(msgspec.Struct, frozen=True, kw_only=True):
    """The same predictions apart, or the same utterances under several conditions."""

    protocol: str
    """How the parts are separated, and whose definition that is."""
    parts: dict[str, Part]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Another checkpoint on the utterances that both scored."""

    checkpoint: str
    digest: str
    context: str
    n: int
    here: Part
    there: Part
    difference: dict[str, float]
    """Score -> this checkpoint's minus the other's."""
    interval: dict[str, tuple[float, float]]
    """Score -> 95% interval of that difference, by paired bootstrap over dialogues."""
    resamples: int
    seed: int


class Result(Scores, frozen=True, kw_only=True):
    """One evaluation. Scores are shares in [0, 1]."""

    checkpoint: str
    digest: str
    model: str = "sdt"
    """Kind of model, or `text` for an encoder's own classifier."""
    run: str = ""
    """Name of the training run; seeds of one run share it."""
    seed: int | None = None
    """Seed of that run."""
    selection: str = ""
    """What the pass that is kept was chosen by; begins with STAMP where that was a test score."""
    corpus: str
    split: str
    subset: str | None
    fold: str = ""
    """Which fold of a plan this is; empty without a plan."""
    stamp: str = ""
    """What training and test of this fold share; empty where that is nothing."""
    labels: tuple[str, ...]
    label_map: str
    left_out: dict[str, int]
    """Why utterances of the split were not scored, and how many for each reason."""
    accuracy_left_out_as_errors: float
    """Accuracy if every utterance in which nothing was found, or that was broken, counts as wrong."""
    modalities_used: tuple[str, ...]
    """Those that at least one scored utterance had."""
    cut: str
    """`clip`: sound as the corpus holds it; `speech`: as the live run cuts it."""
    prior: str
    """`checkpoint`: the model's own; `uniform`: its class frequencies taken out."""
    context: str
    """How much of the dialogue an utterance saw."""
    breakdown: dict[str, Breakdown] = {}
    against: Comparison | None = None
    figures: tuple[str, ...] = ()
    """Names of the PNG files that were drawn with it."""

    @property
    def selected_on_test(self) -> bool:
        """Whether test scores chose what is tested."""
        return self.selection.startswith(STAMP)


class Summary(ScoreFields, frozen=True, kw_only=True):
    """Several checkpoints on the same utterances: means of the scores, and their deviation over the runs."""

    corpus: str
    split: str
    label_map: str
    left_out: dict[str, int]
    modalities_used: tuple[str, ...]
    selection: str
    deviation: dict[str, float]
    """Score -> sample standard deviation."""
    difference: dict[str, tuple[float, float]] = {}
    """Score -> (mean, deviation) of the differences to the checkpoints of `--against`, pair by pair."""
    runs: list[Result]


def part_of(scores: Scores, dropped: float | None = None) -> Part:
    """The scores as a part of a breakdown; `dropped` is that of Part."""
    rounded = scores.rounded()
    return Part(n=scores.n, **{name: rounded[name] for name in SCORES}, dropped=dropped)


def result_of(scores: Scores, corpus: Corpus, *, left_out: Mapping[str, int], missed: int = 0, **fields: Any) -> Result:
    """The result of `scores` on `corpus`; of the utterances `left_out`, `missed` had no feature that could be found.

    `fields` are the other fields of Result.
    """
    return Result(
        corpus=corpus.name,
        labels=corpus.labels.labels,
        label_map=corpus.label_map,
        left_out=dict(left_out),
        accuracy_left_out_as_errors=round(scores.accuracy * scores.n / (scores.n + missed), 4),
        **scores.rounded(),
        **fields,
    )


def summarise_results(results: Sequence[Result]) -> Summary:
    """The mean over `results`, two or more. Raises UsageError where they did not measure the same."""
    first = results[0]
    for other in results[1:]:
        for name in ("corpus", "split", "subset", "n", "labels", "modalities_used", "cut", "prior"):
            here, there = getattr(first, name), getattr(other, name)
            if here != there:
                raise UsageError(
                    f"{first.checkpoint} and {other.checkpoint} differ in {name} ({here}, {there}), so they have no "
                    "mean: evaluate them apart."
                )
    compared = [r.against.difference for r in results if r.against is not None]
    scores = {name: mean_and_deviation([getattr(r, name) for r in results]) for name in SCORES}
    return Summary(
        corpus=first.corpus,
        split=first.split,
        n=first.n,
        **{name: mean for name, (mean, _) in scores.items()},
        label_map=first.label_map,
        left_out=first.left_out,
        modalities_used=first.modalities_used,
        selection="; ".join(sorted({r.selection for r in results if r.selection})),
        deviation={name: deviation for name, (_, deviation) in scores.items()},
        difference={name: mean_and_deviation([d[name] for d in compared]) for name in SCORES} if compared else {},
        runs=list(results),
    )


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """(mean, sample standard deviation), to four digits; the deviation of a single value is 0."""
    # A single run has no deviation, and JSON no NaN.
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return round(statistics.fmean(values), 4), round(deviation, 4)


def read_results(path: Path) -> list[Result]:
    """The results in a file that `--json` wrote: one, or the runs of a summary. Raises UsageError."""
    try:
        raw = path.read_bytes()
        fields: Any = msgspec.json.decode(raw)
        if isinstance(fields, dict) and "runs" in fields:
            return msgspec.json.decode(raw, type=Summary).runs
        return [msgspec.json.decode(raw, type=Result)]
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{path} holds no result of `python -m train eval` ({error}): give a file that --json wrote."
        ) from None


def write_result(result: Result | Summary, place: str) -> None:
    """The result as JSON into the file `place`, `-` for standard output. Raises DiskError."""
    write_json(result, place)


def write_json(value: Any, place: str) -> None:
    """Structs, dicts and lists as JSON into the file `place`, `-` for standard output. Raises DiskError."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"
    if place == "-":
        sys.stdout.write(text)
        return
    try:
        Path(place).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(f"The result cannot be written to {place} ({error.strerror}): name another file.") from None
