"""`python -m train extract | fit | eval | card | text`: options are the fields of a dataclass, configs YAML of them.

Exit codes are those of core_models/errors.py.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

# OpenMP's threads spin when they wait, which costs most of both cores as soon as anything else runs on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GLOG_minloglevel", "2")

from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings
from rich.console import Console

from core_models.errors import Exit, TrackerError, UsageError
from core_models.sdt import SDTConfig
from train.card import CardConfig, write_card
from train.evaluate import EvalConfig, evaluate, tell
from train.extract import ExtractConfig, extract_corpus
from train.fit import FitConfig, fit
from train.text import TextConfig, fit_text


def _fit(config: FitConfig) -> None:
    fit(config)


def _evaluate(config: EvalConfig) -> None:
    tell(evaluate(config), config)


def _text(config: TextConfig) -> None:
    fit_text(config)


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], None], str]] = {
    "extract": (ExtractConfig, extract_corpus, "Compute a corpus's features with the live feature code."),
    "fit": (FitConfig, _fit, "Train a dialogue model."),
    "eval": (EvalConfig, _evaluate, "Score a checkpoint on a corpus."),
    "card": (CardConfig, write_card, "Write a checkpoint's model card."),
    "text": (TextConfig, _text, "Teach a sentence encoder emotion."),
}


def parser() -> ArgumentParser:
    """The command line: a subcommand for each of COMMANDS, which `--config FILE` fills from a YAML."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    top = ArgumentParser(prog="python -m train", description=__doc__, exit_on_error=False)
    commands = top.add_subcommands(dest="command")
    for name, (fields, _, summary) in COMMANDS.items():
        command = ArgumentParser(description=summary, exit_on_error=False)
        command.add_argument("--config", action="config", help="YAML with any of the options below.")
        if fields is FitConfig:
            command.add_class_arguments(SDTConfig, "model", skip={"dimensions", "classes"}, instantiate=False)
        command.add_class_arguments(fields, skip={"model"} if fields is FitConfig else None)
        commands.add_subcommand(name, command, help=summary)
    return top


def configuration(arguments: Sequence[str]) -> tuple[str, Any]:
    """(subcommand, its dataclass) of a command line. Raises UsageError; SystemExit after --help."""
    top = parser()
    try:
        parsed = top.parse_args(list(arguments))
        name = parsed.command
        own: Namespace = parsed[name]
        model = own.model.as_dict() if "model" in own and name == "fit" else None
        made = top.instantiate(parsed)[name]
    except (ArgumentError, ValueError, TypeError) as error:
        sentence = " ".join(str(error).split())
        raise UsageError(f"{sentence.rstrip('.')}; see `python -m train --help`.") from None
    values = {key: value for key, value in vars(made).items() if key not in ("config", "model")}
    if model is not None:
        values["model"] = model
    return name, COMMANDS[name][0](**values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of `core_models.errors.Exit`."""
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    try:
        name, config = configuration(sys.argv[1:] if arguments is None else arguments)
        COMMANDS[name][1](config)
    except TrackerError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True)
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
