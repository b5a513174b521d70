"""Fine-tunes a sentence encoder on emotion, corpus after corpus, as a small adapter: `python -m train text`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from core_models.assets import model_folder_of
from core_models.atomic_write import require_writable
from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import REACH, load_encoder
from core_models.labels import EMORYNLP7, LABEL_SETS, MELD7
from core_models.text_adapter import AdapterSidecar, write_adapter
from train.corpora.dialogues import Corpus, groups_of, relabel, without_groups
from train.corpora.registry import CorpusConfig, read_corpus
from train.loop.accelerator import open_fabric
from train.recipes.text.asr_errors import vocabulary
from train.recipes.text.config import TextConfig
from train.recipes.text.labelled_lines import Lines, draw_balanced, labelled_lines
from train.recipes.text.training import FineTuning


@dataclasses.dataclass(frozen=True)
class TextData:
    """What a run reads: a drawn part of each stage's corpus, and two parts that it never trains on."""

    stages: list[Lines]
    validation: Lines
    """Whole dialogues of the last stage's corpus; they choose the pass."""
    dev: Lines | None
    """Scored once, after the choice."""


def fit_text(config: TextConfig) -> dict[str, Any]:
    """Trains, writes the adapter to `config.out`, and returns its training record.

    A run that was killed goes on from its last checkpoint (see train/loop/trainer.py). Raises UsageError,
    WeightsError, CheckpointError, Diverged, OutOfMemory, DiskError.
    """
    console = Console(stderr=True)
    schedule = config.schedule(0)
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([config.run, config.out])
    data = read_text_data(config, console)
    encoder = load_encoder(model_folder_of(config.base))
    label_sets = list({lines.labels.name: lines.labels for lines in data.stages}.values())
    # Of the base: the adapter changes the network in place.
    digest = encoder.digest
    training = FineTuning(config, encoder, label_sets, fabric, console)
    training.fit([_disturb_lines(config, stage, lines) for stage, lines in enumerate(data.stages)], data.validation)
    return _export_adapter(config, data, training, digest, console)


def read_text_data(config: TextConfig, console: Console) -> TextData:
    """The corpora of the stages, split and drawn. Raises UsageError."""
    corpora = [_read_corpus(config, stage.corpus, "train", stage.subset) for stage in config.stages]
    corpora[-1], held_out = corpora[-1].split(config.validation, config.seed)
    dev = None if config.dev is None else _read_dev(config, config.dev)
    evaluated = [held_out, *filter(None, [dev])]
    corpora = [_without_evaluated(corpus, corpora[-1], evaluated, console) for corpus in corpora]
    reach = REACH if config.context else 0
    drawn = [
        draw_balanced(labelled_lines(corpus, reach), stage.lines, config.seed)
        for corpus, stage in zip(corpora, config.stages, strict=True)
    ]
    return TextData(drawn, labelled_lines(held_out, reach), None if dev is None else labelled_lines(dev, reach))


def _export_adapter(
    config: TextConfig, data: TextData, training: FineTuning, digest: str, console: Console
) -> dict[str, Any]:
    """Cut the adapter to the rank that is asked for, score it, and write it; its training record."""
    rank = config.written_rank or config.rank
    if rank < config.rank:
        training.model.truncate_rank(rank)
    record: dict[str, Any] = {
        "config": config.fingerprint(),
        "lines": {stage.corpus: len(lines) for stage, lines in zip(config.stages, data.stages, strict=True)},
        **training.record(),
        "validation": training.evaluate(data.validation),
    }
    message = f"{config.out}: validation weighted F1 {record['validation']['weighted_f1']:.2f}"
    if data.dev is not None:
        record["dev"] = training.evaluate(data.dev) | {"part": config.dev}
        message += f", {config.dev} {record['dev']['weighted_f1']:.2f}"
    sidecar = AdapterSidecar(
        base=config.base,
        base_digest=digest,
        rank=rank,
        alpha=config.alpha * rank / config.rank,
        targets=training.model.targets,
        labels=data.validation.labels.name,
        context=config.context,
        max_tokens=config.max_tokens,
        record=record,
    )
    write_adapter(config.out, training.model.adapter(sidecar.labels, rank), sidecar)
    console.print(message, highlight=False)
    return record


def _without_evaluated(corpus: Corpus, last: Corpus, evaluated: Sequence[Corpus], console: Console) -> Corpus:
    """`corpus` as it may be trained on: of another corpus of the same series (EmoryNLP and MELD are both Friends) no
    episode that is evaluated, and labels of the last corpus where they have a twin."""
    if corpus.name == last.name:
        return corpus
    shared = {group for part in evaluated for group in groups_of(part)}
    apart = without_groups(corpus, shared) if {corpus.name, last.name} == {"emorynlp", "meld"} else corpus
    if len(apart.dialogues) < len(corpus.dialogues):
        gone = len(corpus.dialogues) - len(apart.dialogues)
        console.print(f"{corpus.name}: {gone} dialogues of evaluated episodes are left out", highlight=False)
    if corpus.labels == EMORYNLP7:
        return relabel(apart, MELD7)[0]
    return apart


def _disturb_lines(config: TextConfig, stage: int, lines: Lines) -> Callable[[int], Lines]:
    """The lines of each pass: as a recogniser would write them, anew in each, where `config.errors` has a share."""
    if not config.errors.share:
        return lambda epoch: lines
    errors = dataclasses.replace(config.errors, vocabulary=vocabulary(line.text for line in lines.lines))
    return lambda epoch: lines.with_errors(errors, (config.seed, stage, epoch))


def _read_corpus(config: TextConfig, corpus: Any, split: str | None, subset: str | None) -> Corpus:
    if corpus not in config.data:
        raise UsageError(f"The stages want {corpus}: set data.{corpus} to its folder.")
    split = split if subset is None else None
    found = read_corpus(CorpusConfig(corpus=corpus, root=config.data[corpus], split=split, subset=subset, order="end"))
    return found if config.labels is None else relabel(found, LABEL_SETS[config.labels])[0]


def _read_dev(config: TextConfig, dev: str) -> Corpus:
    part = (None, dev) if "=" in dev else (dev, None)
    return _read_corpus(config, config.stages[-1].corpus, *part)
