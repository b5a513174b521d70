"""One network of a voice learns clips: a fixed number of epochs, the mean of the weights after the last few kept."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from core_models.errors import UsageError
from core_models.networks.voice_head import HeadConfig, Member, VoiceHead
from train.loop.failures import Diverged
from train.recipes.voice.clips import AugmentedClip, Frames, batch, statistics


@dataclass(frozen=True)
class VoiceSchedule:
    """How a network learns. Nothing is chosen on held-out clips, so the number of epochs is fixed beforehand."""

    epochs: int = 40
    """In each of which every clip is heard once, in a copy that is drawn."""
    average: int = 6
    """Epochs at the end whose weights are averaged."""
    lr: float = 2e-3
    """Highest learning rate of AdamW; it rises over the first tenth and falls along a cosine."""
    decay: float = 0.05
    """AdamW's weight decay."""
    batch: int = 32
    """Clips a step."""
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
    seed: int = 0
    """Of weights, order, copies and dropout; each member adds its number."""
    threads: int = 1
    """CPU threads."""

    def __post_init__(self) -> None:
        if not 1 <= self.average <= self.epochs or self.batch < 2:
            raise UsageError("schedule.average must be from 1 to schedule.epochs, and schedule.batch 2 or more.")


def fit_member(clips: Sequence[AugmentedClip], config: HeadConfig, schedule: VoiceSchedule, seed: int) -> Member:
    """A network that has learned `clips`, in evaluation mode. Raises Diverged."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 7])
    member = Member(config)
    member.scale_by(*statistics(clips))
    truth = torch.tensor([clip.label for clip in clips])
    weights = _class_weights(truth, config.classes, schedule.class_weight)
    optimizer = torch.optim.AdamW(member.parameters(), lr=0.0, weight_decay=schedule.decay)
    kept = {name: torch.zeros_like(value) for name, value in member.named_parameters()}
    for epoch in range(schedule.epochs):
        member.train()
        copies = rng.integers(len(clips[0].frames), size=len(clips))
        heard = [_part(clip.frames[copy], schedule.crop, rng) for clip, copy in zip(clips, copies, strict=True)]
        batches = _batches([len(frames) for frames in heard], schedule.batch, rng)
        for number, rows in enumerate(batches):
            done = (epoch + number / len(batches)) / schedule.epochs
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr * min(1.0, 10 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
            frames, lengths = batch([heard[row] for row in rows])
            _mask(frames, lengths, schedule.masked, member.mean, rng)
            loss = _loss(member, frames, lengths, truth[rows], weights, schedule, rng)
            if not math.isfinite(loss.item()):
                raise Diverged(f"The loss is not a number in epoch {epoch + 1}: set a lower schedule.lr.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimizer.step()
        if epoch >= schedule.epochs - schedule.average:
            for name, value in member.named_parameters():
                kept[name] += value.detach() / schedule.average
    member.load_state_dict(kept, strict=False)
    return member.eval().requires_grad_(False)


def joined(members: Sequence[Member]) -> VoiceHead:
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


def _loss(
    member: Member,
    frames: Tensor,
    lengths: Tensor,
    truth: Tensor,
    weights: Tensor,
    schedule: VoiceSchedule,
    rng: np.random.Generator,
) -> Tensor:
    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weights, label_smoothing=schedule.smoothing)

    pooled = member.pooled(frames, lengths)
    if not schedule.mixup or rng.random() >= schedule.mixed:
        return cost(member.classify(pooled), truth)
    share = float(rng.beta(schedule.mixup, schedule.mixup))
    others = torch.randperm(len(truth))
    logits = member.classify(share * pooled + (1 - share) * pooled[others])
    return share * cost(logits, truth) + (1 - share) * cost(logits, truth[others])


def _class_weights(truth: Tensor, classes: int, power: float) -> Tensor:
    counts = torch.bincount(truth, minlength=classes).float().clamp(min=1)
    return (counts.mean() / counts) ** power


def _part(frames: Frames, share: float, rng: np.random.Generator) -> Frames:
    if rng.random() >= share:
        return frames
    length = max(min(10, len(frames)), round(len(frames) * rng.uniform(0.5, 1.0)))
    start = int(rng.integers(len(frames) - length + 1))
    return frames[start : start + length]


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Rows of like length, eight batches' worth sorted at a time, so that little is padding."""
    order = rng.permutation(len(lengths))
    batches = []
    for stretch in np.array_split(order, max(1, len(order) // (8 * size))):
        near = sorted(stretch.tolist(), key=lambda row: lengths[row])
        batches += [near[at : at + size] for at in range(0, len(near), size)]
    random.Random(int(rng.integers(2**31))).shuffle(batches)
    return batches


def _mask(frames: Tensor, lengths: Tensor, most: float, mean: Tensor, rng: np.random.Generator) -> None:
    for row, length in enumerate(lengths.tolist()):
        hidden = int(rng.integers(1 + int(most * length)))
        start = int(rng.integers(length - hidden + 1))
        frames[row, start : start + hidden] = mean
