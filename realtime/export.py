"""`python -m realtime.export SESSION`: a recorded session in the formats of other programs.

Corrections and names that people gave are applied. What is exported holds words, so files are readable by their owner
only, and a session that still runs cannot be exported: whoever opts out before its end would stay in the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core_models.command_line.options import build_parser, collect_fields, read_options
from core_models.command_line.run import print_error, run_cli
from core_models.errors import DiskError, Exit, TrackerError, UsageError
from realtime.exports.elan import render_eaf
from realtime.exports.emotionml import render_emotionml
from realtime.exports.html_report import render_html
from realtime.exports.rttm import render_rttm
from realtime.exports.subtitles import render_webvtt
from realtime.exports.tables import render_csv, render_jsonl, render_parquet
from realtime.exports.textgrid import render_textgrid
from realtime.journal.reader import Damage, find_journal, open_recording
from realtime.journal.session_files import default_folder, journal_path, list_session_ids
from realtime.journal.writer_lock import require_unlocked
from realtime.protocol import events
from realtime.review.conversation import Conversation, fold_conversation

Format = Literal["jsonl", "csv", "webvtt", "eaf", "html", "emotionml", "parquet", "textgrid", "rttm"]

_WRITERS: dict[str, Callable[[Conversation], bytes]] = {
    "jsonl": render_jsonl,
    "csv": render_csv,
    "webvtt": render_webvtt,
    "eaf": render_eaf,
    "html": render_html,
    "emotionml": render_emotionml,
    "parquet": render_parquet,
    "textgrid": render_textgrid,
    "rttm": render_rttm,
}
_ENDINGS = {"webvtt": "vtt", "emotionml": "emotionml.xml", "textgrid": "TextGrid"}
"""Endings of files where they are not the format's name."""
assert set(_WRITERS) == set(get_args(Format))


@dataclass(frozen=True)
class Export:
    """Options of an export."""

    session: str
    """A session's id, the path of a journal, `latest`, or `all`."""
    format: Format = "html"
    """jsonl, csv and parquet: an utterance a row; webvtt: subtitles; eaf: ELAN; html: a report with pictures;
    textgrid: Praat; rttm: who spoke when."""
    rescore: str | None = None
    """A checkpoint whose opinion stands beside what was said then, as in `realtime.replay`."""
    output: Path = Path("-")
    """File to write; `-` is standard output. With `all`, the folder for a file of each session."""
    journal: Path | None = None
    """Folder of the journals; the user's state folder if not given."""


def load(path: Path, rescore: str | None = None) -> Conversation:
    """The conversation of a journal, without what is damaged in it, which is said on standard error.

    DiskError where it cannot be read or does not begin as one.
    `rescore` is a checkpoint that says what it thinks too (realtime/review/rescoring.py).
    """
    created, read = open_recording(path)
    told = _skip_damage(read)
    if rescore:
        # It brings torch, which an export has no need of.
        from realtime.review.rescoring import build_rescorer

        told = map(build_rescorer(path, rescore), told)
    return fold_conversation(created, told)


def _skip_damage(read: Iterable[events.Logged | Damage]) -> Iterator[events.Logged]:
    for one in read:
        if isinstance(one, Damage):
            print(one, file=sys.stderr)
        else:
            yield one


def export(conversation: Conversation, to: Format) -> bytes:
    """The conversation in one of the formats."""
    return _WRITERS[to](conversation)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export one session and return the exit code."""
    return run_cli(lambda: _run_export(sys.argv[1:] if arguments is None else arguments))


def _run_export(arguments: Sequence[str]) -> int:
    parser = build_parser("python -m realtime.export", __doc__)
    parser.add_class_arguments(Export, as_positional=True)
    options = collect_fields(Export, read_options(parser, arguments))
    if options.session == "all":
        return _export_all(options)
    path = find_journal(options.session, options.journal)
    content = _read_exported(path, options)
    if str(options.output) == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        _write_file(options.output, content)
    return Exit.OK


def _read_exported(path: Path, options: Export) -> bytes:
    require_unlocked(path)
    return export(load(path, options.rescore), options.format)


def _export_all(options: Export) -> int:
    """Write a file of each session; one that cannot be exported is named and ends nothing. The first one's exit code.

    UsageError where no folder is named, DiskError where it cannot be made.
    """
    if str(options.output) == "-":
        raise UsageError("All sessions do not fit into one stream: name a folder with --output.")
    try:
        options.output.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{options.output} is no folder to write to ({error.strerror}): name another.") from None
    folder = options.journal or default_folder()
    code: int = Exit.OK
    ending = _ENDINGS.get(options.format, options.format)
    for session in list_session_ids(folder):
        try:
            _write_file(
                options.output / f"{session}.{ending}", _read_exported(journal_path(folder, session), options)
            )
        except TrackerError as error:
            print_error(f"left out: {session}: {error}", style="red")
            code = code or error.exit_code
        else:
            print(options.output / f"{session}.{ending}")
    return code


def _write_file(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise DiskError(f"{path} cannot be written ({error.strerror}): give a file in a folder of yours.") from None


if __name__ == "__main__":
    raise SystemExit(main())
