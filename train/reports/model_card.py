"""A checkpoint's model card, from its training record and from what `eval` measured: `python -m train card`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core_models.checkpoint import WEIGHTS, Checkpoint, load, locate
from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.labels import LABEL_SETS
from core_models.text_adapter import load_adapter
from train.data.config import CLIPS
from train.evaluation.results import SCORES, STAMP, Result, read_results
from train.figures.evaluation_figures import draw_confusion, part_title
from train.figures.loss_curves import draw_losses
from train.reports.model_card_texts import FORBIDDEN, LICENCES, LIMITS, LIMITS_OF, MODELS, PAIRED, STILLS
from train.reports.recorded_results import read_recorded
from train.reports.results_table import TITLES

# Labels of each benchmark's time; "all" is its `p50_ms` and `p95_ms`.
TIMES = {
    "bench_latency": {
        "all": "end of speech to `emotion.final`",
        "endpoint_to_final_ms": "of it after the endpoint was decided",
        "first_provisional_ms": "start of speech to the first `emotion.provisional`",
    },
    "bench_perception": {
        "all": "an utterance's words, features and fusion",
        "asr": "of it words",
        "features": "of it features of text and voice",
        "fusion": "of it the dialogue model",
    },
}


@dataclass(frozen=True)
class CardConfig:
    """Which checkpoint gets a card."""

    checkpoint: str = "default"
    """Name of a checkpoint that ships, or a folder."""


def write_card(config: CardConfig) -> None:
    """Write CARD.md into the checkpoint's folder, with the figures of every `record/eval_*.json` in it.

    Those files are what `python -m train eval ... --json FILE` wrote, and `--figures` beside them. Raises
    CheckpointError for one that measured other weights or lacks a figure, DiskError.
    """
    checkpoint, folder = load(config.checkpoint), locate(config.checkpoint)
    record = folder / "record"
    results: dict[str, Result] = {}
    for path in sorted(record.glob("eval_*.json")):
        results[path.stem] = _describe_result(path, checkpoint)
    try:
        figures = {stem: _list_figures(stem, result, record) for stem, result in results.items()}
        losses = _draw_losses(checkpoint, record)
        text = card_text(checkpoint, results, figures, losses, read_recorded(folder)[1])
        (folder / "CARD.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiskError(f"The card cannot be written to {folder} ({error.strerror}): free space there.") from None


def _describe_result(path: Path, checkpoint: Checkpoint) -> Result:
    try:
        (result,) = read_results(path)
    except (UsageError, ValueError):
        raise CheckpointError(f"{path} is no result of `python -m train eval` of one checkpoint: remove it.") from None
    if result.digest != checkpoint.digest:
        raise CheckpointError(
            f"{path.name} measured weights {result.digest[:8]}, the checkpoint holds {checkpoint.digest[:8]}: run "
            "that evaluation again."
        )
    return result


def _list_figures(stem: str, result: Result, record: Path) -> tuple[str, ...]:
    """Names of the result's figures in `record`; the confusion matrix is drawn here."""
    confusion = f"{stem}_confusion.png"
    draw_confusion(result, record / confusion)
    names = (confusion, *(name for name in result.figures if name != confusion))
    for name in names:
        if not (record / name).is_file():
            raise CheckpointError(f"{record} lacks {name}: run that evaluation again with --figures {record}.")
    return names


def _draw_losses(checkpoint: Checkpoint, record: Path) -> bool:
    """Draw the curves of the run where its history was kept."""
    kept = record / "history.jsonl"
    if not kept.is_file():
        return False
    history = [json.loads(row) for row in kept.read_text(encoding="utf-8").splitlines()]
    written = checkpoint.sidecar.record
    draw_losses(history, int(written["best_pass"]), written.get("select_on", "validation"), record / "loss.png")
    return True


def card_text(
    checkpoint: Checkpoint,
    results: dict[str, Result],
    figures: dict[str, tuple[str, ...]],
    losses: bool,
    benches: dict[str, dict[str, Any]],
) -> str:
    """The card as Markdown; `results`, `figures` and `benches` by the stem of the results' files in `record`."""
    parts = [
        _describe_model(checkpoint),
        _describe_data(checkpoint),
        _describe_training(checkpoint, losses),
        _table_numbers(checkpoint, results),
        *(_table_breakdowns(result) for result in results.values() if result.breakdown),
        *(_embed_figures(figures[stem]) for stem in results),
        *_describe_benches(benches),
        _describe_limits(checkpoint),
        FORBIDDEN,
        _describe_command(checkpoint),
    ]
    return "\n\n".join(parts) + "\n"


def _describe_model(checkpoint: Checkpoint) -> str:
    sidecar = checkpoint.sidecar
    labels = ", ".join(LABEL_SETS[sidecar.labels].labels)
    seen = (
        f"causal: emotions of the utterances of a dialogue ({labels}), one by one, each from up to {sidecar.window} "
        "utterances"
        if checkpoint.model.config.causal
        else f"in both directions: emotions of the utterances of a whole dialogue ({labels})"
    )
    imported = any(spec.settings.get("imported") for spec in sidecar.features.values())
    stamp = f"**{STAMP}: the pass was chosen by its test score.**\n\n" if _on_test(checkpoint) else ""
    size = f"{sidecar.record.get('parameters', 0):,} parameters in float16, digest {checkpoint.digest[:12]}"
    return (
        f"# {checkpoint.name}\n\n{stamp}"
        f"{MODELS.get(sidecar.model, sidecar.model)}, {seen}, from {_join_words(sidecar.features)} as far as they are "
        f"there. {size}. It runs on "
        f"these features and refuses others{' (live runs do not make the imported ones)' if imported else ''}:\n\n"
        + "\n".join(f"- {spec.describe()}" for spec in sidecar.features.values())
    )


def _join_words(modalities: object) -> str:
    named = [{"text": "words"}.get(str(m), str(m)) for m in modalities]  # type: ignore[attr-defined]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _on_test(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.sidecar.record.get("select_on") == "test")


def _describe_corpora(checkpoint: Checkpoint) -> list[str]:
    """Names of the corpora whose owners' terms bind it, those behind its start and its text adapter too."""
    record = checkpoint.sidecar.record
    data = list(dict.fromkeys([*record.get("data", {}), *record.get("start", {}).get("corpora", ())]))
    text = checkpoint.sidecar.features.get("text")
    if text is None or text.settings.get("adapter", "none") == "none":
        return data
    return list(dict.fromkeys([*data, *_list_adapter_corpora(str(text.settings["adapter"]))]))


def _list_adapter_corpora(adapter: str) -> list[str]:
    """Names of the corpora that a text adapter which ships was trained on; GoEmotions where it is not at hand."""
    if not (WEIGHTS / adapter).is_dir():
        return ["goemotions"]  # every adapter of this project has read it
    return [name.split()[0] for name in load_adapter(WEIGHTS / adapter)[0].record.get("lines", {"goemotions": 0})]


def _describe_data(checkpoint: Checkpoint) -> str:
    data = checkpoint.sidecar.record.get("data", {})
    lines = [
        f"- {LICENCES.get(name, name)}"
        + (f" Used: {', '.join(f'{n} {what}' for what, n in data[name].items())}." if name in data else "")
        for name in _describe_corpora(checkpoint)
    ]
    return (
        "## Data and licences\n\n" + "\n".join(lines) + "\n\nThe strictest of these licences bind whoever uses the "
        "weights: research and private use, not commercial. No text, sound or picture of the corpora is in them."
    )


def _describe_training(checkpoint: Checkpoint, losses: bool) -> str:
    record, features = checkpoint.sidecar.record, checkpoint.sidecar.features
    lent = _list_lenders(record)
    kept = (
        f"## Training\n\nPass {record.get('best_pass')} of {record.get('passes')} was kept, by "
        f"{record.get('selection')} ({record.get('selection_score')})."
    )
    validation = record.get("run", {}).get("data", {}).get("validation")
    if not _on_test(checkpoint):
        kept += (
            " Validation is whole dialogues drawn from the training part; its dev and test parts were not looked at."
            if validation is None
            else f" Validation is {validation}: scores on it below are those of the pass that it chose."
        )
    parts = [kept]
    start = record.get("start")
    if start is not None:
        parts.append(
            f"It went on from checkpoint {start['name']}, digest {start['digest'][:12]}, which is its pass 0; what the "
            "new dialogues cannot calibrate is calibrated as it was there."
        )
    if len(features) > 1 and {"ravdess", "fer2013"} & set(_describe_corpora(checkpoint)):
        parts.append(PAIRED.format(how=_describe_pairing(record.get("run", {}).get("mixture", {}))))
        if "fer2013" in _describe_corpora(checkpoint):
            parts.append(STILLS)
    if checkpoint.sidecar.temperature:
        fitted = ", ".join(f"{pattern} {value:.2f}" for pattern, value in checkpoint.sidecar.temperature.items())
        parts.append(f"Temperatures, fitted on the dialogues that chose the pass: {fitted}.")
    if checkpoint.sidecar.abstain:
        parts.append(
            f"Below a confidence of {checkpoint.sidecar.abstain:.2f} a live run says that it is uncertain: from there "
            f"on two of three are right on those dialogues{', as they are, without clips put to them' if lent else ''}."
        )
    if len(features) > 1 and isinstance(record.get(part := record.get("select_on", "validation")), dict):
        parts.append(_table_patterns(record[part], lent))
    if losses:
        parts.append("![losses and scores, pass by pass](record/loss.png)")
    return "\n\n".join(parts)


def _describe_pairing(mixture: dict[str, Any]) -> str:
    """How clips were put to lines."""
    mismatch = mixture.get("mismatch") or {}
    told = [f"{100 * share:.0f}% of the {modality}s" for modality, share in mismatch.items() if share]
    how = "each of the line's own label"
    if told:
        how += f", but for {' and '.join(told)}, of a label drawn at random"
    if plain := mixture.get("plain_words"):
        how += f"; {100 * plain:.0f}% of the lines with a voice or a face had a neutral line's words in place of theirs"
    return how


def _list_lenders(record: dict[str, Any]) -> list[str]:
    """Corpora of single clips whose voices or faces were put to the dialogues, which a record names first."""
    return [name for name in list(record.get("data", {}))[1:] if name in CLIPS]


def _table_patterns(scores: dict[str, Any], lent: list[str]) -> str:
    """Each set of modalities beside the best single one in it: a missing modality must not make it worse than that.

    lent: corpora whose clips were put to the dialogues; without any, each utterance has its own voice and face.
    """
    accuracy = "accuracy on pairs" if lent else "accuracy"
    table = [f"| modalities | {accuracy} | best of them alone | ECE |", "|---|---|---|---|"]
    for pattern, found in scores.items():
        if pattern.endswith(" clips"):
            continue
        alone = max(scores[one]["accuracy"] for one in pattern.split("+"))
        table.append(
            f"| {pattern} | {_to_percent(found['accuracy'])} | {_to_percent(alone)} | {_to_percent(found['ece'])} |"
        )
    told = (
        "With modalities missing, on held-out dialogues with held-out clips put to them by label (a sanity check, no "
        "accuracy):"
        if lent
        else "With modalities missing, on the held-out dialogues, whose turns have these modalities of their own:"
    )
    return told + "\n\n" + "\n".join(table)


def _describe_benches(benches: dict[str, dict[str, Any]]) -> list[str]:
    """Sections on what was measured of the live run with this checkpoint."""
    parts = []
    restraint = benches.get("bench_restraint")
    if restraint is not None:
        rows = [
            f"| {Path(place).name} | {60 * one['hours']:.1f} | {one['finals']} | "
            + (f"{_to_percent(one['neutral'])} | {_to_percent(one['uncertain'])}" if one["finals"] else "- | -")
            + f" | {one['strong']} | {one['strong_per_hour']:.0f} |"
            for place, one in restraint["sounds"].items()
        ]
        heads = ("sound", "minutes with pauses", "judged", "neutral", "uncertain", "strong emotions", "an hour")
        head = f"| {' | '.join(heads)} |\n" + "|---" * len(heads) + "|"
        parts.append(
            "## Restraint\n\nSound in which nobody feels anything strongly, through the live pipeline (`python -m "
            f"realtime.bench restraint`); strong is not neutral with a confidence of {restraint['strong_from']} or "
            "more.\n\n" + "\n".join([head, *rows])
        )
    if rows := _describe_times(benches):
        head = "| what, ms | median | p95 | by |\n|---|---|---|---|"
        parts.append(
            "## Time\n\nReal clips of 1 to 10 s; for `latency` they are a call that is played in real time.\n\n"
            + "\n".join([head, *rows])
        )
    return parts


def _describe_times(benches: dict[str, dict[str, Any]]) -> list[str]:
    rows = []
    for stem, told in TIMES.items():
        bench = benches.get(stem)
        if bench is None:
            continue
        found = {**bench, **next(iter(bench.get("models", {}).values()), {})}
        found["all"] = {"p50": found["p50_ms"], "p95": found["p95_ms"]}
        machine = bench["machine"]
        by = f"`realtime.bench {bench['benchmark']}`, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}"
        rows += [f"| {what} | {found[k]['p50']:.0f} | {found[k]['p95']:.0f} | {by} |" for k, what in told.items()]
    return rows


def _table_numbers(checkpoint: Checkpoint, results: dict[str, Result]) -> str:
    if not results:
        return "## Numbers\n\nNone measured yet."
    heads = ["corpus", "modalities", "prior", "n", *(TITLES[name] for name in SCORES), "left out", "with them"]
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    labels = LABEL_SETS[checkpoint.sidecar.labels].labels
    per_class = [f"| F1 | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for r in results.values():
        left_out = ", ".join(f"{n} {why}" for why, n in r.left_out.items()) or "none"
        modalities = ", ".join(r.modalities_used)
        cells = [part_title(r), modalities, r.prior, str(r.n), *(_to_percent(getattr(r, name)) for name in SCORES)]
        table.append(f"| {' | '.join([*cells, left_out, _to_percent(r.accuracy_left_out_as_errors)])} |")
        values = " | ".join(_to_percent(r.per_class_f1[label]) for label in labels)
        per_class.append(f"| {part_title(r)} {modalities}, prior: {r.prior} | {values} |")
    maps = sorted({f"{r.corpus}: {r.label_map}" for r in results.values() if r.label_map != "own"})
    return "\n\n".join(
        [
            "## Numbers",
            "Percent. `prior`: `checkpoint` keeps the class frequencies that the model learnt, `uniform` takes them "
            "out, `train` puts those of the corpus's own training part in their place. `left out`: utterances that "
            "were not scored; `with them`: accuracy if those in which nothing was found counted as wrong.",
            "\n".join(table),
            "\n".join(per_class),
            *([f"Label maps: {'. '.join(maps)}."] if maps else []),
        ]
    )


def _to_percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table_breakdowns(result: Result) -> str:
    """The result's breakdowns, and what another checkpoint had on the same utterances."""
    rows = ["| part | n | weighted F1 | accuracy | UAR |", "|---|---|---|---|---|"]
    for kind, breakdown in result.breakdown.items():
        for name, p in breakdown.parts.items():
            part = f"missing {name}" if kind == "missing" else name
            scores = " | ".join(_to_percent(value) for value in (p.weighted_f1, p.accuracy, p.uar))
            rows.append(f"| {part} | {p.n} | {scores} |")
    notes = [f"{name}: {breakdown.protocol}." for name, breakdown in result.breakdown.items()]
    title = f"### {part_title(result)}, {', '.join(result.modalities_used)}, apart"
    parts = [title, "\n".join(rows), "\n".join(f"- {note}" for note in notes)]
    other = result.against
    if other is not None:
        low, high = other.interval["weighted_f1"]
        parts.append(
            f"On the same {other.n} utterances {other.checkpoint} ({other.context}) has a weighted F1 of "
            f"{_to_percent(other.there.weighted_f1)}: a difference of {100 * other.difference['weighted_f1']:+.1f}, "
            f"95% interval {100 * low:+.1f} to {100 * high:+.1f} (paired bootstrap over dialogues)."
        )
    return "\n\n".join(parts)


def _embed_figures(names: tuple[str, ...]) -> str:
    return "\n".join(f"![{name.removesuffix('.png').replace('_', ' ')}](record/{name})" for name in names)


def _describe_limits(checkpoint: Checkpoint) -> str:
    lines = [LIMITS_OF[name] for name in _describe_corpora(checkpoint) if name in LIMITS_OF]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in [*lines, *LIMITS])


def _describe_command(checkpoint: Checkpoint) -> str:
    record = checkpoint.sidecar.record
    run = record.get("run", {})
    return (
        "## Made again\n\n"
        "The header of the config in `configs/train` is the command. "
        f"Run `{run.get('name')}`, seed {run.get('seed')}, commit {record.get('commit')}, torch {record.get('torch')}, "
        f"{record.get('finished')}; every setting stands in `sidecar.json`, every pass in `record/history.jsonl`."
    )
