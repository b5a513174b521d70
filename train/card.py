"""The model card of a dialogue checkpoint, written from its training record and from what `eval` measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core_models.checkpoint import WEIGHTS, Checkpoint, load
from core_models.errors import DiskError, UsageError
from core_models.labels import LABEL_SETS
from train.evaluate import draw_confusion

LICENCES = {
    "meld": (
        "MELD (Poria et al., 2019): words, speakers and labels of dialogues from the TV series Friends; the annotation "
        "is published under GPL-3, the dialogues belong to the series' owners."
    ),
    "ravdess": (
        "RAVDESS (Livingstone and Russo, 2018): acted speech of 24 professional actors, two sentences; "
        "CC BY-NC-SA 4.0, non-commercial."
    ),
    "fer2013": "FER-2013 (Goodfellow et al., 2013): grey 48 x 48 faces found on the web; for research.",
    "goemotions": (
        "GoEmotions (Demszky et al., 2020): Reddit comments; CC BY 4.0. It taught the text adapter, not this network."
    ),
}


@dataclass(frozen=True)
class CardConfig:
    """Which checkpoint gets a card."""

    checkpoint: str = "default"
    """Name under core_models/weights, or a folder."""


def write_card(config: CardConfig) -> Path:
    """Write CARD.md and its figures into the checkpoint's folder; returns the card.

    Results of `eval --json FOLDER/record/eval_*.json` become its tables. Raises CheckpointError, UsageError,
    DiskError.
    """
    checkpoint = load(config.checkpoint)
    folder = WEIGHTS / config.checkpoint if (WEIGHTS / config.checkpoint).is_dir() else Path(config.checkpoint)
    results = []
    for path in sorted((folder / "record").glob("eval_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["digest"] != checkpoint.digest:
            raise UsageError(f"{path} measured other weights than those in {folder}: run that eval again.")
        results.append((path, result))
    labels = LABEL_SETS[checkpoint.sidecar.labels]
    try:
        for path, result in results:
            draw_confusion(result, labels, path.with_suffix(".png"))
        card = folder / "CARD.md"
        card.write_text(_card(checkpoint, [result for _, result in results], results), encoding="utf-8")
    except OSError as error:
        raise DiskError(f"The card cannot be written to {folder} ({error.strerror}).") from None
    return card


def _card(checkpoint: Checkpoint, scores: list[dict[str, Any]], files: list[tuple[Path, dict[str, Any]]]) -> str:
    record, sidecar = checkpoint.sidecar.record, checkpoint.sidecar
    licences = [text for name, text in LICENCES.items() if name in record["data"]]
    adapter = sidecar.features.get("text")
    if adapter is not None and adapter.settings["adapter"] != "none":
        licences.append(LICENCES["goemotions"])
    sections = [
        f"# Checkpoint `{checkpoint.name}`",
        f"SDT (Ma et al., 2023), causal, over the last {sidecar.window} utterances; "
        f"{record['parameters'] / 1e6:.1f} M parameters in float16; labels "
        f"{', '.join(LABEL_SETS[sidecar.labels].labels)}.",
        "## Features\n\n" + "\n".join(f"- {spec.describe()}" for spec in sidecar.features.values()),
        "## Data and licences\n\n"
        + "\n".join(f"- {text}" for text in licences)
        + "\n\nThe weights were fitted to non-commercial and research data: use them for research and private "
        "purposes, not commercially.",
        "## How it was trained\n\n"
        + "\n".join(
            f"- {name}: " + ", ".join(f"{value} {what}" for what, value in counts.items())
            for name, counts in record["data"].items()
        )
        + "\n\nNo corpus here has words, voice and face of one utterance. Voices and faces were put to MELD's lines by "
        "label, anew in each pass, and modalities taken away at random; so the gates learned that each modality "
        "carries emotion, and nothing of how they go together in life. Scores on such pairs are a sanity check and "
        f"are not quoted. The pass kept, {record['best_pass']} of {record['passes']}, has the best "
        f"{record['selection']}. Temperatures for each pattern of modalities were fitted on the same validation "
        f"dialogues: {', '.join(f'{k} {v:.2f}' for k, v in sidecar.temperature.items())}.\n\n"
        "![Losses and validation](record/loss.png)",
        "## Measured\n\n" + _table(scores) + "\n\n" + "\n".join(
            f"![{r['corpus']} {r['split']}](record/{path.with_suffix('.png').name})" for path, r in files
        ),
        "## Failures and limits\n\n"
        "- Fear and disgust are rare in MELD and the weakest classes; see the per-class column.\n"
        "- Voices were learned from acted speech of two sentences: real anger is quieter, and other rooms, "
        "microphones and accents were never heard.\n"
        "- Faces were learned from stills through the landmarker: it misses turned and small faces, and a talking "
        "mouth is not a still one.\n"
        "- English words only; scripted comedy is not your call. Confidence was calibrated on such data alone.",
        "## What must not be done with it\n\n"
        "EU AI Act, Art. 5(1)(f): inferring emotions of people at work or in education is forbidden, but for medical "
        "or safety reasons. Art. 50(3): people exposed to it must be told. Decide nothing about a person by it.",
        "## Make it again\n\nconfigs/train/sdt_live.yaml holds the command; commit "
        f"{record['commit']}, {record['finished']}, torch {record['torch']}, seed {record['run']['seed']}.",
    ]
    return "\n\n".join(sections) + "\n"


def _table(scores: list[dict[str, Any]]) -> str:
    rows = [
        "| corpus | split | modalities | prior | n | left out | weighted F1 | macro F1 | accuracy | UAR | ECE | by class |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for s in scores:
        shares = " | ".join(f"{100 * s[name]:.1f}" for name in ("weighted_f1", "macro_f1", "accuracy", "uar", "ece"))
        classes = ", ".join(f"{label} {100 * value:.0f}" for label, value in s["per_class_f1"].items())
        rows.append(
            f"| {s['corpus']} | {s['split']} | {'+'.join(s['modalities_used'])} | {s['prior']} | {s['n']} | "
            f"{s['left_out']} | {shares} | {classes} |"
        )
    return "\n".join(rows)
