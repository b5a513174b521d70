"""The options of `python -m train words`: the dataclass is the schema of the YAML, of `--help` and of the code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core_models.errors import UsageError
from core_models.text_adapter import MAX_TOKENS
from train.corpora.registry import CorpusName
from train.loop.schedule import Schedule


@dataclass(frozen=True)
class Part:
    """A part of a corpus whose folder stands in `data`."""

    corpus: CorpusName
    """Which corpus."""
    split: str | None = None
    """Its split, where it has splits."""
    subset: str | None = None
    """Its subset, such as IEMOCAP's `sessions=1,2,3`."""
    language: str | None = None
    """Its language, where it has several."""


@dataclass(frozen=True)
class Source(Part):
    """A corpus that is trained on, and how much of what is drawn comes from it."""

    share: float = 1.0
    """Of all lines drawn, in proportion to the other sources' shares."""
    validation: float = 0.0
    """Share of its lines, in whole dialogues, that is held out: drawn as a dialogue model draws its validation
    dialogues, so that these are new to the encoder as well."""


@dataclass(frozen=True)
class WordsConfig:
    """What `fit_words` trains, on what, and where the adapter goes."""

    sources: list[Source]
    """The corpora of training, drawn from in one pass."""
    data: dict[str, Path]
    """Corpus name to its folder."""
    out: Path
    """Folder of the finished adapter."""
    run: Path
    """Folder of the unfinished one: a killed run goes on from here."""
    apart: list[Part] = field(default_factory=list)
    """Parts that are evaluated: their lines of `shared_words` words or more are in no training line."""
    shared_words: int = 4
    """Shorter lines ("thank you") stand everywhere, and say nothing of where they were read."""
    base: str = "minilm-l6"
    """Name of the sentence encoder in configs/models.yaml, or its folder."""
    lines: int = 60_000
    """Lines drawn for each pass."""
    class_power: float = 0.5
    """A line of a class is drawn as its frequency in its corpus to minus this power."""
    rank: int = 128
    """Rank to which the change of each matrix is cut when it is written."""
    dropout: float = 0.1
    """Of the encoder's vector, before the classifier."""
    head_gain: float = 20.0
    """How many times as fast as the encoder the classifier learns."""
    context: int = 0
    """Tokens of the dialogue's past that the encoder reads before each line."""
    max_tokens: int = MAX_TOKENS
    """Longer lines are cut."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            epochs=4, lr=1e-4, warm_up=0.06, batch=64, keep="last", precision="bf16", checkpoint_every=200
        )
    )
    """Each pass draws anew; the last one is kept."""

    def __post_init__(self) -> None:
        if not self.sources or min(source.share for source in self.sources) <= 0:
            raise UsageError("sources must name one corpus at least, each with a share above 0.")
        if self.rank < 1 or self.lines < self.schedule.batch:
            raise UsageError("rank must be 1 or more, and lines one batch at least.")
        named = {part.corpus for part in (*self.sources, *self.apart)}
        lacking = sorted(named - set(self.data) - {"everyday"})
        if lacking:
            raise UsageError(f"The sources want {lacking[0]}: set data.{lacking[0]} to its folder.")
