"""`python -m realtime.listen`: follow a conversation by sound and camera, and show the emotion of each speaker.

Exit codes are those of core_models/errors.py (README, "Exit codes").
"""

from __future__ import annotations

import os
import signal

# Ctrl-C while the libraries load, which takes seconds, is no error to show.
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Spinning OpenMP threads turn a 28 ms step into 390 ms beside any competitor; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from collections.abc import Sequence
from contextlib import suppress

import structlog

from core_models.command_line.options import build_parser, collect_fields, hide_options, read_options
from core_models.command_line.run import TerminalConsole, run_cli
from core_models.errors import Exit
from realtime.cli.listen_options import EXPERIMENTAL, Listen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one session and return its exit code."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    return run_cli(lambda: _run_listen(sys.argv[1:] if arguments is None else arguments))


def _run_listen(arguments: Sequence[str]) -> int:
    parser = build_parser("python -m realtime.listen", __doc__)
    parser.add_argument("--list-devices", action="store_true", help="show microphones and cameras, and end")
    parser.add_argument("--no-text", action="store_true", help="keep and show no words, neither here nor in the feed")
    parser.add_class_arguments(Listen)
    hide_options(parser, EXPERIMENTAL)
    given = read_options(parser, arguments)
    options = collect_fields(Listen, given)
    # Standard output belongs to the events when they go there.
    console = TerminalConsole(stderr=options.events == "-", highlight=False)
    # Late, since torch and what a session needs beside it take seconds to load, and `--help` and mistakes need none.
    if given.list_devices:
        from realtime.sources.devices import device_table

        console.print(device_table())
        return Exit.OK
    from realtime.cli.session_setup import run_session

    return run_session(options, console, text=not given.no_text)


if __name__ == "__main__":
    code = main()
    with suppress(OSError):  # whoever read it may have gone
        sys.stdout.flush()
    # Everything is closed; taking native libraries down takes seconds and changes nothing.
    os._exit(code)
