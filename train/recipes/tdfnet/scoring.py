"""The test part of a fold, scored by the checkpoint that was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train.evaluation.metrics import score
from train.evaluation.results import Breakdown, Result, part_of, result_of
from train.recipes.tdfnet.config import TDFNetTraining
from train.recipes.tdfnet.training import FoldData, has_modality, predict_utterances, selection_of, stored_network


def score_fold(config: TDFNetTraining, place: Path, data: FoldData, device: Any) -> Result:
    """The result of the checkpoint in `place` on the test part: what is scored is what was kept, in half precision."""
    network, digest = stored_network(place, device)
    labels, test, batch = data.corpus.labels, data.test, config.schedule.batch
    scores = score(*predict_utterances(network, data, test, data.modalities, batch), labels)
    heard = tuple(m for m in data.modalities if any(has_modality(one, m) for one in test))
    breakdown = {}
    if len(data.modalities) > 1:
        alone = {m: score(*predict_utterances(network, data, test, (m,), batch), labels) for m in heard}
        breakdown["modalities"] = Breakdown(
            protocol="the same utterances with the other modality masked; those that lack the one are not counted",
            parts={m: part_of(found) for m, found in alone.items()},
        )
    broken = data.left_out.get("broken", 0)
    return result_of(
        scores,
        data.corpus,
        left_out=data.left_out,
        missed=broken,
        checkpoint=place.name,
        digest=digest,
        model="tdfnet",
        run=config.name,
        seed=config.schedule.seed,
        selection=selection_of(config),
        split=config.corpus.split or "all",
        subset=config.corpus.subset,
        fold=data.fold.name,
        stamp=data.fold.stamp,
        modalities_used=heard,
        cut="clip",
        prior="checkpoint",
        context="its own words and sound",
        breakdown=breakdown,
    )
