"""`python -m train COMMAND`: extract features, train a model, score it, and write down what was measured.

Options are a dataclass's fields, configs YAML. Exit codes are those of core_models/errors.py.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# OpenMP's threads spin when they wait, which costs most of both cores as soon as anything else runs on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GLOG_minloglevel", "2")

import yaml  # type: ignore[import-untyped]
from jsonargparse import ArgumentParser, Namespace

from core_models.command_line.options import build_parser, read_options
from core_models.command_line.run import choose_command, run_cli
from core_models.errors import UsageError

_PROGRAM = "python -m train"


class Command(NamedTuple):
    """A subcommand: its line in `--help`, and how to load it as (dataclass of its options, what it does)."""

    summary: str
    load: Callable[[], tuple[type[Any], Callable[[Any], object]]]


# Each command's modules load when it is asked for: all of them together took 9 s of CPU before `--help` could answer.


def _load_extract() -> tuple[type[Any], Callable[[Any], object]]:
    from train.extraction.extract import ExtractConfig, extract_corpus

    return ExtractConfig, extract_corpus


def _load_fit() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.dialogue.config import FitConfig
    from train.recipes.dialogue.fit import fit

    return FitConfig, fit


def _load_eval() -> tuple[type[Any], Callable[[Any], object]]:
    from train.evaluation.evaluate import EvalConfig, evaluate
    from train.figures.evaluation_figures import draw_figures
    from train.reports.console import show_result

    return EvalConfig, lambda config: show_result(evaluate(config, draw_figures), config.json)


def _load_numbers() -> tuple[type[Any], Callable[[Any], object]]:
    from train.reports.recorded_results import RecordedConfig, print_recorded

    return RecordedConfig, print_recorded


def _load_table() -> tuple[type[Any], Callable[[Any], object]]:
    from train.reports.results_table import TableConfig, write_table

    return TableConfig, write_table


def _load_papers() -> tuple[type[Any], Callable[[Any], object]]:
    from train.reports.paper_tables import PapersConfig, print_comparison

    return PapersConfig, print_comparison


def _load_card() -> tuple[type[Any], Callable[[Any], object]]:
    from train.reports.model_card import CardConfig, write_card

    return CardConfig, write_card


def _load_text() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.text.config import TextConfig
    from train.recipes.text.fit import fit_text

    return TextConfig, fit_text


def _load_words() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.words.config import WordsConfig
    from train.recipes.words.fit import fit_words

    return WordsConfig, fit_words


def _load_voice() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.voice.fit import VoiceTraining, train_voice

    return VoiceTraining, train_voice


def _load_mced() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.mced.fit import MCEDConfig, fit_mced

    return MCEDConfig, fit_mced


def _load_tdfnet() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.tdfnet.config import TDFNetTraining
    from train.recipes.tdfnet.fit import fit_tdfnet

    return TDFNetTraining, fit_tdfnet


def _load_face() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.face.fit import FaceConfig, fit_face

    return FaceConfig, fit_face


def _load_bench() -> tuple[type[Any], Callable[[Any], object]]:
    from train.recipes.dialogue.throughput import ThroughputConfig, bench

    return ThroughputConfig, bench


COMMANDS: dict[str, Command] = {
    "extract": Command("Compute a corpus's features with the live feature code.", _load_extract),
    "fit": Command("Train a dialogue model.", _load_fit),
    "eval": Command("Score checkpoints on a corpus.", _load_eval),
    "numbers": Command("Print what was measured of checkpoints that ship.", _load_numbers),
    "table": Command("Make one table of many results.", _load_table),
    "papers": Command("Put results beside the papers' own numbers.", _load_papers),
    "card": Command("Write a checkpoint's model card.", _load_card),
    "text": Command("Fine-tune a sentence encoder on emotion (LoRA).", _load_text),
    "words": Command("Tune a sentence encoder whole over many corpora in one pass.", _load_words),
    "voice": Command("Train the voice head: cross-validation by speaker, then on all clips.", _load_voice),
    "mced": Command("Train MCED: the text teacher, distillation to the voice student, fine-tuning.", _load_mced),
    "tdfnet": Command("Train and test TDFNet on folds of a corpus.", _load_tdfnet),
    "face": Command("Train the expression network on FER-2013.", _load_face),
    "bench": Command("Time the training of paper-size SDT.", _load_bench),
}

# Options that take several values without brackets, by the command that has them.
_CHECKPOINT = "Checkpoints that ship, by name, or folders, a text adapter's too; several are the seeds of one run."
_RESULTS = "Files that eval --json wrote, or folders."
_PRESET = (
    "SDT as its text has it (paper) or as its authors' program has it (program): other defaults of network, objective, "
    "optimiser and batches (train/README.md has the table); whatever else is given comes first."
)
_AGAINST = "Checkpoints to compare with, one for each of --checkpoint."
_SEVERAL: dict[str, dict[str, dict[str, Any]]] = {
    "eval": {
        "--checkpoint": {"default": ["default"], "metavar": "NAME|PATH", "help": _CHECKPOINT},
        "--against": {"default": [], "metavar": "NAME|PATH", "help": _AGAINST},
    },
    "numbers": {"--checkpoint": {"default": ["default"], "metavar": "NAME|PATH", "help": _CHECKPOINT}},
    "table": {"results": {"type": Path, "help": _RESULTS}},
    "papers": {"results": {"type": Path, "help": _RESULTS}},
}


def build_command_parser(
    name: str,
    fields: type[Any],
    system_name: str = "sdt",
    start: str | None = None,
    preset: Mapping[str, Any] | None = None,
) -> ArgumentParser:
    """The parser of one of COMMANDS, whose options are `fields`, and which `--config FILE` fills from a YAML.

    `fit` has the options of that system's model and objective; their defaults are those of `preset`, and what the
    checkpoint `start` decides.
    Raises UsageError, CheckpointError.
    """
    parser = build_parser(f"{_PROGRAM} {name}", COMMANDS[name].summary)
    several = _SEVERAL.get(name, {})
    skipped = {option.lstrip("-") for option in several}
    for option, described in several.items():
        parser.add_argument(option, nargs="+", **described)
    defaults: dict[str, Any] = {}
    if name == "fit":
        # They bring torch and both networks, which no other command's options need.
        from train.recipes.dialogue.systems import DECIDED_BY_DATA, system
        from train.recipes.dialogue.warm_start import open_start, settings_of

        chosen = system(system_name)
        parser.add_class_arguments(chosen.config, "model", skip=set(DECIDED_BY_DATA), instantiate=False)
        parser.add_class_arguments(chosen.objective, "objective", instantiate=False)
        parser.add_argument("--preset", metavar="{paper,program}", help=_PRESET)
        skipped = {"model", "objective"}
        defaults = dict(preset or {})
        if start is not None:
            defaults |= settings_of(open_start(start, chosen.name))
    parser.add_class_arguments(fields, skip=skipped)
    parser.set_defaults(defaults)
    return parser


def configuration(arguments: Sequence[str]) -> tuple[str, Any]:
    """(subcommand, its dataclass) of a command line. Raises UsageError; SystemExit after --help.

    `eval` that names no corpus prints what was measured before, as `numbers` does.
    """
    commands = {name: command.summary for name, command in COMMANDS.items()}
    name, given = choose_command(_PROGRAM, __doc__ or "", commands, arguments)
    if name == "eval" and not any(one.startswith(("--co", "--root", "-h", "--help")) for one in given):
        name = _choose_scoring(given)
    fields, _ = COMMANDS[name].load()
    if name == "fit":
        from train.recipes.dialogue.presets import choose_preset

        chosen, preset = _find_named("system", given) or "sdt", _find_named("preset", given)
        defaults = {} if preset is None else choose_preset(preset, _find_named("data.train.corpus", given), chosen)
        parser = build_command_parser(name, fields, chosen, _find_named("start", given), defaults)
    else:
        parser = build_command_parser(name, fields)
    made = read_options(parser, given)
    plain = {
        part: made[part].as_dict() if isinstance(made[part], Namespace) else made[part]
        for part in ("model", "objective")
        if name == "fit"
    }
    values = {key: value for key, value in vars(made).items() if key not in ("config", "preset")}
    return name, fields(**values | plain)


def _choose_scoring(given: Sequence[str]) -> str:
    """`numbers` for an `eval` without a corpus that has no option but those of `numbers`, else `eval`.

    Raises UsageError where an option says how to score, but there is nothing to be scored.
    """
    recorded = {field.name for field in dataclasses.fields(COMMANDS["numbers"].load()[0])}
    typed = [word.partition("=")[0] for word in given if word.startswith("--")]
    others = [word for word in typed if _field_of(word) not in {*recorded, "version", "print_config"}]
    if not others:
        return "numbers"
    scoring = {field.name for field in dataclasses.fields(COMMANDS["eval"].load()[0])}
    if _field_of(others[0]) in scoring:
        raise UsageError(f"{others[0]} says how to score, but the corpus is missing: add --corpus NAME --root FOLDER.")
    return "eval"


def _field_of(option: str) -> str:
    return option.removeprefix("--").partition(".")[0].replace("-", "_")


# Stands for a key that a config does not have, which null is not.
_MISSING = object()


def _find_named(key: str, arguments: Sequence[str]) -> str | None:
    """What a command line of `fit` names as `key` (data.train.corpus), itself or in its configs; the last wins."""
    found = None
    for option, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = option.partition("=")
        value = value if equals else following
        if name == f"--{key}":
            found = None if value == "null" else value
        elif name == "--config":
            with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):  # the parser says it better
                read = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
                for part in key.split("."):
                    read = read.get(part, _MISSING) if isinstance(read, dict) else _MISSING
                found = found if read is _MISSING else read
    return None if found is None else str(found)


def _run_command(arguments: Sequence[str]) -> None:
    name, config = configuration(arguments)
    COMMANDS[name].load()[1](config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of `core_models.errors.Exit`."""
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    return run_cli(
        lambda: _run_command(sys.argv[1:] if arguments is None else arguments),
        interrupted="Interrupted: what was finished is kept; run the same command again (fit: with --resume true).",
    )


if __name__ == "__main__":
    sys.exit(main())
