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

from core_models.errors import UsageError
from core_models.feature_network import LoadedNetwork
from core_models.features.voice.mced_embedding import STUDENTS
from core_models.labels import LabelSet
from core_models.networks.mced_student import Student, classifier
from train.data.class_balance import class_weights
from train.data.config import DataConfig
from train.evaluation.metrics import score
from train.extraction.frame_extractors import DESCRIPTORS, open_frames
from train.extraction.frame_store import FrameStore
from train.loop.fingerprint import fingerprint
from train.loop.schedule import Schedule
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
    """What a student from scratch hears; another hears what it was distilled on."""
    student: dict[str, Any] = field(default_factory=dict)
    """Shape of a student from scratch (see distil.student); another keeps its own."""
    class_weight: float = 0.0
    """Lines of a class weigh as its frequency to minus this power: 0 all alike (the paper), 1 all classes alike."""
    select: Literal["weighted_f1", "macro_f1", "accuracy", "uar"] = "weighted_f1"
    """Which score on validation chooses the epoch."""
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


def finetune(config: FinetuneConfig, console: Console) -> dict[str, Any]:
    """Trains the student, writes it to `config.out`, and returns its training record.

    Raises UsageError, WeightsError, CheckpointError, Diverged, DiskError.
    """
    schedule = config.schedule
    torch.set_num_threads(schedule.threads)
    start = None if config.start is None else STUDENTS.load(config.start)
    if start is not None and config.student:
        raise UsageError("finetune.student shapes a student from scratch: leave it out, or leave out finetune.start.")
    heard = config.frames if start is None else str(start.sidecar.inputs.settings.get("whisper", DESCRIPTORS))
    frames = open_frames(heard, schedule.threads)
    if start is not None and start.sidecar.inputs != frames.spec:
        raise UsageError(
            f"start: {config.start} was distilled on [{start.sidecar.inputs.describe()}], at hand is "
            f"[{frames.spec.describe()}]: use the same weights, or distil again."
        )
    corpora = config.data.parts("validation")
    labels = corpora[0].labels
    store = FrameStore(config.data.store, frames.spec)
    training, validation = (clips_of(corpus, frames, store, console) for corpus in corpora)
    for clips in (training, validation):
        clips.clips = [clip for clip in clips.clips if clip.line.label is not None]
    everything = len(training.clips)
    training.clips = one_in(config.part, training.clips, schedule.seed)
    if not training.clips or not validation.clips:
        raise UsageError("There is no labelled sound to learn from or to choose by: change finetune.data.")
    truth = _classes(training.clips, labels)
    torch.manual_seed(schedule.seed)
    student = _student(config, start, frames.spec.dimension, labels, training)
    model = FineTuning(student, class_weights(truth, len(labels), config.class_weight))
    counts = {"training": len(truth), "of": everything, "validation": len(validation.clips)}
    settings = fingerprint(config) | {"start": None if start is None else start.digest, "counts": counts}
    settings["frames"] = frames.spec.digest
    run = Trainer(config.run, schedule, settings, model, console)

    def batch(clips: Clips, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        chosen = [clips.clips[row] for row in rows]
        return *clips.batch(chosen), torch.tensor(_classes(chosen, labels))

    def validate() -> dict[str, float]:
        rows = list(range(len(validation.clips)))
        batches = [batch(validation, rows[at : at + schedule.batch]) for at in range(0, len(rows), schedule.batch)]
        logits = [student(*run.fabric.to_device(heard)).logits.cpu() for *heard, _ in batches]
        found = score(torch.cat(logits), torch.tensor(_classes(validation.clips, labels)), labels)
        told = {name: getattr(found, name) for name in ("weighted_f1", "accuracy", "uar")}
        return {"score": getattr(found, config.select), **told}

    def learn(rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        return batch(training, rows)

    run.fit([clip.length for clip in training.clips], learn, validate, f"finetune 1/{config.part}")
    shares = torch.bincount(torch.tensor(truth), minlength=len(labels)) / len(truth)
    record: dict[str, Any] = {
        "stage": "finetune",
        "run": {"name": config.name, "seed": schedule.seed},
        "selection": f"{config.select} on held-out training {config.data.apart}",
        "start": None if start is None else {"name": start.name, "digest": start.digest},
        "part": f"1/{config.part}",
        "lines": counts,
        "prior": [round(share, 6) for share in shares.tolist()],
        "config": fingerprint(config),
        **run.record(),
    }
    STUDENTS.save(config.out, student, STUDENTS.sidecar(student, labels.name, frames.spec, record))
    console.print(f"{config.out}: validation {config.select} {run.place.best:.4f}", highlight=False)
    return record


def one_in(part: int, clips: Sequence[Clip], seed: int) -> list[Clip]:
    """1/part of the clips, drawn by their ids and the seed; a smaller share is part of every larger one."""
    order = sorted(clips, key=lambda clip: clip.line.id)
    random.Random(seed).shuffle(order)
    chosen = {clip.line.id for clip in order[: max(1, round(len(order) / part))]} if order else set[str]()
    return [clip for clip in clips if clip.line.id in chosen]


def _classes(clips: Sequence[Clip], labels: LabelSet) -> list[int]:
    return [labels.index(clip.line.label or "") for clip in clips]


def _student(
    config: FinetuneConfig, start: LoadedNetwork[Student] | None, inputs: int, labels: LabelSet, training: Clips
) -> Student:
    """A new student; of a distilled one everything but the classifier (section 3.2)."""
    if start is None:
        student = Student(student_config(config.student, inputs=inputs, classes=len(labels)))
        student.scale_by(*statistics(training))
        return student
    shape = {name: value for name, value in start.sidecar.config.items() if name not in ("inputs", "classes")}
    student = Student(student_config(shape, inputs=inputs, classes=len(labels)))
    kept = {k: v for k, v in start.model.state_dict().items() if not k.startswith("classifier.")}
    student.load_state_dict(kept, strict=False)
    student.classifier = classifier(student.config, len(labels))
    return student
