"""Tunes a sentence encoder on many corpora at once and writes its change as an adapter: `python -m train words`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from core_models.assets import model_folder_of
from core_models.atomic_write import require_writable
from core_models.features.text.sentence_encoder import load_encoder
from core_models.labels import MELD7
from core_models.text_adapter import AdapterSidecar, write_adapter
from train.corpora.detokenization import normalize
from train.corpora.dialogues import Corpus
from train.corpora.registry import CorpusConfig, read_corpus
from train.loop.accelerator import open_fabric
from train.loop.fingerprint import fingerprint
from train.recipes.words.config import Part, Source, WordsConfig
from train.recipes.words.partial_labels import partial_lines, without_lines
from train.recipes.words.training import SourceLines, WordsRun


def fit_words(config: WordsConfig) -> dict[str, Any]:
    """Train, write the adapter to `config.out`, and return its training record.

    A run that was killed goes on from its last checkpoint. Raises UsageError, Diverged, OutOfMemory, DiskError.
    """
    schedule = config.schedule
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    console = Console(stderr=True, quiet=not fabric.is_global_zero)
    require_writable([config.run, config.out])
    sources, left_out = read_sources(config)
    for source in sources:
        console.print(
            f"{source.name}: {len(source.lines)} lines to train on, {len(source.held_out)} held out, "
            f"{left_out[source.name]} left out that stand in what is evaluated",
            highlight=False,
            soft_wrap=True,
        )
    encoder = load_encoder(model_folder_of(config.base))
    digest = encoder.digest
    settings = {name: value for name, value in fingerprint(config).items() if name != "data"}
    run = WordsRun(config, settings, encoder, sources, fabric, console)
    run.fit()
    record: dict[str, Any] = {
        "config": settings,
        "lines": {source.name: len(source.lines) for source in sources},
        "distinct lines drawn": run.distinct(),
        "left out, for they are evaluated": left_out,
        "selection": "the last pass",
        # The classifier's bare logits decide as if all classes were alike: each corpus's own prior was beside them.
        "prior": [round(1 / len(MELD7), 6)] * len(MELD7),
        **run.trainer.record(),
    }
    targets, tensors = run.module.low_rank_change(config.rank)
    sidecar = AdapterSidecar(
        base=config.base,
        base_digest=digest,
        rank=config.rank,
        alpha=float(config.rank),
        targets=targets,
        deltas=sorted(name.removesuffix(".delta") for name in tensors if name.endswith(".delta")),
        labels=MELD7.name,
        context=config.context,
        max_tokens=config.max_tokens,
        record=record,
    )
    write_adapter(config.out, tensors, sidecar)
    console.print(f"adapter: {config.out}", highlight=False, soft_wrap=True)
    return record


def read_sources(config: WordsConfig) -> tuple[list[SourceLines], dict[str, int]]:
    """(the sources' lines, source -> how many of its lines stand in what is evaluated and are left out)."""
    read = [(source, *_divided(config, source)) for source in config.sources]
    parts = [_read(config, part) for part in config.apart] + [held for _, _, held in read]
    evaluated = {normalize(utterance.text) for part in parts for utterance in part.utterances() if utterance.text}
    found, left_out = [], {}
    for source, training, held in read:
        name = source.corpus if source.language is None else f"{source.corpus} {source.language}"
        lines = partial_lines(training, bool(config.context))
        kept = without_lines(lines, evaluated, config.shared_words)
        left_out[name] = len(lines) - len(kept)
        found.append(SourceLines(name, source.share, kept, partial_lines(held, bool(config.context))))
    return found, left_out


def _divided(config: WordsConfig, source: Source) -> tuple[Corpus, Corpus]:
    corpus = _read(config, source)
    if not source.validation:
        return corpus, corpus.where(lambda dialogue: False)
    return corpus.split(source.validation, config.schedule.seed)


def _read(config: WordsConfig, part: Part) -> Corpus:
    return read_corpus(
        CorpusConfig(
            corpus=part.corpus,
            root=config.data.get(part.corpus, Path()),
            split=part.split,
            subset=part.subset,
            language=part.language,
            order="end",
        )
    )
