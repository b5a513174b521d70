"""Teaches a sentence encoder emotion, corpus after corpus, as a small adapter: `python -m train text`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from safetensors.torch import save_file

from core_models.assets import model_folder
from core_models.errors import UsageError
from core_models.features.spec import tensors_digest
from core_models.features.text import MAX_TOKENS, REACH, AdapterSidecar, load_adapter, load_encoder
from core_models.labels import EMORYNLP7, LABEL_SETS, MELD7
from train.corpora.choose import CorpusConfig, read_corpus
from train.corpora.dialogues import Corpus, groups_of, relabel, without_groups
from train.text_lines import Lines, draw, labelled
from train.text_run import TextRun
from train.word_errors import WordErrors, vocabulary


@dataclass(frozen=True)
class Stage:
    """One pass of training over one corpus."""

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

    stages: list[Stage]
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
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Fabric's precision; bf16-mixed is about three times as fast where the processor has it."""
    threads: int = 2
    """CPU threads."""
    checkpoint_every: int = 100
    """Steps between checkpoints of the run."""
    device: str = "auto"
    """Fabric's accelerator: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("There are no stages to train: give the config at least one.")
        if self.written_rank is not None and not 0 < self.written_rank <= self.rank:
            raise UsageError(f"written_rank is {self.written_rank}: expected 1 to {self.rank}, the rank.")
        if self.labels is not None and self.labels not in LABEL_SETS:
            raise UsageError(f"There is no label set {self.labels!r}: choose from {', '.join(LABEL_SETS)}.")

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the result, as plain values; where corpora and outputs lie does not."""
        settings = dataclasses.asdict(self)
        for name in ("data", "out", "run", "checkpoint_every", "device", "threads", "written_rank"):
            del settings[name]
        settings["start"] = None if self.start is None else adapter_digest(self.start)
        plain: dict[str, Any] = msgspec.to_builtins(settings)
        return plain


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


def adapter_digest(folder: Path) -> str:
    """SHA-256 (hex) of an adapter's tensors. Raises CheckpointError for a folder that holds none."""
    _, tensors = load_adapter(folder)
    return tensors_digest((name, tensor.numpy()) for name, tensor in sorted(tensors.items()))


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
