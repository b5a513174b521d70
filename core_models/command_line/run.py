"""How every command begins and ends: its streams, errors as one sentence, exit codes, the choice of a subcommand.

The options themselves are core_models/command_line/options.py's.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from core_models.command_line.close_names import suggest_name
from core_models.errors import Exit, TrackerError, UsageError
from core_models.installation import DISTRIBUTION


class TerminalConsole(Console):
    """Falls silent when its reader has closed the pipe (`| head`), so that the work goes on for other readers."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        self.quiet = True
        discard_output(self.file.fileno())


def discard_output(descriptor: int) -> None:
    """Let a stream whose reader has gone write to nowhere; otherwise its flush at exit fails once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def program_version() -> str:
    """The installed version; `unknown` in a tree that was never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def run_cli(work: Callable[[], int | None], *, interrupted: str = "") -> int:
    """Run a command and return its exit code, one of `core_models.errors.Exit`.

    A TrackerError is printed on standard error as one red sentence. Ctrl-C ends with 130, and says `interrupted` where
    there is something to say. A reader of standard output that has gone is no error.
    """
    if threading.current_thread() is threading.main_thread():
        # A shell starts background jobs with SIGINT ignored, which Python inherits.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter must not end the command
    try:
        code = work()
        sys.stdout.flush()
    except TrackerError as error:
        print_error(str(error), style="red")
        return error.exit_code
    except KeyboardInterrupt:
        if interrupted:
            print_error(interrupted)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        with suppress(OSError, ValueError):
            discard_output(sys.stdout.fileno())
        return Exit.OK
    return Exit.OK if code is None else code


def print_error(sentence: str, style: str = "") -> None:
    """One line on standard error, unwrapped; brackets in it are no markup."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, style=style, markup=False)


def choose_command(
    program: str, description: str, commands: Mapping[str, str], arguments: Sequence[str]
) -> tuple[str, list[str]]:
    """(command, its arguments) of a program whose `commands` have a summary each.

    Options may stand before the command. UsageError where there is none; SystemExit after --help and --version.
    """
    place = next((n for n, word in enumerate(arguments) if word in commands), len(arguments))
    before = list(arguments[:place])
    if "--version" in before:
        print(f"{program} {program_version()}")
        raise SystemExit(Exit.OK)
    if {"-h", "--help"} & set(before):
        width = max(map(len, commands))
        listed = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in commands.items())
        print(f"usage: {program} COMMAND [--option VALUE ...]\n\n{description}\ncommands:\n{listed}\n")
        print(f"`{program} COMMAND --help` shows a command's options.")
        raise SystemExit(Exit.OK)
    if place == len(arguments):
        wrong = next((word for word in before if not word.startswith("-")), None)
        said = "A command is missing." if wrong is None else f"There is no command {wrong}."
        close = "" if wrong is None else suggest_name(wrong, commands)
        raise UsageError(f"{said}{close} Give one of {', '.join(commands)}; see `{program} --help`.")
    return arguments[place], [*before, *arguments[place + 1 :]]
