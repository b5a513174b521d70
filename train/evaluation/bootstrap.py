"""How far one checkpoint is better than another: paired bootstrap over dialogues (Efron and Tibshirani, 1993)."""

from __future__ import annotations

import torch
from torch import Tensor

from core_models.checkpoint import Checkpoint
from core_models.errors import UsageError
from core_models.labels import LABEL_SETS
from train.evaluation.predictions import Predictions
from train.evaluation.results import SCORES, Comparison

# What a confusion matrix alone gives.
COUNTED = tuple(name for name in SCORES if name != "ece")
# The 2.5th percentile then stands on 50 resamples.
RESAMPLES = 2000


def compare_predictions(
    here: Predictions, there: Predictions, other: Checkpoint, context: str, seed: int
) -> Comparison:
    """`here` against the predictions `there` of `other`, on the utterances that both have.

    Raises UsageError where their label sets differ or no utterance is in both.
    """
    if here.labels != there.labels:
        raise UsageError(
            f"{other.name} speaks of {there.labels}, the checkpoint of {here.labels}: compare those of one label set."
        )
    both = set(here.places) & set(there.places)
    if not both:
        raise UsageError(f"No utterance is scored by {other.name} and the checkpoint: choose --modalities of both.")
    places = [place for place in here.places if place in both]
    here, there = here.at(places), there.at(places)
    ours, theirs = here.part(), there.part()
    low, high = bootstrap_intervals(here, there, seed)
    return Comparison(
        checkpoint=other.name,
        digest=other.digest,
        context=context,
        n=len(both),
        here=ours,
        there=theirs,
        difference={name: round(getattr(ours, name) - getattr(theirs, name), 4) for name in SCORES},
        interval={name: (round(low[name], 4), round(high[name], 4)) for name in COUNTED},
        resamples=RESAMPLES,
        seed=seed,
    )


def bootstrap_intervals(here: Predictions, there: Predictions, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Percentiles 2.5 and 97.5 of each of COUNTED's difference over resamples of whole dialogues.

    Utterances of a dialogue are not independent, so dialogues are drawn, the same ones for both.
    """
    confusions = [by_dialogue(p) for p in (here, there)]
    dialogues = len(confusions[0])
    drawn = torch.randint(dialogues, (RESAMPLES, dialogues), generator=torch.Generator().manual_seed(seed))
    # How often each dialogue was drawn: confusion matrices are added by these weights, so nothing is predicted again.
    weights = torch.zeros(RESAMPLES, dialogues).scatter_add_(1, drawn, torch.ones(drawn.shape))
    ours, theirs = (from_confusion(torch.einsum("rd,dij->rij", weights, c)) for c in confusions)
    bounds = torch.tensor([0.025, 0.975])
    quantiles = {name: (ours[name] - theirs[name]).quantile(bounds).tolist() for name in COUNTED}
    return {name: q[0] for name, q in quantiles.items()}, {name: q[1] for name, q in quantiles.items()}


def by_dialogue(predictions: Predictions) -> Tensor:
    """float32 [D, C, C]: each dialogue's confusion matrix, rows the truth."""
    classes = len(LABEL_SETS[predictions.labels])
    number: dict[str, int] = {}
    of = torch.tensor([number.setdefault(place.dialogue, len(number)) for place in predictions.places])
    cells = (of * classes + predictions.truth) * classes + predictions.logits.argmax(dim=1)
    return torch.bincount(cells, minlength=len(number) * classes**2).reshape(-1, classes, classes).float()


def from_confusion(confusion: Tensor) -> dict[str, Tensor]:
    """Each of COUNTED [...], as `scores.score` defines it, of confusion matrices [..., C, C]."""
    hits, truth, said = confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(dim=-1), confusion.sum(dim=-2)
    f1 = 2 * hits / (truth + said).clamp(min=1)
    recall = hits / truth.clamp(min=1)
    total = truth.sum(dim=-1)
    return {
        "weighted_f1": (f1 * truth).sum(dim=-1) / total,
        "macro_f1": f1.mean(dim=-1),
        "accuracy": hits.sum(dim=-1) / total,
        "uar": recall.sum(dim=-1) / (truth > 0).sum(dim=-1),
    }
