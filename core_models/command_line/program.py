"""`emotion-tracker COMMAND`: the one program of an installed copy; every command is a module's `main`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

# OpenMP's spinning threads turn a 28 ms step into 390 ms beside any competitor; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from core_models.command_line.run import choose_command, run_cli
from core_models.errors import UsageError
from core_models.installation import name_shadow

PROGRAM = "emotion-tracker"


class _Command(NamedTuple):
    module: str
    """Where its `main` is. By name: core_models imports neither of the others, and they do not import each other."""
    summary: str


# Command -> the module that does it; `python -m` of it, or of its package, does the same.
COMMANDS = {
    "listen": _Command("realtime.listen", "follow a call, or a recording, live"),
    "analyse": _Command("realtime.cli.recording_batch", "judge many recordings into one table"),
    "replay": _Command("realtime.replay", "play a kept session into the feed and the page"),
    "export": _Command("realtime.export", "write a kept session in another program's format"),
    "sessions": _Command("realtime.journal.session_list", "list and delete kept sessions"),
    "demo": _Command("realtime.demo.assemble", "write the demonstration recording"),
    "doctor": _Command("realtime.doctor", "what this computer has and can, and what it should run"),
    "train": _Command("train.__main__", "extract features, train, score"),
    "weights": _Command("core_models.assets", "fetch, verify and list weights"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of `core_models.errors.Exit`."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    # Found beforehand, so that the command's own `run_cli` is the only one that takes signals and tells errors.
    chosen: list[tuple[str, list[str]]] = []
    code = run_cli(lambda: chosen.append(_choose_module(given)))
    if not chosen:
        return code
    module, rest = chosen[0]
    return int(import_module(module).main(rest))


def run_and_leave() -> None:
    """The console script: as `main`, and out without taking down native libraries, which takes seconds."""
    code = main()
    with suppress(OSError, ValueError):  # whoever read it may have gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _choose_module(arguments: list[str]) -> tuple[str, list[str]]:
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    # Only what stands before the command is this program's: `train fit --config listen` names a file.
    command, rest = choose_command(PROGRAM, f"{__doc__}\n", summaries, arguments)
    module = COMMANDS[command].module
    package = module.partition(".")[0]
    if (sentence := name_shadow(package)) is not None:
        raise UsageError(sentence)
    return module, rest
