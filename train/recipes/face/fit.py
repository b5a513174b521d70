"""`python -m train face`: an expression network learns FER-2013's faces, and is scored on its validation part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from torch import Tensor

from core_models.atomic_write import require_writable
from core_models.errors import UsageError
from core_models.features.face.alignment import SIDE
from core_models.features.face.expression_posteriors import EXPRESSIONS
from core_models.features.face.landmarker import MIRROR, MIRROR_SIGN, SCORES
from core_models.networks.expression_network import ExpressionConfig, ExpressionNet
from train.corpora.dialogues import Corpus
from train.corpora.fer2013 import content_of, read_fer2013
from train.evaluation.calibration import fit_temperature
from train.evaluation.evaluate import EvalConfig, evaluate
from train.evaluation.results import Result
from train.extraction.extract import Extracted, extract
from train.extraction.face_extractor import PictureExtractor
from train.loop.accelerator import open_fabric
from train.loop.fingerprint import fingerprint
from train.recipes.face.augmentation import Augmentation
from train.recipes.face.training import Faces, FaceSchedule, FaceTraining
from train.reports.console import show_result

_PLACES = ("fer2013", "json", "workers")
# No pass is chosen: accuracy on a held-out fifth is reported of each and the last one is kept, so that the score on
# FER-2013's validation part is of pictures that decided nothing.
SELECTION = "none: the last epoch of a fixed number"


@dataclass(frozen=True, kw_only=True)
class FaceConfig:
    """What an expression network learns, how, and where it goes."""

    fer2013: Path
    """Folder of fer2013_train.tar and fer2013_validation.tar, or of folders of stills by split and emotion."""
    out: Path
    """Folder of the finished network."""
    run: Path
    """Folder of the unfinished one: a killed run goes on from here."""
    name: str = "face-expression"
    """Name of the run, for tables."""
    network: dict[str, Any] = field(default_factory=dict)
    """Its shape: widths, blocks, beside, dropout (core_models/networks/expression_network.py)."""
    schedule: FaceSchedule = field(default_factory=FaceSchedule)
    """How long and how fast."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How far faces are changed."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it lacks is extracted first."""
    workers: int = 1
    """Processes that look for faces side by side."""
    json: str | None = None
    """Write the result as JSON to this file, `-` for standard output, instead of printing a table."""


def fit_face(config: FaceConfig) -> Result:
    """Trains the network, writes it to `config.out`, and returns and prints its result on the validation part.

    A fifth of the training stills is never learned from (`read_fer2013`, unseen): accuracy on them is reported for
    every epoch, they set the temperature, and a dialogue model over this network's features learns from them. What
    stands in the validation part too is in neither. Raises UsageError, WeightsError, CheckpointError, DiskError.
    """
    console = Console(stderr=True)
    schedule = config.schedule
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([config.run, config.out])
    shape = network_config(config.network)
    training, held_out, counts, extractor = _read_faces(config)
    torch.manual_seed(schedule.seed)
    net = ExpressionNet(shape)
    decided = {name: value for name, value in fingerprint(config).items() if name not in _PLACES}
    settings = decided | {"network": _plain_shape(shape), "counts": counts, "faces": extractor.spec.digest}
    run = FaceTraining(config.run, schedule, settings, net, fabric, console)
    run.fit(training, held_out, config.augmentation)
    logits = (run.predict(held_out) + run.predict(mirrored(held_out))) / 2
    net.calibrate(fit_temperature(logits, held_out.labels))
    shares = torch.bincount(training.labels, minlength=shape.classes) / len(training)
    progress = run.trainer.progress
    record: dict[str, Any] = {
        "run": {"name": config.name, "seed": schedule.seed},
        "selection": SELECTION if schedule.keep == "last" else "accuracy on held-out stills",
        "stills": counts,
        "prior": [round(share, 6) for share in shares.tolist()],
        "config": decided,
        "epochs": progress.history,
        "seconds": round(progress.seconds),
    }
    EXPRESSIONS.save(config.out, net, EXPRESSIONS.sidecar(net, "meld7", extractor.spec, record))
    result = evaluate(
        EvalConfig(
            checkpoint=[str(config.out)], corpus="fer2013", root=config.fer2013, split="validation", store=config.store
        )
    )
    assert isinstance(result, Result)
    show_result(result, config.json)
    missed = result.left_out.get("nothing found", 0)
    console.print(
        f"{config.out}: validation, {result.n / (result.n + missed):.1%} of the faces found, accuracy on them "
        f"{result.accuracy:.1%}, with misses as errors {result.accuracy_left_out_as_errors:.1%}",
        highlight=False,
    )
    return result


def network_config(shape: Mapping[str, Any]) -> ExpressionConfig:
    """The network of that shape. Raises UsageError."""
    try:
        return msgspec.convert({**shape, "classes": 7, "scores": SCORES}, ExpressionConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"network does not work ({error}): see `python -m train face --help`.") from None


def mirrored(faces: Faces) -> Faces:
    """The same faces in a mirror."""
    scores = faces.scores[:, list(MIRROR)] * torch.tensor(MIRROR_SIGN)
    return Faces(faces.pictures.flip(2), scores, faces.labels)


def _read_faces(config: FaceConfig) -> tuple[Faces, Faces, dict[str, int], PictureExtractor]:
    extractor = PictureExtractor()
    judged = {content_of(line.image) for line in read_fer2013(config.fer2013, "validation").utterances() if line.image}
    parts: list[Faces] = []
    counts: dict[str, int] = {}
    for stills, name in (("seen", "learned from"), ("unseen", "held out")):
        corpus = read_fer2013(config.fer2013, "train", stills=stills)  # type: ignore[arg-type]
        own = corpus.where(lambda d: all(line.image and content_of(line.image) not in judged for line in d.utterances))
        found = extract(own, extractor, config.store, config.workers)
        parts.append(_stack_faces(own, found))
        counts |= {
            name: len(parts[-1]),
            f"{name}, not found": len(found.nothing) + len(found.broken),
            f"{name}, in validation too": len(corpus.dialogues) - len(own.dialogues),
        }
    if min(map(len, parts)) < 2:
        raise UsageError(f"{config.fer2013} holds too few faces to learn from and to hold out: give the whole corpus.")
    return parts[0], parts[1], counts, extractor


def _stack_faces(corpus: Corpus, found: Extracted) -> Faces:
    lines = [line for line in corpus.utterances() if line.id in found.vectors]
    stacked = torch.zeros(len(lines), SIDE * SIDE + SCORES)
    for row, line in enumerate(lines):
        stacked[row] = torch.from_numpy(found.vectors[line.id])
    pictures: Tensor = stacked[:, : SIDE * SIDE].to(torch.uint8).reshape(-1, SIDE, SIDE)
    labels = torch.tensor([corpus.labels.index(line.label or "") for line in lines], dtype=torch.int64)
    return Faces(pictures, stacked[:, SIDE * SIDE :], labels)


def _plain_shape(shape: ExpressionConfig) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(shape).items()}
