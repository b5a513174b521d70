"""`python -m train text | extract | fit | eval | card`: see `python -m train COMMAND --help`.

Exit codes are those of core_models/errors.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, set_parsing_settings
from rich.console import Console

from core_models.errors import Exit, TrackerError
from train.card import CardConfig, write_card
from train.corpora.fer2013 import read_fer2013
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess
from train.evaluate import EvalConfig, evaluate, show
from train.extract import extract
from train.extractors import open_extractor
from train.fit import FitConfig, fit
from train.text import TextConfig, fit_text

console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class ExtractConfig:
    """Which features of which corpus are put into the feature store."""

    root: Path
    """Folder of the corpus, in its owner's layout."""
    corpus: Literal["meld", "ravdess", "fer2013"]
    """Which corpus that is."""
    modality: Literal["text", "voice", "face"]
    """Which feature."""
    weights: str
    """Name of the weights behind it (configs/models.yaml), or their folder."""
    adapter: str | None = None
    """Text adapter: a name under core_models/weights, or a folder."""
    split: str = "train"
    """Split of MELD or FER-2013."""
    store: Path = Path(".cache/features")
    """Folder of the feature store; what it has is not computed again."""


def _extract(config: ExtractConfig) -> None:
    """Fill the feature store from a corpus, and say what was found."""
    readers: dict[str, Callable[[], Any]] = {
        "meld": lambda: read_meld(config.root, config.split),
        "ravdess": lambda: read_ravdess(config.root),
        "fer2013": lambda: read_fer2013(config.root, config.split),
    }
    extractor = open_extractor(config.modality, config.weights, config.adapter)
    console.print(extract(readers[config.corpus](), extractor, config.store).describe())


_COMMANDS: dict[str, tuple[type, Callable[[Any], object], str]] = {
    "text": (TextConfig, fit_text, "teach the sentence encoder emotion, in stages"),
    "extract": (ExtractConfig, _extract, "compute features of a corpus with the live feature code"),
    "fit": (FitConfig, fit, "train a dialogue model and write its checkpoint"),
    "eval": (EvalConfig, lambda config: show(evaluate(config), config), "score a checkpoint on a corpus"),
    "card": (CardConfig, write_card, "write a checkpoint's model card"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subcommands(required=True, dest="command")
    for name, (kind, _, description) in _COMMANDS.items():
        command = ArgumentParser(description=description)
        command.add_argument("--config", action="config", help="a YAML file of these options")
        command.add_class_arguments(kind)
        commands.add_subcommand(name, command, help=description)
    given = parser.instantiate(parser.parse_args(arguments))
    kind, run, _ = _COMMANDS[given.command]
    options = {field.name: given[given.command][field.name] for field in fields(kind)}
    try:
        run(kind(**options))
    except TrackerError as error:
        console.print(str(error), style="red", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("Interrupted: the last finished pass is kept; go on with the same command and --resume true.")
        return Exit.INTERRUPTED
    return Exit.OK


if __name__ == "__main__":
    raise SystemExit(main())
