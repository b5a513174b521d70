"""TDFNet, fold after fold: `python -m train tdfnet --config configs/train/tdfnet_....yaml`.

A fold's checkpoint is chosen by its loss on utterances held out of its training part, since the paper names no
validation set, and scored once on its test part. A run that was killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from core_models.atomic_write import require_writable
from core_models.errors import UsageError
from train.corpora.dialogues import Corpus
from train.corpora.registry import read_corpus
from train.corpora.splits import Fold, make_folds
from train.evaluation.results import Result, mean_and_deviation, write_result
from train.loop.accelerator import open_fabric
from train.loop.failures import guarded
from train.recipes.tdfnet.ablations import TABLE_V
from train.recipes.tdfnet.config import TDFNetTraining
from train.recipes.tdfnet.scoring import score_fold
from train.recipes.tdfnet.training import split_fold, train_fold
from train.recipes.tdfnet.utterances import EmbeddingCache, Embeddings


def fit_tdfnet(config: TDFNetTraining) -> list[Result]:
    """Train and test on each fold, write checkpoints and results under runs/NAME, and print Table I of them.

    Results lie in runs/NAME/results, one file a fold, as `python -m train table` reads them; with `seeds` in
    runs/NAME/seedN/results. Raises UsageError, WeightsError, Diverged, OutOfMemory, DiskError.
    """
    console = Console(stderr=True)
    if not config.seeds:
        return _fit_folds(config, console)
    results: list[Result] = []
    for seed in config.seeds:
        console.print(f"seed {seed}", style="bold", highlight=False)
        schedule = dataclasses.replace(config.schedule, seed=seed)
        one = dataclasses.replace(config, name=f"{config.name}/seed{seed}", schedule=schedule, seeds=())
        results += _fit_folds(one, console)
    console.print(table_seeds(results, config.seeds))
    return results


def _fit_folds(config: TDFNetTraining, console: Console) -> list[Result]:
    schedule, folder = config.schedule, config.runs / config.name
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([folder])
    corpus = read_corpus(config.corpus)
    chosen = _choose_folds(config, corpus)
    embedded = EmbeddingCache(_embeddings_of_row(config), config.store, schedule.threads)
    results = []
    for number, fold in chosen:
        console.rule(f"{config.plan} {fold.name}")
        if fold.stamp:
            console.print(f"{fold.stamp}.", style="bold red", highlight=False)
        place = folder / f"{number:02}-{re.sub(r'[^a-z0-9]+', '-', fold.name.lower()).strip('-')}"
        data = split_fold(config, fold, corpus, embedded, console)
        train_fold(config, place, data, fabric, console)
        one = score_fold(config, place, data, fabric.device)
        results.append(one)
        with guarded(f"the results of fold {fold.name}"):
            (folder / "results").mkdir(parents=True, exist_ok=True)
        write_result(one, str(folder / "results" / f"{place.name}.json"))
        console.print(f"{fold.name}: WA {one.accuracy:.2%}, UA {one.uar:.2%}, n {one.n}", highlight=False)
    console.print(table_i(results))
    return results


def table_i(results: Sequence[Result]) -> Table:
    """WA and UA (eq. 12) of each fold in percent, their means, and what training and test of a fold share."""
    table = Table("fold", "n", "WA", "UA", "shared with training", title=f"{results[0].run}: {results[0].corpus}")
    for one in results:
        table.add_row(one.fold, str(one.n), f"{one.accuracy:.2%}", f"{one.uar:.2%}", one.stamp or "-")
    means = [mean_and_deviation([getattr(one, name) for one in results])[0] for name in ("accuracy", "uar")]
    table.add_row("mean", str(sum(one.n for one in results)), *(f"{mean:.2%}" for mean in means), "")
    return table


def table_seeds(results: Sequence[Result], seeds: Sequence[int]) -> Table:
    """The means over the folds of each seed, in percent, and mean and deviation of those over the seeds."""
    folds = len(results) // len(seeds)
    table = Table("seed", "folds", "WA", "UA", title=f"{results[0].corpus}, {len(seeds)} seeds")
    means: list[list[float]] = []
    for number, seed in enumerate(seeds):
        own = results[number * folds : (number + 1) * folds]
        means.append([mean_and_deviation([getattr(one, name) for one in own])[0] for name in ("accuracy", "uar")])
        table.add_row(str(seed), str(folds), *(f"{mean:.2%}" for mean in means[-1]))
    over = [mean_and_deviation(values) for values in zip(*means, strict=True)]
    table.add_row("all", str(folds), *(f"{mean:.2%} +- {deviation:.2%}" for mean, deviation in over))
    return table


def _embeddings_of_row(config: TDFNetTraining) -> Embeddings:
    """Those that the row of Table V leaves."""
    ablation, given = TABLE_V[config.row], config.embeddings
    if ablation.without == "text":
        return dataclasses.replace(given, text=None)
    if ablation.without == "voice":
        return dataclasses.replace(given, frames=None)
    return dataclasses.replace(given, frames=ablation.frames or given.frames)


def _choose_folds(config: TDFNetTraining, corpus: Corpus) -> list[tuple[int, Fold]]:
    every = {f.name: (n, f) for n, f in enumerate(make_folds(corpus, config.plan, seed=config.plan_seed), start=1)}
    for name in config.folds:
        if name not in every:
            raise UsageError(f"Plan {config.plan} has no fold {name!r}: choose from {', '.join(every)}.")
    return [every[name] for name in config.folds or every]
