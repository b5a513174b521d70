"""The figures of an evaluation: confusion, t-SNE of what was fused, attention, missing rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.checkpoint import Checkpoint
from core_models.errors import DiskError
from train.corpora.dialogues import Corpus
from train.data.dialogue_tensors import TensorDialogue
from train.evaluation.predictions import Place, Predictions
from train.evaluation.results import Result
from train.figures.attention_maps import FURTHER, Attention, attended, most_confident_shift, place_of
from train.figures.figure_style import CYCLE, EMOTIONS, MARKERS, SHADES, open_figure
from train.figures.fused_representation import collect_fused, project_tsne

# More only hide each other, and t-SNE's time grows faster than their number.
POINTS = 2000


def draw_figures(
    result: Result,
    checkpoint: Checkpoint,
    corpus: Corpus,
    dialogues: list[TensorDialogue],
    folder: Path,
    stem: str,
    predictions: Predictions,
    seed: int,
    utterance: str | None,
) -> tuple[str, ...]:
    """Draw everything that this checkpoint has into `folder`; the names of the files, each begun by `stem`.

    Raises DiskError, and UsageError for an `utterance` that is not there.
    """
    names = []

    def path_of(kind: str) -> Path:
        names.append(f"{stem}_{kind}.png")
        return folder / names[-1]

    try:
        folder.mkdir(parents=True, exist_ok=True)
        draw_confusion(result, path_of("confusion"))
        if "missing" in result.breakdown:
            draw_missing(result, path_of("missing"))
        vectors = collect_fused(checkpoint, dialogues)
        places = predictions.places
        if vectors is not None and len(places) > 10:
            chosen = np.random.default_rng(seed).permutation(len(places))[:POINTS]
            points = project_tsne(vectors[chosen], seed)
            emotions, speakers = colours_of(corpus, [places[i] for i in chosen])
            draw_points(points, emotions, result.labels, "emotion", path_of("tsne_emotion"))
            draw_points(points, speakers, sorted(set(speakers)), "speaker", path_of("tsne_speaker"))
        wanted = most_confident_shift(predictions, dialogues) if utterance is None else place_of(utterance, dialogues)
        found = None if wanted is None else attended(checkpoint, dialogues, wanted)
        if found is not None:
            draw_attention(found, path_of("attention"))
    except OSError as error:
        raise DiskError(f"Figures cannot be written to {folder} ({error.strerror}): name another folder.") from None
    return tuple(names)


def colours_of(corpus: Corpus, places: Sequence[Place]) -> tuple[list[str], list[str]]:
    """(emotion, speaker) of each place; speakers are slots, IEMOCAP's are the two sexes as in SDT Fig. 6."""
    dialogues = {dialogue.id: dialogue for dialogue in corpus.dialogues}
    emotions, speakers = [], []
    for dialogue, row in places:
        utterances = dialogues[dialogue].utterances
        slots = list(dict.fromkeys(utterance.speaker for utterance in utterances))
        emotions.append(str(utterances[row].label))
        sex = utterances[row].speaker[-1:] if corpus.name == "iemocap" else ""
        speakers.append({"F": "woman", "M": "man"}.get(sex) or f"speaker {slots.index(utterances[row].speaker) + 1}")
    return emotions, speakers


def part_title(result: Result) -> str:
    """The part of the corpus, as a title."""
    split = "" if result.split == "all" and (result.subset or result.fold) else result.split
    cut = "cut to speech" if result.cut == "speech" else ""
    return " ".join(filter(None, [result.corpus, split, result.subset, result.fold, cut]))


def draw_confusion(result: Result, path: Path) -> None:
    """The confusion matrix: rows the truth, shaded by shares of their class, with counts."""
    shares = [[count / max(1, sum(row)) for count in row] for row in result.confusion]
    with open_figure(path, 4.8, 4.4) as drawn:
        axes = drawn.subplots()
        axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1)
        for i, row in enumerate(result.confusion):
            for j, count in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else "#222222"
                axes.text(j, i, str(count), ha="center", va="center", fontsize=8, color=colour)
        ticks = range(len(result.labels))
        axes.set_xticks(ticks, result.labels, rotation=45, ha="right")
        axes.set_yticks(ticks, result.labels)
        modalities = " + ".join(result.modalities_used)
        prior = "" if result.prior == "checkpoint" else f", {result.prior} prior"
        axes.set_title(f"{part_title(result)}: {modalities}{prior}")
        axes.set(xlabel="predicted", ylabel="truth")


def draw_missing(result: Result, path: Path) -> None:
    """Weighted F1 and accuracy against the share of entries that went missing."""
    parts = result.breakdown["missing"].parts.values()
    with open_figure(path, 4.8, 3) as drawn:
        axes = drawn.subplots()
        for name, marker in (("weighted_f1", "o"), ("accuracy", "s")):
            values = [100 * getattr(part, name) for part in parts]
            axes.plot([100 * (p.dropped or 0) for p in parts], values, marker=marker, label=name.replace("_f1", " F1"))
        axes.set(xlabel="entries (utterance, modality) missing, %", ylabel="%", title=part_title(result))
        axes.legend()


def draw_points(points: NDArray[np.float32], names: Sequence[str], order: Sequence[str], what: str, path: Path) -> None:
    """t-SNE points [n, 2], a colour and a marker for each name."""
    with open_figure(path, 4.8, 4.2) as drawn:
        axes = drawn.subplots()
        for index, name in enumerate(order):
            here = np.array([n == name for n in names])
            if here.any():
                colour = EMOTIONS.get(name, CYCLE[index % len(CYCLE)])
                marker = MARKERS[index % len(MARKERS)]
                axes.scatter(*points[here].T, s=9, color=colour, marker=marker, linewidths=0, alpha=0.75, label=name)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"fused representation, t-SNE, by {what}")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)


def draw_attention(attention: Attention, path: Path) -> None:
    """SDT Fig. 8: what each head of each transformer gives each utterance, seen from the chosen one."""
    blocks = attention.weights.shape[0]
    columns = 2 if blocks == 4 else min(3, blocks)
    rows = -(-blocks // columns)
    with open_figure(path, 1.2 + 2.4 * columns, 0.9 + (0.28 * len(attention.seen) + 0.5) * rows) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False, sharey=True)
        # What is further away is a sum over many, beside which no single utterance would be seen.
        single = [i for i, name in enumerate(attention.seen) if name != FURTHER]
        top = float(attention.weights[..., single].max())
        image = None
        for axes in grid.flat[blocks:]:
            axes.set_visible(False)
        for axes, weights, title in zip(grid.flat, attention.weights, attention.blocks, strict=False):
            image = axes.imshow(weights.T, cmap=SHADES, vmin=0, vmax=top, aspect="auto")
            axes.set_title(title, fontsize=9)
            axes.set_xticks(range(weights.shape[0]), [str(h + 1) for h in range(weights.shape[0])], fontsize=7)
            axes.set_yticks(range(len(attention.seen)), attention.seen, fontsize=7)
        for axes in grid[-1]:
            axes.set_xlabel("head")
        drawn.colorbar(
            image,
            ax=grid,
            shrink=0.6,
            label="attention",
            extend="max" if len(single) < len(attention.seen) else "neither",
        )
        drawn.suptitle(attention.title, fontsize=10)
