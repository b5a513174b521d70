"""Comparisons are paired, and their interval is that of whole dialogues."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core_models.checkpoint import Checkpoint, Sidecar
from core_models.errors import UsageError
from core_models.networks.sdt import SDT, SDTConfig
from train.evaluation.bootstrap import COUNTED, by_dialogue, compare_predictions, from_confusion
from train.evaluation.predictions import Place, Predictions


def made(seed: int, skill: float, dialogues: int = 30, each: int = 8) -> Predictions:
    """Predictions over dialogues, right more often the larger `skill`; the truth does not depend on the seed."""
    truth = torch.randint(0, 7, (dialogues * each,), generator=torch.Generator().manual_seed(99))
    noise = torch.randn(len(truth), 7, generator=torch.Generator().manual_seed(seed))
    places = tuple(Place(f"d{i // each}", i % each) for i in range(len(truth)))
    return Predictions(noise + skill * torch.nn.functional.one_hot(truth, 7), truth, places, "meld7")


@pytest.fixture
def other() -> Checkpoint:
    """A checkpoint to name."""
    model = SDT(SDTConfig({"text": 4}, 7, width=8, heads=1))
    sidecar = Sidecar(model="sdt", config={}, labels="meld7", features={}, window=32)
    return Checkpoint("other", model, sidecar, "0" * 64)


def test_scores_from_a_confusion_are_the_scores() -> None:
    """What the bootstrap counts from confusion matrices is what `score` gives."""
    predictions = made(0, 1.5)
    counted = from_confusion(by_dialogue(predictions).sum(dim=0))
    for name in COUNTED:
        assert float(counted[name]) == pytest.approx(getattr(predictions.scores(), name), abs=1e-5)


def test_comparison_is_paired(other: Checkpoint) -> None:
    """Only utterances that both scored count, in whatever order they come."""
    here, there = made(0, 2.0), made(1, 0.5)
    some = there.only([i % 3 > 0 for i in range(len(there.places))])
    order = torch.randperm(len(some.truth))
    places = tuple(some.places[i] for i in order.tolist())
    shuffled = replace(some, logits=some.logits[order], truth=some.truth[order], places=places)
    plain, mixed = (compare_predictions(here, given, other, "causal", 0) for given in (some, shuffled))
    assert plain.n == len(some.places)
    assert plain.difference == mixed.difference
    assert plain.interval == mixed.interval
    assert plain.difference["accuracy"] == pytest.approx(plain.here.accuracy - plain.there.accuracy, abs=1e-4)


def test_interval_holds_the_difference_and_is_seeded(other: Checkpoint) -> None:
    """A clear difference has an interval on one side of nothing; equal predictions have one of width nothing."""
    here, there = made(0, 2.0), made(1, 0.5)
    found = compare_predictions(here, there, other, "causal", 0)
    low, high = found.interval["weighted_f1"]
    assert 0 < low < found.difference["weighted_f1"] < high
    assert compare_predictions(here, there, other, "causal", 0) == found
    assert compare_predictions(here, there, other, "causal", 1).interval != found.interval
    assert compare_predictions(here, here, other, "causal", 0).interval["accuracy"] == (0.0, 0.0)


def test_interval_is_that_of_dialogues_and_not_of_utterances(other: Checkpoint) -> None:
    """Where a dialogue's utterances are right or wrong together, the interval is wider than if they were alone."""
    together = torch.arange(240) // 8 % 2 == 0
    truth = torch.zeros(240, dtype=torch.long)
    right = 5.0 * torch.nn.functional.one_hot(truth, 7)
    wrong = 5.0 * torch.nn.functional.one_hot(torch.where(together, truth, 1), 7)
    widths = []
    for each in (8, 1):
        places = tuple(Place(f"d{i // each}", i % each) for i in range(240))
        here, there = (Predictions(logits, truth, places, "meld7") for logits in (right, wrong))
        low, high = compare_predictions(here, there, other, "causal", 0).interval["accuracy"]
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]


def test_what_has_nothing_in_common_is_refused(other: Checkpoint) -> None:
    """Other label sets and other utterances are refused by a sentence."""
    here = made(0, 1.0)
    with pytest.raises(UsageError, match="iemocap6"):
        compare_predictions(here, replace(here, labels="iemocap6"), other, "causal", 0)
    with pytest.raises(UsageError, match="No utterance"):
        compare_predictions(here, replace(here, places=tuple(Place("x", i) for i in range(240))), other, "causal", 0)
