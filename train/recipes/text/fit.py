"""Teaches a sentence encoder emotion, corpus after corpus, as a small adapter: `python -m train text`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from safetensors.torch import save_file

from core_models.assets import model_folder
from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import REACH, load_encoder
from core_models.labels import EMORYNLP7, LABEL_SETS, MELD7
from core_models.text_adapter import AdapterSidecar
from train.corpora.dialogues import Corpus, groups_of, relabel, without_groups
from train.corpora.registry import CorpusConfig, read_corpus
from train.recipes.text.asr_errors import vocabulary
from train.recipes.text.config import TextConfig
from train.recipes.text.labelled_lines import Lines, draw, labelled
from train.recipes.text.training import TextRun


def fit_text(config: TextConfig) -> dict[str, Any]:
    """Trains, writes the adapter to `config.out`, and returns its training record.

    Validation dialogues are drawn from the last stage's corpus; `config.dev` is scored once, after the choice of the
    epoch. A run that was killed goes on from its last checkpoint and, on a CPU with the same number of threads, ends
    with the same weights. Raises UsageError, Diverged.
    """
    console = Console(stderr=True)
    corpora = [_read(config, stage.corpus, "train", stage.subset) for stage in config.stages]
    corpora[-1], held_out = corpora[-1].split(config.validation, config.seed)
    dev = None if config.dev is None else _read_dev(config)
    corpora = [_apart(corpus, corpora[-1], [held_out, *filter(None, [dev])], console) for corpus in corpora]
    spoken = REACH if config.context else 0
    drawn = [
        draw(labelled(corpus, spoken), stage.lines, config.seed)
        for corpus, stage in zip(corpora, config.stages, strict=True)
    ]
    encoder = load_encoder(Path(config.base) if Path(config.base).is_dir() else model_folder(config.base))
    digest = encoder.digest
    run = TextRun(config, encoder, list({lines.labels.name: lines.labels for lines in drawn}.values()), console)
    validation = labelled(held_out, spoken)
    run.fit([_disturbed(config, stage, lines) for stage, lines in enumerate(drawn)], validation)
    labels, rank = validation.labels, config.written_rank or config.rank
    if rank < config.rank:
        run.model.cut(rank)
    record: dict[str, Any] = {
        "config": config.fingerprint(),
        "lines": {stage.corpus: len(lines) for stage, lines in zip(config.stages, drawn, strict=True)},
        "epochs": run.place.epochs,
        "best_epoch": run.place.best_epoch,
        "seconds": round(run.place.seconds),
        "validation": run.evaluate(validation),
    }
    told = f"{config.out}: validation weighted F1 {record['validation']['weighted_f1']:.2f}"
    if dev is not None:
        record["dev"] = run.evaluate(labelled(dev, spoken)) | {"part": config.dev}
        told += f", {config.dev} {record['dev']['weighted_f1']:.2f}"
    sidecar = AdapterSidecar(
        base=config.base,
        base_digest=digest,
        rank=rank,
        alpha=config.alpha * rank / config.rank,
        targets=run.model.targets,
        labels=labels.name,
        context=config.context,
        max_tokens=config.max_tokens,
        record=record,
    )
    config.out.mkdir(parents=True, exist_ok=True)
    save_file(run.model.adapter(labels.name, rank), config.out / "adapter.safetensors")
    (config.out / "sidecar.json").write_bytes(msgspec.json.format(msgspec.json.encode(sidecar), indent=1))
    console.print(told, highlight=False)
    return record


def _apart(corpus: Corpus, last: Corpus, evaluated: list[Corpus], console: Console) -> Corpus:
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


def _disturbed(config: TextConfig, stage: int, lines: Lines) -> Callable[[int], Lines]:
    if not config.errors.share:
        return lambda epoch: lines
    errors = dataclasses.replace(config.errors, vocabulary=vocabulary(line.text for line in lines.lines))
    return lambda epoch: lines.misheard(errors, (config.seed, stage, epoch))


def _read(config: TextConfig, corpus: Any, split: str | None, subset: str | None) -> Corpus:
    if corpus not in config.data:
        raise UsageError(f"The stages want {corpus}: set data.{corpus} to its folder.")
    split = split if subset is None else None
    found = read_corpus(CorpusConfig(corpus=corpus, root=config.data[corpus], split=split, subset=subset, order="end"))
    return found if config.labels is None else relabel(found, LABEL_SETS[config.labels])[0]


def _read_dev(config: TextConfig) -> Corpus:
    assert config.dev is not None
    part = (None, config.dev) if "=" in config.dev else (config.dev, None)
    return _read(config, config.stages[-1].corpus, *part)
