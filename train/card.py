"""A checkpoint's model card, from its training record and from what `eval` measured: `python -m train card`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from core_models.checkpoint import Checkpoint, load, locate
from core_models.errors import CheckpointError, DiskError
from core_models.labels import LABEL_SETS
from train.evaluate import Result

LICENCES = {
    "meld": (
        "MELD (Poria et al., 2019): words, speakers and labels of dialogues from the television series Friends. The "
        "annotation is published under GPL-3.0; the dialogues belong to the owners of the series."
    ),
    "ravdess": (
        "RAVDESS (Livingstone and Russo, 2018): speech of professional actors, two sentences. CC BY-NC-SA 4.0: "
        "non-commercial."
    ),
    "fer2013": "FER-2013 (Goodfellow et al., 2013): grey 48x48 faces that were found on the web. For research.",
    "goemotions": ("GoEmotions (Demszky et al., 2020): comments on Reddit, by way of the text adapter. CC BY 4.0."),
}


@dataclass(frozen=True)
class CardConfig:
    """Which checkpoint gets a card."""

    checkpoint: str = "default"
    """Name of a checkpoint that ships, or a folder."""


def write_card(config: CardConfig) -> None:
    """Write CARD.md into the checkpoint's folder, and a confusion matrix for each `record/eval_*.json` in it.

    Those files are what `python -m train eval ... --json FILE` wrote. Raises CheckpointError for one that
    measured other weights, DiskError.
    """
    checkpoint, folder = load(config.checkpoint), locate(config.checkpoint)
    results: dict[str, Result] = {}
    for path in sorted((folder / "record").glob("eval_*.json")):
        try:
            result = msgspec.json.decode(path.read_bytes(), type=Result)
        except (OSError, msgspec.DecodeError) as error:
            raise CheckpointError(f"{path} is no result of `python -m train eval` ({error}): remove it.") from None
        if result.digest != checkpoint.digest:
            raise CheckpointError(
                f"{path.name} measured weights {result.digest[:8]}, the checkpoint holds {checkpoint.digest[:8]}: run "
                "that evaluation again."
            )
        results[path.stem] = result
    try:
        for name, result in results.items():
            draw_confusion(result, folder / "record" / f"{name}.png")
        (folder / "CARD.md").write_text(card(checkpoint, results), encoding="utf-8")
    except OSError as error:
        raise DiskError(f"The card cannot be written to {folder} ({error.strerror}): free space there.") from None


def card(checkpoint: Checkpoint, results: dict[str, Result]) -> str:
    """The card as Markdown; `results` by the stem of their files in `record`."""
    return (
        "\n\n".join(
            [
                _what(checkpoint),
                _data(checkpoint),
                _training(checkpoint),
                _numbers(checkpoint, results),
                _LIMITS,
                _FORBIDDEN,
                _again(checkpoint),
            ]
        )
        + "\n"
    )


def _what(checkpoint: Checkpoint) -> str:
    sidecar = checkpoint.sidecar
    labels = ", ".join(LABEL_SETS[sidecar.labels].labels)
    return (
        f"# {checkpoint.name}\n\n"
        f"SDT (Ma et al., 2023), causal: emotions of the utterances of a dialogue ({labels}), one by one, each from up "
        f"to {sidecar.window} utterances, from words, voice and face as far as they are there. "
        f"{sidecar.record.get('parameters', 0):,} parameters in float16, digest {checkpoint.digest[:12]}. It runs on "
        "these features and refuses others:\n\n"
        + "\n".join(f"- {spec.describe()}" for spec in sidecar.features.values())
    )


def _data(checkpoint: Checkpoint) -> str:
    data = checkpoint.sidecar.record.get("data", {})
    text = checkpoint.sidecar.features.get("text")
    names = [*data, "goemotions"] if text is not None and text.settings.get("adapter") != "none" else list(data)
    lines = [
        f"- {LICENCES.get(name, name)}"
        + (f" Used: {', '.join(f'{n} {what}' for what, n in data[name].items())}." if name in data else "")
        for name in names
    ]
    return (
        "## Data and licences\n\n" + "\n".join(lines) + "\n\nThe strictest of these licences bind whoever uses the "
        "weights: research and private use, not commercial. No text, sound or picture of the corpora is in them."
    )


def _training(checkpoint: Checkpoint) -> str:
    record = checkpoint.sidecar.record
    text = (
        "## Training\n\n"
        f"Pass {record.get('best_pass')} of {record.get('passes')} was kept, by {record.get('selection')} "
        f"({record.get('selection_score')}). Validation is a tenth of MELD's training dialogues and of the stills, and "
        "RAVDESS actors of their own; dev splits and test actors were not looked at."
    )
    if len(checkpoint.sidecar.features) > 1:
        text += (
            "\n\nNo corpus here has words, voice and face of the same utterance. Voices and faces of the same label "
            "were put to MELD's lines at random, anew in each pass, and modalities were hidden at random, so that the "
            "gates learn that each carries emotion and that any may be missing. Scores on such pairs are a sanity "
            "check, not an accuracy, and are quoted nowhere: how far words, voice and face agree in life was not "
            "learned. The prior in every pattern is MELD's."
        )
    temperature = checkpoint.sidecar.temperature
    if temperature:
        fitted = ", ".join(f"{pattern} {value:.2f}" for pattern, value in temperature.items())
        text += f"\n\nTemperatures, fitted on validation: {fitted}."
    return text + "\n\n![losses and validation scores](record/loss.png)"


def _numbers(checkpoint: Checkpoint, results: dict[str, Result]) -> str:
    rows = [
        "## Numbers",
        "Percent. `prior` says whether the model's own class frequencies (MELD's: half neutral) were kept, or taken "
        "out for a corpus whose classes are about alike. `left out`: utterances that were not scored; `with them`: "
        "accuracy if those in which nothing was found counted as wrong.",
    ]
    table = [
        "| corpus | modalities | prior | n | weighted F1 | macro F1 | accuracy | UAR | ECE | left out | with them |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results.values():
        scores = (r.weighted_f1, r.macro_f1, r.accuracy, r.uar, r.ece)
        left_out = ", ".join(f"{n} {why}" for why, n in r.left_out.items()) or "none"
        table.append(
            f"| {r.corpus} {r.split} {r.subset or ''} | {', '.join(r.modalities_used)} | {r.prior} | {r.n} | "
            + " | ".join(f"{100 * value:.1f}" for value in scores)
            + f" | {left_out} | {100 * r.accuracy_left_out_as_errors:.1f} |"
        )
    rows.append("\n".join(table) if results else "None measured yet.")
    labels = LABEL_SETS[checkpoint.sidecar.labels].labels
    per_class = [f"| F1 | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for r in results.values():
        values = " | ".join(f"{100 * r.per_class_f1[label]:.1f}" for label in labels)
        per_class.append(f"| {r.corpus} {', '.join(r.modalities_used)}, prior: {r.prior} | {values} |")
    if results:
        rows.append("\n".join(per_class))
        rows.append("\n".join(f"![confusion, {name}](record/{name}.png)" for name in results))
    return "\n\n".join(rows)


_LIMITS = """## Limits

- Fear and disgust are rare in MELD and often missed; see their F1 before acting on them.
- Words are those of scripted American television comedy. Voices are acted, in two sentences, in a studio. Faces are
  posed or picked stills, seen through a landmarker that finds no face in some of them. Everyday speech, other
  languages, accents, ages, rooms and microphones were not measured; expect less.
- An emotion shown is not an emotion felt. The output is a guess about expression.
- Confidence was calibrated on the validation dialogues, with clips that were put to them, and nowhere else."""

_FORBIDDEN = """## What must not be done with it

- Inferring emotions of people at work or in education is forbidden in the European Union, but for medical or safety
  reasons (Regulation (EU) 2024/1689, Art. 5(1)(f)). People who are exposed to it must be told (Art. 50(3)).
- No decision about a person may rest on it: hiring, credit, insurance, policing, border control, diagnosis.
- No commercial use of the weights (see the licences above)."""


def _again(checkpoint: Checkpoint) -> str:
    record = checkpoint.sidecar.record
    run = record.get("run", {})
    return (
        "## Made again\n\n"
        "The header of the config in `configs/train` is the command. "
        f"Run `{run.get('name')}`, seed {run.get('seed')}, commit {record.get('commit')}, torch {record.get('torch')}, "
        f"{record.get('finished')}; every setting stands in `sidecar.json`, every pass in `record/history.jsonl`."
    )


def draw_confusion(result: Result, path: Path) -> None:
    """The confusion matrix as a PNG: rows the truth, each in shares of its class, with counts."""
    from matplotlib.figure import Figure

    shares = [[count / max(1, sum(row)) for count in row] for row in result.confusion]
    figure = Figure(figsize=(4.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(result.confusion):
        for j, count in enumerate(row):
            colour = "white" if shares[i][j] > 0.5 else "black"
            axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color=colour)
    ticks = range(len(result.labels))
    axes.set_xticks(ticks, result.labels, rotation=45, ha="right")
    axes.set_yticks(ticks, result.labels)
    title = f"{result.corpus} {result.split}: {' + '.join(result.modalities_used)}, prior: {result.prior}"
    axes.set_title(title, fontsize=8)
    axes.set(xlabel="predicted", ylabel="truth")
    figure.savefig(path, dpi=90)
