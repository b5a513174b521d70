"""The options of `python -m train text`: the dataclass is the schema of the YAML, of `--help` and of the code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core_models.errors import UsageError
from core_models.feature_spec import tensors_digest
from core_models.labels import LABEL_SETS
from core_models.text_adapter import MAX_TOKENS, load_adapter
from train.loop.fingerprint import fingerprint
from train.loop.schedule import Schedule
from train.recipes.text.asr_errors import WordErrors


@dataclass(frozen=True)
class FineTuningStage:
    """Some passes over one corpus."""

    corpus: Literal["goemotions", "emorynlp", "meld", "iemocap"]
    """Which corpus; its folder stands in `data`."""
    epochs: int
    """Epochs; the learning rate falls to zero over all of them."""
    lr: float
    """Peak learning rate, reached after a twentieth of the stage."""
    subset: str | None = None
    """Part of the corpus, such as IEMOCAP's `sessions=1,2,3`; the training split where it is null."""
    lines: int | None = None
    """Draw at most this many lines, a class with few lines first (see `draw`); all when null."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike, 1 all classes alike."""
    smoothing: float = 0.0
    """Label smoothing (Szegedy et al., 2016)."""


@dataclass(frozen=True)
class TextConfig:
    """What `fit_text` trains, on what, and where the adapter goes."""

    stages: list[FineTuningStage]
    """In order; validation is on the last stage's corpus."""
    data: dict[str, Path]
    """Corpus name to its folder."""
    out: Path
    """Folder of the finished adapter."""
    run: Path
    """Folder of the unfinished one: a killed run goes on from here."""
    base: str = "minilm-l6"
    """Name of the sentence encoder in configs/models.yaml, or its folder."""
    labels: str | None = None
    """Read every corpus in this label set, lines without a twin in it left out; each in its own where it is null."""
    start: Path | None = None
    """An adapter to go on from: of the same base, rank, alpha and layers, whatever context it was taught."""
    layers: int | None = None
    """Change this many transformer layers, from the top; all where it is null."""
    rank: int = 64
    """Rank of the change to every linear layer."""
    alpha: float = 64.0
    """Its scale is alpha / rank."""
    written_rank: int | None = None
    """Rank to which the finished change is cut, and in which it is scored and written; `rank` where it is null."""
    dropout: float = 0.1
    """Of the adapter's inputs and of the classifier's."""
    batch: int = 32
    """Lines a step."""
    decay: float = 0.01
    """AdamW's weight decay."""
    context: int = 0
    """Tokens of the dialogue's past that the encoder reads before each line."""
    errors: WordErrors = field(default_factory=lambda: WordErrors((), share=0.0))
    """How training lines are disturbed as a recogniser would; the vocabulary is the corpora's own."""
    validation: float = 0.1
    """Share of the last corpus's training lines, in whole dialogues, that is held out."""
    keep: Literal["best", "last"] = "best"
    """Which epoch of the last stage: the best on validation, or the last one."""
    dev: str | None = "dev"
    """What the finished adapter is scored on once: a split of the last corpus, or a part such as `sessions=4`."""
    max_tokens: int = MAX_TOKENS
    """Longer lines are cut."""
    seed: int = 0
    """Of the split, the draw, the order and the dropout."""
    precision: Literal["32", "bf16", "32-true", "bf16-mixed"] = "32"
    """Numbers of the forward pass, 32 or bf16, which is about three times as fast where the processor has it; the
    longer names are the older spelling."""
    threads: int = 2
    """CPU threads."""
    checkpoint_every: int = 100
    """Steps between checkpoints of the run."""
    resume: bool | None = None
    """What becomes of an unfinished run in the folder (see train/loop/schedule.py): null goes on where all settings
    are the same, true also with another lr or batch, false begins anew."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto takes a GPU where there is one."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("There are no stages to train: give the config at least one.")
        if self.written_rank is not None and not 0 < self.written_rank <= self.rank:
            raise UsageError(f"written_rank is {self.written_rank}: expected 1 to {self.rank}, the rank.")
        if self.labels is not None and self.labels not in LABEL_SETS:
            raise UsageError(f"There is no label set {self.labels!r}: choose from {', '.join(LABEL_SETS)}.")
        for number in range(len(self.stages)):
            self.schedule(number)

    def schedule(self, number: int) -> Schedule:
        """How stage `number` trains: AdamW whose rate falls in a straight line; of all stages but the last, the last
        pass is what the next one goes on from. Raises UsageError."""
        stage, is_last = self.stages[number], number == len(self.stages) - 1
        return Schedule(
            epochs=stage.epochs,
            lr=stage.lr,
            batch=self.batch,
            decay=self.decay,
            keep=self.keep if is_last else "last",
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
            resume=self.resume,
            device=self.device,
            precision="bf16" if self.precision.startswith("bf16") else "32",
            threads=self.threads,
        )

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the result, as plain values; where corpora and outputs lie does not."""
        settings = fingerprint(self)
        # The rank is cut after training.
        del settings["data"], settings["written_rank"]
        settings["start"] = None if self.start is None else adapter_digest(self.start)
        settings["precision"] = self.schedule(0).precision
        return settings


def adapter_digest(folder: Path) -> str:
    """SHA-256 (hex) of an adapter's tensors. Raises CheckpointError for a folder that holds none."""
    _, tensors = load_adapter(folder)
    return tensors_digest((name, tensor.numpy()) for name, tensor in sorted(tensors.items()))
