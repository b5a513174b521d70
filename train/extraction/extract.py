"""Corpus -> feature store, with the live feature code (contract 1): resumable, parallel, never stopped by one clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core_models.errors import MediaError, UsageError
from core_models.feature_spec import MODALITIES
from train.corpora.dialogues import Corpus, Utterance, UtteranceInContext
from train.corpora.registry import CorpusConfig, read_corpus
from train.extraction.extractor import Extractor
from train.extraction.extractors import has_modality, open_extractor
from train.extraction.feature_names import FeatureNames
from train.extraction.feature_store import FeatureStore
from train.extraction.worker_pool import extract_batches

# Standard output is for results, which may be piped into a file.
console = Console(stderr=True)


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(CorpusConfig):
    """Whose features are computed, and by which weights."""

    features: FeatureNames = field(default_factory=FeatureNames)
    """The feature code, by the names of its weights."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it holds already is not computed again."""
    workers: int = 1
    """Processes that compute side by side; each loads the weights."""
    threads: int = 2
    """CPU threads, of all workers together."""


@dataclass
class Extracted:
    """What one modality of a corpus gave, by utterance id.

    `nothing`: looked, and found nothing (no face); `without`: no such modality on disk; `broken`: utterance id -> what
    is wrong with its clip; `extract_batches` and `kept` count vectors made now and taken from the store.
    """

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    computed: int = 0
    kept: int = 0
    nothing: set[str] = field(default_factory=set)
    without: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """One utterance: how many vectors there are, and where the other utterances went."""
        parts = [f"{len(self.vectors)} vectors ({self.computed} computed, {self.kept} from the store)"]
        if self.nothing:
            looked = len(self.nothing) + len(self.vectors)
            parts.append(f"nothing found in {len(self.nothing)} ({len(self.vectors) / looked:.1%} found)")
        if self.without:
            parts.append(f"{len(self.without)} utterances without this modality on disk")
        if self.broken:
            parts.append(f"{len(self.broken)} broken and skipped")
        return ", ".join(parts)


def extract(corpus: Corpus, extractor: Extractor, root: Path, workers: int = 1) -> Extracted:
    """Every utterance's vector, computed where the store under `root` has none yet, by `workers` processes.

    A clip that cannot be read or decoded is named on standard error, counted in `broken` and left out.
    """
    store = FeatureStore(root, extractor.spec)
    result = Extracted()
    keys: dict[str, str] = {}
    todo: dict[str, UtteranceInContext] = {}
    for turn in corpus.in_context():
        utterance = turn.utterance
        live = utterance.recorded.get(extractor.spec.modality)
        if live is not None and live.spec == extractor.spec:
            result.vectors[utterance.id] = live.vector
            result.kept += 1
            continue
        try:
            key = extractor.key(turn)
        except MediaError as error:
            _skip_broken(result, utterance, str(error))
            continue
        if key is None and live is not None:
            kept, wanted = live.spec.describe(), extractor.spec.describe()
            _skip_broken(result, utterance, f"{utterance.id}: its session kept [{kept}], this run takes [{wanted}]")
            continue
        if key is None:
            result.without.add(utterance.id)
            continue
        keys[utterance.id] = key
        if key not in store:
            # By content: the same clip under two ids is computed once.
            todo.setdefault(key, turn)
    result.kept += sum(key in store for key in keys.values())
    if todo:
        _compute_missing(todo, extractor, store, result, f"{corpus.name} {extractor.spec.modality}", workers)
    for identity, key in keys.items():
        if key not in store:
            continue
        vector = store[key]
        if vector is None:
            result.nothing.add(identity)
        else:
            result.vectors[identity] = vector
    return result


def _compute_missing(
    todo: dict[str, UtteranceInContext],
    extractor: Extractor,
    store: FeatureStore,
    result: Extracted,
    title: str,
    workers: int,
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    keys, turns = list(todo), list(todo.values())
    starts = range(0, len(turns), extractor.batch)
    batches = [turns[start : start + extractor.batch] for start in starts]
    threads = torch.get_num_threads()
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(title, total=len(turns))
            for number, vectors in extract_batches(extractor, batches, workers):
                batch = batches[number]
                # Batches of what can be broken hold one utterance.
                if isinstance(vectors, str):
                    _skip_broken(result, batch[0].utterance, vectors)
                else:
                    for key, vector in zip(keys[starts[number] : starts[number] + len(batch)], vectors, strict=True):
                        store.put(key, vector)
                    result.computed += len(batch)
                progress.advance(task, len(batch))
    finally:
        # An extractor's own number is for itself: sums of a training depend on it.
        torch.set_num_threads(threads)
        store.flush()


def _skip_broken(result: Extracted, utterance: Utterance, reason: str) -> None:
    result.broken[utterance.id] = reason
    console.print(f"skipped: {reason}", highlight=False, markup=False)


def extract_corpus(config: ExtractConfig) -> None:
    """Fill the store with every modality that the corpus has on disk; says what it found of each.

    Raises UsageError, WeightsError, DiskError.
    """
    if config.workers < 1 or config.threads < 1:
        raise UsageError("--workers and --threads must be 1 or more.")
    corpus = read_corpus(config)
    for modality in MODALITIES:
        weights = getattr(config.features, modality)
        if not any(has_modality(utterance, modality) for utterance in corpus.utterances()):
            console.print(f"{modality}: {corpus.name} has none on disk, so it is missing", highlight=False)
        elif weights is not None:
            adapter = config.features.adapter if modality == "text" else None
            extractor = open_extractor(modality, weights, adapter, max(1, config.threads // config.workers))
            extracted = extract(corpus, extractor, config.store, config.workers)
            console.print(f"{modality}: {extracted.describe()} [{extractor.spec.describe()}]", markup=False)
