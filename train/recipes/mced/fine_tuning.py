"""MCED's third stage: the student learns a labelled corpus, from where distillation left it or from scratch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.atomic_write import require_writable
from core_models.errors import UsageError
from core_models.feature_network import LoadedNetwork
from core_models.feature_spec import FeatureSpec
from core_models.features.voice.mced_embedding import STUDENTS
from core_models.labels import LabelSet
from core_models.networks.mced_student import Student, build_classifier
from train.data.class_balance import class_weights
from train.data.config import DataConfig
from train.data.corpus_parts import read_corpora, split_dialogues
from train.data.length_buckets import bucket_by_length
from train.evaluation.metrics import score
from train.extraction.frame_extractors import DESCRIPTORS, open_frames
from train.extraction.frame_store import FrameStore
from train.loop.accelerator import open_fabric
from train.loop.failures import check_finite
from train.loop.fingerprint import fingerprint
from train.loop.schedule import Schedule, adamw
from train.loop.trainer import Trainer
from train.recipes.mced.clips import Clip, Clips, clips_of, statistics
from train.recipes.mced.distillation import student_config


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What a student learns, from where, and where it goes."""

    data: DataConfig
    """The labelled corpus and its parts (train, validation, plan and fold, apart, store; the rest is for `fit`). Test
    with `python -m train eval --checkpoint OUT`."""
    out: Path
    """Folder of the finished student."""
    run: Path
    """Folder of the unfinished one: a killed run goes on from here."""
    name: str = "mced"
    """Name of the run, for tables."""
    start: Path | None = None
    """The distilled student (Student+MCED of Table 5); null: from scratch (Student-MCED)."""
    part: Literal[1, 2, 3, 5] = 1
    """Learn from 1/part of the training lines (Table 7); those of 1/5 and of 1/3 are among those of all alike."""
    frames: str = "whisper-base"
    """Input frames of a student trained from scratch; a distilled one keeps those of its distillation."""
    student: dict[str, Any] = field(default_factory=dict)
    """Shape of a student from scratch (see distil.student); another keeps its own."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike (the paper), 1 all classes alike."""
    select: Literal["weighted_f1", "macro_f1", "accuracy", "uar"] = "weighted_f1"
    """Which score on validation chooses the epoch."""
    seeds: tuple[int, ...] = ()
    """Fine-tune once with each of these in place of schedule.seed (the paper: three times): RUN/seed0 and so on, a
    summary, the best student at `out`."""
    schedule: Schedule = field(default_factory=Schedule)
    """How long and how fast."""


class FineTuning(nn.Module):
    """The student and its cross entropy."""

    def __init__(self, student: Student, weights: Tensor) -> None:
        super().__init__()
        self.student = student
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """batch: frames [B, T, d], lengths int64 [B], classes int64 [B]."""
        frames, lengths, truth = batch
        return {"loss": F.cross_entropy(self.student(frames, lengths).logits, truth, self.weights)}


@dataclass(frozen=True)
class LabelledClips:
    """The labelled clips of a run and the frames that are the student's input."""

    labels: LabelSet
    frames: FeatureSpec
    training: Clips
    validation: Clips
    of: int
    """Training clips before `part` of them was drawn."""

    @property
    def counts(self) -> dict[str, int]:
        """How many clips there are, for the record."""
        return {"training": len(self.training.clips), "of": self.of, "validation": len(self.validation.clips)}

    def batch(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor, Tensor]:
        """frames [B, T, d], lengths int64 [B], classes int64 [B]."""
        return *self.training.batch(clips), torch.tensor(_class_indices(clips, self.labels))


def finetune(config: FinetuneConfig, console: Console) -> dict[str, Any]:
    """Trains the student, writes it to `config.out`, and returns its training record.

    Raises UsageError, WeightsError, CheckpointError, Diverged, OutOfMemory, DiskError.
    """
    schedule = config.schedule
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([config.run, config.out])
    start = None if config.start is None else STUDENTS.load(config.start)
    data = read_labelled_clips(config, start, console)
    torch.manual_seed(schedule.seed)
    student = _make_student(config, start, data)
    classes = _class_indices(data.training.clips, data.labels)
    module = FineTuning(student, class_weights(classes, len(data.labels), config.class_weight))
    settings = fingerprint(config) | {"start": None if start is None else start.digest, "counts": data.counts}
    settings["frames"] = data.frames.digest
    optimizer, title = adamw(module.parameters(), schedule), f"finetune 1/{config.part}"
    trainer = Trainer(
        config.run, schedule, settings, module, optimizer, fabric, console, title=title, select=config.select
    )
    _fit_student(trainer, student, data)
    shares = torch.bincount(torch.tensor(classes), minlength=len(data.labels)) / len(classes)
    record: dict[str, Any] = {
        "stage": "finetune",
        "run": {"name": config.name, "seed": schedule.seed},
        "selection": f"{config.select} on held-out training {config.data.apart}",
        "start": None if start is None else {"name": start.name, "digest": start.digest},
        "part": f"1/{config.part}",
        "lines": data.counts,
        "prior": [round(share, 6) for share in shares.tolist()],
        "config": fingerprint(config),
        **trainer.record(),
    }
    STUDENTS.save(config.out, student, STUDENTS.sidecar(student, data.labels.name, data.frames, record))
    console.print(f"{config.out}: validation {config.select} {trainer.progress.best:.4f}", highlight=False)
    return record


def read_labelled_clips(
    config: FinetuneConfig, start: LoadedNetwork[Student] | None, console: Console
) -> LabelledClips:
    """The clips to learn from and to choose by, their frames extracted. Raises UsageError, WeightsError, DiskError."""
    if start is not None and config.student:
        raise UsageError("finetune.student shapes a student from scratch: leave it out, or leave out finetune.start.")
    heard = config.frames if start is None else str(start.sidecar.inputs.settings.get("whisper", DESCRIPTORS))
    frames = open_frames(heard, config.schedule.threads)
    if start is not None and start.sidecar.inputs != frames.spec:
        raise UsageError(
            f"start: {config.start} was distilled on [{start.sidecar.inputs.describe()}], at hand is "
            f"[{frames.spec.describe()}]: use the same weights, or distil again."
        )
    corpora = split_dialogues(read_corpora(config.data), config.data)
    store = FrameStore(config.data.store, frames.spec)
    training, validation = (clips_of(corpus, frames, store, console) for corpus in corpora)
    for clips in (training, validation):
        clips.clips = [clip for clip in clips.clips if clip.line.label is not None]
    every = len(training.clips)
    training.clips = one_in(config.part, training.clips, config.schedule.seed)
    if not training.clips or not validation.clips:
        raise UsageError("There is no labelled sound to learn from or to choose by: change finetune.data.")
    return LabelledClips(corpora[0].labels, frames.spec, training, validation, every)


def _fit_student(trainer: Trainer, student: Student, data: LabelledClips) -> None:
    size, seed = trainer.schedule.batch, trainer.schedule.seed
    own, held_out = data.training.clips, data.validation.clips

    def batches(epoch: int) -> list[list[Clip]]:
        listed = bucket_by_length([clip.length for clip in own], size, seed=(seed, 0, epoch))
        return [[own[row] for row in rows] for rows in listed]

    def step(clips: list[Clip]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = trainer.model(trainer.fabric.to_device(data.batch(clips)))
        return losses

    def validate() -> dict[str, float]:
        parts = [data.batch(held_out[at : at + size]) for at in range(0, len(held_out), size)]
        logits = torch.cat([student(*trainer.fabric.to_device(heard)).logits.float().cpu() for *heard, _ in parts])
        check_finite({"logits": logits}, "validation")
        found = score(logits, torch.cat([classes for *_, classes in parts]), data.labels)
        return {name: getattr(found, name) for name in ("weighted_f1", "macro_f1", "accuracy", "uar")}

    trainer.fit(batches, step, validate)


def one_in(part: int, clips: Sequence[Clip], seed: int) -> list[Clip]:
    """1/part of the clips, drawn by their ids and the seed; a smaller share is part of every larger one."""
    # Sorted by id before the draw: the order of files differs from machine to machine.
    order = sorted(clips, key=lambda clip: clip.line.id)
    random.Random(seed).shuffle(order)
    chosen = {clip.line.id for clip in order[: max(1, round(len(order) / part))]} if order else set[str]()
    return [clip for clip in clips if clip.line.id in chosen]


def _class_indices(clips: Sequence[Clip], labels: LabelSet) -> list[int]:
    return [labels.index(clip.line.label or "") for clip in clips]


def _make_student(config: FinetuneConfig, start: LoadedNetwork[Student] | None, data: LabelledClips) -> Student:
    """A new student; of a distilled one everything but the classifier (section 3.2)."""
    inputs, classes = data.frames.dimension, len(data.labels)
    if start is None:
        student = Student(student_config(config.student, inputs=inputs, classes=classes))
        student.scale_by(*statistics(data.training))
        return student
    shape = {name: value for name, value in start.sidecar.config.items() if name not in ("inputs", "classes")}
    student = Student(student_config(shape, inputs=inputs, classes=classes))
    kept = {k: v for k, v in start.model.state_dict().items() if not k.startswith("classifier.")}
    student.load_state_dict(kept, strict=False)
    student.classifier = build_classifier(student.config, classes)
    return student
