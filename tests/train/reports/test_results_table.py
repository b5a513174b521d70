"""Tables of results: the arithmetic of seeds and folds, and what every row must say."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import msgspec
import pytest

from core_models.errors import UsageError
from train.__main__ import main
from train.evaluation.results import STAMP, Result, read_results, summarise_results, write_result
from train.reports.results_table import format_markdown, group_results

KEYS = {
    *("corpus", "split", "n", "weighted_f1", "macro_f1", "accuracy", "uar", "ece"),
    *("label_map", "left_out", "modalities_used"),
}


def result(score: float, seed: int = 0, **changed: object) -> Result:
    """A result whose every score is `score`."""
    given: dict[str, object] = {
        "checkpoint": "checkpoint",
        "digest": "0" * 64,
        "run": "sdt-meld",
        "seed": seed,
        "selection": "mean weighted F1 on validation",
        "corpus": "meld",
        "split": "dev",
        "subset": None,
        "n": 100,
        **dict.fromkeys(("weighted_f1", "macro_f1", "accuracy", "uar", "ece"), score),
        "per_class_f1": {},
        "labels": ("neutral", "joy"),
        "confusion": [],
        "label_map": "own",
        "left_out": {},
        "accuracy_left_out_as_errors": score,
        "modalities_used": ("text",),
        "cut": "clip",
        "prior": "checkpoint",
        "context": "causal, window 32",
    }
    return Result(**(given | changed))  # type: ignore[arg-type]


def test_seeds_have_a_mean_and_a_deviation() -> None:
    """Mean and sample standard deviation over seeds, with their number."""
    scores = [0.60, 0.62, 0.67]
    table = format_markdown(group_results([result(s, seed) for seed, s in enumerate(scores)]), "weighted_f1")
    mean, deviation = statistics.mean(scores), statistics.stdev(scores)
    assert f"| {100 * mean:.1f} ± {100 * deviation:.1f} (3) |" in table


def test_one_seed_has_no_deviation() -> None:
    """A single run shows its number of seeds and no deviation."""
    assert "| 61.2 (1) |" in format_markdown(group_results([result(0.612)]), "weighted_f1")


def test_folds_are_averaged_before_seeds() -> None:
    """A seed's score is the mean over its folds; the deviation is over seeds."""
    given = {(0, "a"): 0.5, (0, "b"): 0.7, (1, "a"): 0.6, (1, "b"): 0.8}
    results = [result(s, seed, fold=fold) for (seed, fold), s in given.items()]
    (cell,) = group_results(results).values()
    assert cell.scores["accuracy"] == (0.65, round(statistics.stdev([0.6, 0.7]), 4))
    assert (cell.seeds, cell.folds, cell.n) == (2, 2, (100, 100))
    with pytest.raises(UsageError, match="Fold 'b' of seed 1"):
        group_results(results[:3])
    (alone,) = group_results(results[:2]).values()
    assert alone.scores["accuracy"] == (0.6, round(statistics.stdev([0.5, 0.7]), 4))


def test_systems_stand_in_rows_and_corpora_in_columns() -> None:
    """A row for each run, context and set of modalities; a cell stays empty where nothing was measured."""
    table = format_markdown(
        group_results(
            [
                result(0.6),
                result(0.7, corpus="iemocap", split="test", labels=("happy", "sad")),
                result(0.5, run="cmath-meld", model="cmath"),
                result(0.65, context="bidirectional"),
                result(0.55, modalities_used=("voice",)),
            ]
        ),
        "weighted_f1",
    )
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert rows[0] == "| system | context | modalities | meld dev | iemocap test | chosen by |"
    assert len(rows) == 2 + 4
    assert "| sdt-meld | causal, window 32 | text | 60.0 (1) | 70.0 (1) |" in rows[2]
    assert "| cmath-meld | causal, window 32 | text | 50.0 (1) |  |" in rows[3]
    assert "- meld dev: 100 utterances, labels neutral, joy" in table
    assert "- iemocap test: 100 utterances, labels happy, sad" in table


def test_selection_on_test_is_stamped() -> None:
    """A pass that was chosen by its test score says so in bold, and shares no row with one that was not."""
    honest, other = result(0.6), result(0.7, selection=f"{STAMP}: mean weighted F1 on test")
    rows = format_markdown(group_results([honest, other]), "weighted_f1").splitlines()
    assert sum(f"**{STAMP}**" in row for row in rows) == 1
    assert next(row for row in rows if STAMP in row).count("70.0") == 1
    assert other.selected_on_test
    assert not honest.selected_on_test


def test_two_answers_to_one_question_are_refused() -> None:
    """The same seed measured twice with other scores has no place in a table; the same result twice counts once."""
    with pytest.raises(UsageError, match="seed 0"):
        group_results([result(0.6), result(0.61)])
    (cell,) = group_results([result(0.6), result(0.6)]).values()
    assert cell.seeds == 1


def test_table_is_made_from_files(tmp_path: Path) -> None:
    """`python -m train table FOLDER --out` writes Markdown, and CSV with every score and its deviation beside it."""
    folder = tmp_path / "results"
    folder.mkdir()
    write_result(result(0.6, 0), str(folder / "seed0.json"))
    write_result(summarise_results([result(0.62, 1), result(0.67, 2)]), str(folder / "others.json"))
    out = tmp_path / "table.md"
    assert main(["table", str(folder), f"--out={out}", "--score=accuracy"]) == 0
    assert "(3) |" in out.read_text(encoding="utf-8")
    with out.with_suffix(".csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["weighted_f1"]) == pytest.approx(0.63)
    assert float(row["weighted_f1_deviation"]) == pytest.approx(statistics.stdev([0.6, 0.62, 0.67]), abs=1e-4)
    assert row["seeds"] == "3"


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    """A file that eval did not write, an unknown score and an empty folder end with one sentence each."""
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[1, 2]")
    with pytest.raises(UsageError, match="wrong.json"):
        read_results(wrong)
    assert main(["table", str(tmp_path / "none"), "--score=weighted_f1"]) == 2
    assert main(["table", str(wrong), "--score=glory"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["table", str(tmp_path / "empty")]) == 2


def test_a_mean_is_that_of_like_results() -> None:
    """Runs measured on other utterances have no mean; the summary has the keys of a single result."""
    with pytest.raises(UsageError, match="n \\(100, 90\\)"):
        summarise_results([result(0.6), result(0.6, 1, n=90)])
    keys = set(msgspec.to_builtins(summarise_results([result(0.6), result(0.7, 1)])))
    assert keys >= KEYS
