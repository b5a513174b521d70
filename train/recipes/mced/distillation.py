"""MCED's second stage: a student learns from the teacher what unlabelled sound with words means (section 2.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from core_models.atomic_write import require_writable
from core_models.errors import UsageError
from core_models.features.voice.mced_embedding import STUDENTS
from core_models.labels import MCED5
from core_models.networks.mced_student import SoftAlign, Student, StudentConfig
from train.corpora.registry import CorpusConfig, read_corpus
from train.corpora.splits import validation_split
from train.data.length_buckets import bucket_by_length
from train.extraction.frame_extractors import Frames, open_frames
from train.extraction.frame_store import FrameStore
from train.loop.accelerator import open_fabric
from train.loop.fingerprint import fingerprint
from train.loop.schedule import Schedule, adamw
from train.loop.trainer import Trainer
from train.losses.mced import TABLE_6, LayerPair, MCEDObjective
from train.recipes.mced.clips import Clip, Clips, clips_of, statistics
from train.recipes.mced.teacher import Teacher, TeacherNames, TeacherOutput

# Fewer different sentences than this say more of the script than of the emotion.
LEAST_SENTENCES = 20
# Sentences that the teacher reads at once when pairs are chosen.
READ = 64


@dataclass(frozen=True)
class PairFilter:
    """Which pairs are learnt from (section 3.1.2)."""

    shortest_s: float = 1.5
    """Shorter sound is left out (paper: 1.5 s)."""
    words: int = 2
    """Fewer words are left out (paper: those of one word)."""
    confidence: float = 0.5
    """So is what the teacher gives no class as much as this (the paper chooses by probability, without a number)."""

    def reason(self, clip: Clip) -> str | None:
        """Why the pair is left out before the teacher reads it; None where it is not."""
        if len((clip.line.text or "").split()) < self.words:
            return "too few words"
        return "too short" if clip.seconds < self.shortest_s else None


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """Who teaches whom, on what, and where the student goes."""

    pairs: list[CorpusConfig]
    """Parts of corpora whose lines have sound and words; their labels are not looked at. Speech made from text by a
    machine counts for the words alone: its prosody is not that of what it says."""
    out: Path
    """Folder of the finished student."""
    run: Path
    """Folder of the unfinished one: a killed run goes on from here."""
    name: str = "mced"
    """Name of the run, for tables."""
    teacher: TeacherNames = field(default_factory=TeacherNames)
    """M_T."""
    frames: str = "whisper-base"
    """The student's input: a Whisper's encoder states, or `descriptors` (openSMILE, as in the paper)."""
    student: dict[str, Any] = field(default_factory=dict)
    """Fields of the student's configuration but for inputs and classes, which frames and teacher decide."""
    objective: MCEDObjective = field(default_factory=MCEDObjective)
    """Eq. 1, 3 and 4."""
    row: Literal["RL", "FL-4layers", "RL+FL-1layer", "RL+FL-2layers", "RL+FL-3layers", "RL+FL-4layers"] | None = None
    """A row of Table 6, in place of objective.response and objective.last."""
    choose: PairFilter = field(default_factory=PairFilter)
    """Which pairs are learnt from."""
    validation: float = 0.1
    """Share of the pairs, speakers apart where it can be, on which the best epoch is chosen."""
    schedule: Schedule = field(default_factory=Schedule)
    """How long and how fast."""
    store: Path = Path(".cache/features")
    """Folder of the store of frames."""

    def losses(self) -> MCEDObjective:
        """The objective, that of the row of Table 6 where one is named."""
        if self.row is None:
            return self.objective
        response, last = TABLE_6[self.row]
        return replace(self.objective, response=response, last=last)


class DistillationBatch(NamedTuple):
    """A batch: the student's input frames, and the teacher's output for the words."""

    frames: Tensor
    lengths: Tensor
    taught: TeacherOutput


class Distillation(nn.Module):
    """The student, and a soft-align block for each layer pair."""

    def __init__(self, student: Student, objective: MCEDObjective, pairs: Sequence[LayerPair], teacher: int) -> None:
        super().__init__()
        self.student, self.objective, self.pairs = student, objective, list(pairs)
        self.align = nn.ModuleList(SoftAlign(teacher, student.config.width) for _ in pairs)

    def forward(self, lesson: DistillationBatch) -> dict[str, Tensor]:
        """The terms of eq. 4, their sum as "loss"."""
        output, taught = self.student(lesson.frames, lesson.lengths), lesson.taught
        aligned = [
            align(h, output.hidden[pair.student - 1], output.real)
            for align, h, pair in zip(self.align, taught.words, self.pairs, strict=True)
        ]
        losses = self.objective(output.logits, taught.logits, self.pairs, taught.words, aligned, taught.said)
        return {"loss": losses.total, "response": losses.response.detach(), "feature": losses.feature.detach()}


def distil(config: DistilConfig, console: Console) -> dict[str, Any]:
    """Trains the student, writes it to `config.out`, and returns its training record.

    Raises UsageError where there are no pairs, WeightsError, CheckpointError, Diverged, OutOfMemory, DiskError.
    """
    schedule = config.schedule
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([config.run, config.out])
    objective = config.losses()
    frames = open_frames(config.frames, schedule.threads)
    store = FrameStore(config.store, frames.spec)
    teacher = Teacher(config.teacher)
    torch.manual_seed(schedule.seed)
    shape = student_config(config.student, inputs=frames.spec.dimension, classes=len(MCED5))
    pairs = objective.pairs(teacher.layers, shape.layers)
    training, validation, counts = chosen_pairs(config, teacher, frames, store, console)
    student = Student(shape)
    student.scale_by(*statistics(training))
    module = Distillation(student, objective, pairs, teacher.dimension)
    settings = fingerprint(config) | {"teacher": teacher.digest, "frames": frames.spec.digest, "counts": counts}
    optimizer = adamw(module.parameters(), schedule)
    trainer = Trainer(config.run, schedule, settings, module, optimizer, fabric, console, title="distil")
    teacher.to(fabric.device)
    _fit_student(trainer, teacher, pairs, training, validation)
    record: dict[str, Any] = {
        "stage": "distil",
        "run": {"name": config.name, "seed": schedule.seed},
        "selection": "loss on held-out pairs",
        "teacher": {"adapter": str(config.teacher.adapter), "digest": teacher.digest},
        "layer_pairs": [list(pair) for pair in pairs],
        "pairs": counts,
        "config": fingerprint(config),
        **trainer.record(),
    }
    STUDENTS.save(config.out, student, STUDENTS.sidecar(student, MCED5.name, frames.spec, record))
    best, passes = trainer.progress.best_epoch, trainer.progress.epoch
    console.print(f"{config.out}: best epoch {best} of {passes}", highlight=False)
    return record


def _fit_student(
    trainer: Trainer, teacher: Teacher, pairs: Sequence[LayerPair], training: Clips, validation: Clips
) -> None:
    layers, size, seed = [pair.teacher for pair in pairs], trainer.schedule.batch, trainer.schedule.seed

    def lesson(clips: Sequence[Clip]) -> DistillationBatch:
        taught = teacher.teach([clip.line.text or "" for clip in clips], layers)
        batch: DistillationBatch = trainer.fabric.to_device(DistillationBatch(*training.batch(clips), taught))
        return batch

    def batches(epoch: int) -> list[list[Clip]]:
        listed = bucket_by_length([clip.length for clip in training.clips], size, seed=(seed, 0, epoch))
        return [[training.clips[row] for row in rows] for rows in listed]

    def step(clips: list[Clip]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = trainer.model(lesson(clips))
        return losses

    def validate() -> dict[str, float]:
        parts = [validation.clips[start : start + size] for start in range(0, len(validation.clips), size)]
        total = sum(len(part) * float(trainer.model(lesson(part))["loss"]) for part in parts)
        return {"score": -total / len(validation.clips)}

    trainer.fit(batches, step, validate)


def student_config(given: dict[str, Any], *, inputs: int, classes: int) -> StudentConfig:
    """The student's configuration from fields that a person gave and those that the data decide. Raises UsageError."""
    try:
        fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}
        return StudentConfig(**fields, inputs=inputs, classes=classes)
    except TypeError as error:
        raise UsageError(f"student does not fit ({error}): give fields of StudentConfig but inputs, classes.") from None


def chosen_pairs(
    config: DistilConfig, teacher: Teacher, frames: Frames, store: FrameStore, console: Console
) -> tuple[Clips, Clips, dict[str, Any]]:
    """(training, validation, what there is of them): pairs that pass the filter. Raises UsageError where none does."""
    parts: tuple[Clips, Clips] = (Clips(store, []), Clips(store, []))
    left_out: Counter[str] = Counter()
    for wanted in config.pairs:
        split = validation_split(read_corpus(wanted), config.validation, config.schedule.seed)
        for part, corpus in zip(parts, split, strict=True):
            clips = clips_of(corpus, frames, store, console)
            left_out.update({"without sound": clips.without, "broken": len(clips.broken)})
            for clip in clips.clips:
                reason = config.choose.reason(clip)
                if reason is None:
                    part.clips.append(clip)
                else:
                    left_out[reason] += 1
    classes: Counter[str] = Counter()
    for part in parts:
        part.clips = _keep_confident(part.clips, config.choose, teacher, left_out, classes)
    if not all(part.clips for part in parts):
        raise UsageError(
            f"Too few pairs of sound and words are left to learn from ({_list_counts(left_out)}): name more corpora in "
            "distil.pairs, or ask for less in distil.choose."
        )
    sentences = len({clip.line.text for part in parts for clip in part.clips})
    training, validation = (len(part.clips) for part in parts)
    console.print(
        f"{training} pairs to learn from, {validation} held out, {sentences} different sentences; left out: "
        f"{_list_counts(left_out) or 'none'}; by the teacher: {_list_counts(classes)}",
        highlight=False,
    )
    if sentences < LEAST_SENTENCES:
        console.print(
            f"{sentences} sentences cannot tell emotions apart by their words: expect nothing of this distillation.",
            style="yellow",
        )
    counts = {"training": training, "validation": validation, "sentences": sentences}
    return *parts, {**counts, "left_out": dict(+left_out), "classes": dict(classes)}


def _keep_confident(
    clips: list[Clip], choose: PairFilter, teacher: Teacher, left_out: Counter[str], classes: Counter[str]
) -> list[Clip]:
    # By length, so that a batch holds little padding.
    texts = sorted({clip.line.text or "" for clip in clips}, key=len)
    belief: dict[str, tuple[float, int]] = {}
    for start in range(0, len(texts), READ):
        batch = texts[start : start + READ]
        confidence, best = teacher(batch).logits.softmax(dim=-1).max(dim=-1)
        belief |= dict(zip(batch, zip(confidence.tolist(), best.tolist(), strict=True), strict=True))
    kept = [clip for clip in clips if belief[clip.line.text or ""][0] >= choose.confidence]
    left_out["teacher not sure"] += len(clips) - len(kept)
    classes.update(MCED5.labels[belief[clip.line.text or ""][1]] for clip in kept)
    return kept


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
