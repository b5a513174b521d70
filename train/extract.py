"""Corpus -> feature store, with the live feature code (contract 1): resumable, and never stopped by one clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core_models.errors import MediaError
from train.corpora.dialogues import Corpus, Line
from train.extractors import Extractor
from train.store import FeatureStore

console = Console(stderr=True)


@dataclass
class Extracted:
    """What one modality of a corpus gave: `vectors` by line id; the rest is the report."""

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    computed: int = 0
    kept: int = 0
    nothing_found: int = 0
    without: int = 0
    broken: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """One line: how many vectors there are, and where the other lines went."""
        parts = [f"{len(self.vectors)} vectors ({self.computed} computed, {self.kept} from the store)"]
        if self.nothing_found:
            looked = self.nothing_found + len(self.vectors)
            parts.append(f"nothing found in {self.nothing_found} ({len(self.vectors) / looked:.1%} found)")
        if self.without:
            parts.append(f"{self.without} lines without this modality on disk")
        if self.broken:
            parts.append(f"{len(self.broken)} broken and skipped")
        return ", ".join(parts)


def extract(corpus: Corpus, extractor: Extractor, root: Path) -> Extracted:
    """Every line's vector, computed where the store under `root` has none yet.

    A clip that cannot be read or decoded is named on standard error, counted in `broken` and left out.
    """
    store = FeatureStore(root, extractor.spec)
    result = Extracted()
    keys: dict[str, str] = {}
    todo: dict[str, Line] = {}
    for line in corpus.lines():
        try:
            key = extractor.key(line)
        except MediaError as error:
            _skip(result, error)
            continue
        if key is None:
            result.without += 1
            continue
        keys[line.id] = key
        if key not in store:
            todo.setdefault(key, line)
    result.kept = len(keys) - len(todo)
    if todo:
        _compute(todo, extractor, store, result, f"{corpus.name} {extractor.spec.modality}")
    for identity, key in keys.items():
        if key not in store:
            continue
        vector = store[key]
        if vector is None:
            result.nothing_found += 1
        else:
            result.vectors[identity] = vector
    return result


def _compute(
    todo: dict[str, Line], extractor: Extractor, store: FeatureStore, result: Extracted, title: str
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    items = list(todo.items())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(title, total=len(items))
            for start in range(0, len(items), extractor.batch):
                batch = items[start : start + extractor.batch]
                try:
                    vectors = extractor.vectors([line for _, line in batch])
                except MediaError as error:  # batches of what can be broken hold one line
                    _skip(result, error)
                else:
                    for (key, _), vector in zip(batch, vectors, strict=True):
                        store.put(key, vector)
                    result.computed += len(batch)
                progress.advance(task, len(batch))
    finally:
        store.flush()


def _skip(result: Extracted, error: MediaError) -> None:
    result.broken.append(str(error))
    console.print(f"skipped: {error}", highlight=False)
