"""One network of a voice head: a fixed number of passes, the mean of the weights after the last few of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.networks.voice_head import HeadConfig, Member, VoiceHead
from train.data.class_balance import class_weights
from train.loop.failures import check_finite, guarded
from train.loop.schedule import Schedule, adamw, learning_rate
from train.recipes.voice.clips import AugmentedClip, Frames, batch, statistics


@dataclass(frozen=True)
class VoiceSchedule(Schedule):
    """How a network trains (AdamW). Nothing is chosen on held-out clips, so the number of passes is fixed beforehand:
    `patience`, `keep` and `checkpoint_every` mean nothing here, and a network that is finished is not trained again."""

    epochs: int = 40
    """In each of which every clip is heard once, in a copy that is drawn."""
    lr: float = 2e-3
    warm_up: float = 0.1
    shape: Literal["cosine", "linear", "constant"] = "cosine"
    decay: float = 0.05
    keep: Literal["best", "last"] = "last"
    threads: int = 1
    average: int = 6
    """Passes at the end whose weights are averaged."""
    mixup: float = 0.4
    """Both parameters of the beta distribution that shares of two mixed clips are drawn from (Zhang et al., mixup:
    Beyond Empirical Risk Minimization, 2018), between the pooled vectors; 0 mixes none."""
    mixed: float = 0.7
    """Share of the steps in which clips are mixed."""
    smoothing: float = 0.1
    """Of labels."""
    class_weight: float = 0.5
    """Clips of a class weigh as its frequency to minus this power."""
    crop: float = 0.6
    """Share of the clips of which a random part, half of them or more, is heard."""
    masked: float = 0.2
    """At most this share of a clip's frames is set to their mean, in one stretch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.average <= self.epochs or self.batch < 2:
            raise UsageError("schedule.average must be from 1 to schedule.epochs, and schedule.batch 2 or more.")


def fit_member(
    clips: Sequence[AugmentedClip], config: HeadConfig, schedule: VoiceSchedule, seed: int, fabric: Fabric
) -> Member:
    """A network that has learned `clips`, on the CPU in evaluation mode: the mean over the last passes.

    Its loop is its own since nothing is validated and the weights are averaged; a network takes minutes, so that it
    is finished or not there. Raises Diverged, OutOfMemory.
    """
    torch.manual_seed(seed)
    # Apart from torch's numbers: another shape of the head draws other weights and still hears the same copies.
    rng = np.random.default_rng([seed, 7])
    member = Member(config)
    member.scale_by(*statistics(clips))
    truth = torch.tensor([clip.label for clip in clips])
    weights = class_weights(truth.tolist(), config.classes, schedule.class_weight).to(fabric.device)
    optimizer = adamw(member.parameters(), schedule)
    fabric.setup(member, optimizer)
    done = 0.0
    scheduler = learning_rate(optimizer, schedule, lambda: done)
    kept = {name: torch.zeros_like(value) for name, value in member.named_parameters()}
    for epoch in range(schedule.epochs):
        member.train()
        copies = rng.integers(len(clips[0].frames), size=len(clips))
        heard = [_crop_frames(clip.frames[copy], schedule.crop, rng) for clip, copy in zip(clips, copies, strict=True)]
        batches = _list_batches([len(frames) for frames in heard], schedule.batch, rng)
        for number, rows in enumerate(batches):
            where = f"pass {epoch + 1}, step {number + 1}"
            frames, lengths = batch([heard[row] for row in rows])
            _mask_frames(frames, lengths, schedule.masked, member.mean.cpu(), rng)
            with guarded(where):
                frames, lengths, labels = fabric.to_device((frames, lengths, truth[rows]))
                with fabric.autocast():
                    loss = _member_loss(member, frames, lengths, labels, weights, schedule, rng)
                check_finite({"loss": loss}, where)
                optimizer.zero_grad()
                fabric.backward(loss)
                if schedule.clip is not None:
                    torch.nn.utils.clip_grad_norm_(member.parameters(), schedule.clip)
                optimizer.step()
            done = (epoch + (number + 1) / len(batches)) / schedule.epochs
            scheduler.step()
        if epoch >= schedule.epochs - schedule.average:
            for name, value in member.named_parameters():
                kept[name] += value.detach() / schedule.average
    check_finite(kept, "the averaged weights")
    # Parameters alone are averaged: the frames' mean and deviation are the same in every pass.
    member.load_state_dict(kept, strict=False)
    return member.cpu().eval().requires_grad_(False)


def build_ensemble(members: Sequence[Member]) -> VoiceHead:
    """The head that averages `members`, in evaluation mode."""
    config = HeadConfig(**{**vars(members[0].config), "members": len(members)})
    head = VoiceHead(config)
    for own, member in zip(head.members, members, strict=True):
        own.load_state_dict(member.state_dict())
    return head.eval().requires_grad_(False)


def log_probabilities(head: VoiceHead, clips: Sequence[AugmentedClip], copy: int) -> Tensor:
    """float32 [n, C] of that copy of each clip."""
    with torch.inference_mode():
        rows = [head(*batch([clip.frames[copy] for clip in clips[at : at + 64]])) for at in range(0, len(clips), 64)]
        return torch.cat(rows)


def _member_loss(
    member: Member,
    frames: Tensor,
    lengths: Tensor,
    truth: Tensor,
    weights: Tensor,
    schedule: VoiceSchedule,
    rng: np.random.Generator,
) -> Tensor:
    def cross_entropy_of(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weights, label_smoothing=schedule.smoothing)

    pooled = member.pooled(frames, lengths)
    if not schedule.mixup or rng.random() >= schedule.mixed:
        return cross_entropy_of(member.classify(pooled), truth)
    # One share for the whole batch: the mixed loss is then two means and not a loss for each row.
    share = float(rng.beta(schedule.mixup, schedule.mixup))
    others = torch.randperm(len(truth)).to(truth.device)
    logits = member.classify(share * pooled + (1 - share) * pooled[others])
    return share * cross_entropy_of(logits, truth) + (1 - share) * cross_entropy_of(logits, truth[others])


def _crop_frames(frames: Frames, share: float, rng: np.random.Generator) -> Frames:
    if rng.random() >= share:
        return frames
    # Not below ten frames, 0.4 s.
    length = max(min(10, len(frames)), round(len(frames) * rng.uniform(0.5, 1.0)))
    start = int(rng.integers(len(frames) - length + 1))
    return frames[start : start + length]


def _list_batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Rows of like length, eight batches' worth sorted at a time, so that little is padding."""
    order = rng.permutation(len(lengths))
    batches = []
    for stretch in np.array_split(order, max(1, len(order) // (8 * size))):
        near = sorted(stretch.tolist(), key=lambda row: lengths[row])
        batches += [near[at : at + size] for at in range(0, len(near), size)]
    random.Random(int(rng.integers(2**31))).shuffle(batches)
    return batches


def _mask_frames(frames: Tensor, lengths: Tensor, most: float, mean: Tensor, rng: np.random.Generator) -> None:
    for row, length in enumerate(lengths.tolist()):
        hidden = int(rng.integers(1 + int(most * length)))
        start = int(rng.integers(length - hidden + 1))
        frames[row, start : start + hidden] = mean
