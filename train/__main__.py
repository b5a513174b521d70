"""`python -m train extract | fit | eval | numbers | table | card | text | voice | mced | tdfnet | face | bench`.

Options are a dataclass's fields, configs YAML. Exit codes are those of core_models/errors.py.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# OpenMP's threads spin when they wait, which costs most of both cores as soon as anything else runs on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GLOG_minloglevel", "2")

import yaml  # type: ignore[import-untyped]
from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings
from rich.console import Console

from core_models.errors import Exit, TrackerError, UsageError
from train.evaluation.evaluate import EvalConfig, evaluate
from train.extraction.extract import ExtractConfig, extract_corpus
from train.figures.evaluation_figures import draw
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.fit import fit
from train.recipes.dialogue.systems import DECIDED_BY_DATA, system
from train.recipes.dialogue.throughput import ThroughputConfig, bench
from train.recipes.dialogue.warm_start import open_start, settings_of
from train.recipes.face.fit import FaceConfig, fit_face
from train.recipes.mced.fit import MCEDConfig, fit_mced
from train.recipes.tdfnet.fit import TDFNetTraining, fit_tdfnet
from train.recipes.text.config import TextConfig
from train.recipes.text.fit import fit_text
from train.recipes.voice.fit import VoiceTraining, train_voice
from train.reports.console import tell
from train.reports.model_card import CardConfig, write_card
from train.reports.recorded_results import RecordedConfig, print_recorded
from train.reports.results_table import TableConfig, write_table


def _fit(config: FitConfig) -> None:
    fit(config)


def _evaluate(config: EvalConfig) -> None:
    tell(evaluate(config, draw), config.json)


def _text(config: TextConfig) -> None:
    fit_text(config)


def _tdfnet(config: TDFNetTraining) -> None:
    fit_tdfnet(config)


def _face(config: FaceConfig) -> None:
    fit_face(config)


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], None], str]] = {
    "extract": (ExtractConfig, extract_corpus, "Compute a corpus's features with the live feature code."),
    "fit": (FitConfig, _fit, "Train a dialogue model."),
    "eval": (EvalConfig, _evaluate, "Score checkpoints on a corpus."),
    "numbers": (RecordedConfig, print_recorded, "Tell what was measured of checkpoints that ship."),
    "table": (TableConfig, write_table, "Make one table of many results."),
    "card": (CardConfig, write_card, "Write a checkpoint's model card."),
    "text": (TextConfig, _text, "Teach a sentence encoder emotion."),
    "voice": (VoiceTraining, train_voice, "Teach a voice emotion: fold by fold, then the head that ships."),
    "mced": (MCEDConfig, fit_mced, "Teach a voice from words: MCED's teacher, distillation and fine-tuning."),
    "tdfnet": (TDFNetTraining, _tdfnet, "Train and test TDFNet on folds of a corpus."),
    "face": (FaceConfig, _face, "Teach an expression network FER-2013's faces."),
    "bench": (ThroughputConfig, bench, "Time the training of paper-size SDT."),
}

# Options that take several values without brackets.
_CHECKPOINT = "Checkpoints that ship, by name, or folders, a text adapter's too; several are the seeds of one run."
_AGAINST = "Checkpoints to compare with, one for each of --checkpoint."


def parser(system_name: str = "sdt", start: str | None = None) -> ArgumentParser:
    """The command line: a subcommand for each of COMMANDS, which `--config FILE` fills from a YAML.

    `fit` has the options of that system's model and objective; what the checkpoint `start` decides is their default.
    Raises UsageError, CheckpointError.
    """
    chosen = system(system_name)
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    top = ArgumentParser(prog="python -m train", description=__doc__, exit_on_error=False)
    commands = top.add_subcommands(dest="command")
    for name, (fields, _, summary) in COMMANDS.items():
        command = ArgumentParser(description=summary, exit_on_error=False)
        command.add_argument("--config", action="config", help="YAML with any of the options below.")
        if fields is FitConfig:
            command.add_class_arguments(chosen.config, "model", skip=set(DECIDED_BY_DATA), instantiate=False)
            command.add_class_arguments(chosen.objective, "objective", instantiate=False)
        skipped = {"model", "objective"} if fields is FitConfig else set[str]()
        if fields is EvalConfig:
            skipped = {"checkpoint", "against"}
            command.add_argument("--checkpoint", nargs="+", default=["default"], metavar="NAME|PATH", help=_CHECKPOINT)
            command.add_argument("--against", nargs="+", default=[], metavar="NAME|PATH", help=_AGAINST)
        if fields is RecordedConfig:
            skipped = {"checkpoint"}
            command.add_argument("--checkpoint", nargs="+", default=["default"], metavar="NAME|PATH", help=_CHECKPOINT)
        if fields is TableConfig:
            skipped = {"results"}
            command.add_argument("results", nargs="+", type=Path, help="Files that eval --json wrote, or folders.")
        command.add_class_arguments(fields, skip=skipped)
        if fields is FitConfig and start is not None:
            command.set_defaults(settings_of(open_start(start, chosen.name)))
        commands.add_subcommand(name, command, help=summary)
    return top


def configuration(arguments: Sequence[str]) -> tuple[str, Any]:
    """(subcommand, its dataclass) of a command line. Raises UsageError; SystemExit after --help.

    `eval` that names no corpus tells what was measured before, as `numbers` does.
    """
    if arguments[:1] == ["eval"] and not any(one.startswith(("--co", "--root", "-h", "--help")) for one in arguments):
        arguments = ["numbers", *arguments[1:]]
    top = parser(_named("system", arguments) or "sdt", _named("start", arguments))
    try:
        parsed = top.parse_args(list(arguments))
        name = parsed.command
        own: Namespace = parsed[name]
        plain = {part: own[part].as_dict() for part in ("model", "objective") if name == "fit"}
        made = top.instantiate(parsed)[name]
    except (ArgumentError, ValueError, TypeError) as error:
        sentence = " ".join(str(error).split())
        raise UsageError(f"{sentence.rstrip('.')}; see `python -m train --help`.") from None
    values = {key: value for key, value in vars(made).items() if key != "config"}
    return name, COMMANDS[name][0](**values | plain)


def _named(key: str, arguments: Sequence[str]) -> str | None:
    """What a command line of `fit` names as `key`, itself or in its configs, the last one winning."""
    found = None
    if "fit" not in arguments[:1]:
        return found
    for option, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = option.partition("=")
        value = value if equals else following
        if name == f"--{key}":
            found = None if value == "null" else value
        elif name == "--config":
            with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):  # the parser says it better
                read = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
                found = read.get(key, found) if isinstance(read, dict) else found
    return None if found is None else str(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of `core_models.errors.Exit`."""
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    try:
        name, config = configuration(sys.argv[1:] if arguments is None else arguments)
        COMMANDS[name][1](config)
    except TrackerError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        Console(stderr=True).print(
            "Interrupted: what was finished is kept; run the same command again (fit: with --resume true).",
            soft_wrap=True,
        )
        return Exit.INTERRUPTED
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
