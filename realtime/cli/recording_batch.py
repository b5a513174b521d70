"""`python -m realtime.analyse FILE|FOLDER|GLOB ... --output TABLE`: judge many recordings into one table.

Models load once. What was finished is kept beside the table, line by line, so that a run that was ended, or that gets
more recordings, goes on where it was. A recording that cannot be judged is named at the end and ends nothing.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from core_models.command_line.options import build_parser, collect_fields, read_options
from core_models.command_line.run import TerminalConsole, run_cli
from core_models.errors import DiskError, Exit, TrackerError, UsageError
from realtime.exports.tables import encode_csv, encode_parquet, flat_columns, type_of_column
from realtime.review.conversation_measures import SpeakerMeasures, measure_conversation

ENDINGS = frozenset(
    {".aac", ".aiff", ".avi", ".flac", ".m4a", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".ogg", ".opus", ".wav", ".webm"}
)
"""Files of a folder that count as recordings; a file that is named itself may end in anything."""
_FORMATS = (".csv", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Batch:
    """Options of an analysis of many recordings; those of `realtime.listen` where the names are the same."""

    output: Path = Path("emotions.csv")
    """Table to write: .csv, .parquet or .jsonl. Beside it come TABLE.done, what is finished, and TABLE.summary.csv."""
    speakers: Literal["auto"] | int | tuple[str, ...] = ()
    """Names, one a channel with `split`, or how many people are heard in each recording, or `auto`."""
    channels: Literal["mix", "split"] = "mix"
    """Mix a recording's channels, or take each for a speaker of its own."""
    checkpoint: str = "default"
    """Dialogue model: a name under core_models/weights, or a folder."""
    language: str = "auto"
    """Spoken language as a code such as `en`, or `auto`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where Whisper and the dialogue model run."""
    threads: int = 2
    """CPU threads of Whisper."""
    video_fps: float = 6.0
    """Pictures a second that the face landmarker looks at; 0 judges sound alone."""


class _Finished(msgspec.Struct, frozen=True):
    """A line of TABLE.done: a recording as it was, the options that it was judged with, and what came of it."""

    file: str
    size: int
    modified_ns: int
    options: str
    session: str
    columns: list[str]
    rows: list[dict[str, Any]]
    measures: list[dict[str, Any]]

    @property
    def key(self) -> tuple[str, int, int, str]:
        """Same recording, same options."""
        return self.file, self.size, self.modified_ns, self.options


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the recordings and return the exit code: 4 where one of them could not be judged."""
    return run_cli(
        lambda: _run_batch(sys.argv[1:] if arguments is None else arguments),
        interrupted="Interrupted: what was finished is in the table; run the same command again to go on.",
    )


def _run_batch(arguments: Sequence[str]) -> int:
    parser = build_parser("python -m realtime.analyse", __doc__)
    parser.add_argument("recordings", nargs="+", metavar="FILE|FOLDER|GLOB", help="recordings, and folders of them")
    parser.add_class_arguments(Batch)
    given = read_options(parser, arguments)
    options = collect_fields(Batch, given)
    if options.output.suffix not in _FORMATS:
        raise UsageError(f"{options.output} is no table: let its name end in {', '.join(_FORMATS)}.")
    if options.output.suffix == ".parquet":
        encode_parquet([], {})  # where pyarrow is missing, that is said before hours of work
    recordings = find_recordings(given.recordings)
    asked = {name: value for name, value in dataclasses.asdict(options).items() if name != "output"}
    judged_with = msgspec.json.encode(asked).decode()
    store = options.output.with_name(f"{options.output.name}.done")
    finished = {one.key: one for one in _read_finished(store)}
    keys = {path: _key_of(path, judged_with) for path in recordings}
    waiting = [path for path in recordings if keys[path] not in finished]
    console = TerminalConsole(highlight=False)
    failures: dict[Path, str] = {}
    try:
        for path, result in _judge_recordings(waiting, asked, console):
            if isinstance(result, str):
                failures[path] = result
                continue
            file, size, modified_ns, _ = keys[path]
            one = _Finished(file, size, modified_ns, judged_with, *result)
            _append_finished(store, one)
            finished[one.key] = one
    finally:  # also after Ctrl-C
        done = [finished[key] for key in keys.values() if key in finished]
        _write_tables(options.output, done)
    _show_summary(console, done, failures, skipped=len(recordings) - len(waiting), output=options.output)
    return Exit.MEDIA if failures else Exit.OK


def find_recordings(named: Iterable[str]) -> list[Path]:
    """The recordings that were named: files, those in folders and below, patterns; each once. UsageError for none."""
    found: dict[Path, None] = {}
    for name in named:
        path = Path(name)
        if path.is_dir():
            below = sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS and one.is_file())
            found |= dict.fromkeys(below)
        elif path.exists() or not glob.has_magic(name):
            found[path] = None  # one that is not there is told with those that cannot be judged
        else:
            found |= dict.fromkeys(Path(one) for one in sorted(glob.glob(name, recursive=True)) if Path(one).is_file())
    if not found:
        raise UsageError(f"There is no recording in {', '.join(named)}: name files with sound, or a folder of them.")
    return list(found)


_Result = tuple[str, list[str], list[dict[str, Any]], list[dict[str, Any]]]
"""Session, columns, rows, measures."""


def _judge_recordings(
    paths: Sequence[Path], options: dict[str, Any], console: Console
) -> Iterator[tuple[Path, _Result | str]]:
    """Each recording with what came of it, or with the sentence that says why nothing did."""
    if not paths:
        return
    # Late, since it brings torch, and what is wrong with the command line needs none of it.
    from realtime.api.analysis import analyse

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Loading the models", total=len(paths))
        for path in paths:
            progress.update(task, description=path.name)
            try:
                found = analyse(path.absolute(), **options)
                measures = [dataclasses.asdict(one) for one in measure_conversation(found.utterances)]
                columns_of = ["session", "file", *flat_columns(found.conversation)]
                yield path, (found.session, columns_of, found.rows(), measures)
            except (TrackerError, OSError, RuntimeError, ValueError) as error:
                yield path, str(error) or repr(error)
            progress.advance(task)


def _key_of(path: Path, options: str) -> tuple[str, int, int, str]:
    try:
        status = path.stat()
    except OSError:
        return str(path.absolute()), -1, -1, options
    return str(path.absolute()), status.st_size, status.st_mtime_ns, options


def _read_finished(store: Path) -> Iterator[_Finished]:
    try:
        lines = store.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DiskError(f"{store} cannot be read ({error.strerror}): delete it, or name another --output.") from None
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=_Finished)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # cut off with the run that wrote it: that recording is judged again


def _append_finished(store: Path, one: _Finished) -> None:
    _write_file(store, b"\n" + msgspec.json.encode(one) + b"\n", os.O_APPEND)


def _write_tables(output: Path, finished: Sequence[_Finished]) -> None:
    rows = [row for one in finished for row in one.rows]
    columns = {name: type_of_column(name) for one in finished for name in one.columns}
    columns = columns or {"session": str, "file": str}
    match output.suffix:
        case ".csv":
            table = encode_csv(rows, columns)
        case ".parquet":
            table = encode_parquet(rows, columns)
        case _:
            table = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    _write_file(output, table, os.O_TRUNC)
    parts = [{"session": one.session, "file": one.file, **part} for one in finished for part in one.measures]
    names = ["session", "file", *(field.name for field in dataclasses.fields(SpeakerMeasures))]
    _write_file(output.with_name(f"{output.name}.summary.csv"), encode_csv(parts, names), os.O_TRUNC)


def _write_file(path: Path, content: bytes, how: int) -> None:
    """Readable by its owner only, since it holds what was said."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise DiskError(f"{path} cannot be written ({error.strerror}): name another with --output.") from None


def _show_summary(
    console: Console, finished: Sequence[_Finished], failures: dict[Path, str], *, skipped: int, output: Path
) -> None:
    table = Table(box=None)
    table.add_column("file", overflow="fold")
    table.add_column("speaker", overflow="fold")
    # On two lines each, so that all of them stand in 80 columns beside names of usual length.
    counts_of_speech = ("utter-\nances", "talk", "turns", "words\n/min", "answer\nms")
    for column in (*counts_of_speech, "inter-\nruptions", "back-\nchannels"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in finished:
        for part in (msgspec.convert(measures, SpeakerMeasures) for measures in one.measures):
            pace = "" if part.words_per_minute is None else f"{part.words_per_minute:.0f}"
            answer = "" if part.answer_ms is None else f"{part.answer_ms:.0f}"
            counts = (str(part.turns), pace, answer, str(part.interruptions), str(part.back_channels))
            table.add_row(
                Text(Path(one.file).name), Text(part.name), str(part.utterances), f"{part.talk_share:.0%}", *counts
            )
    if table.rows:
        console.print(table)
    for path, sentence in failures.items():
        console.print(Text(f"left out: {path}: {sentence}", style="red"), soft_wrap=True)
    utterances = sum(len(one.rows) for one in finished)
    told = f"{utterances} utterances of {len(finished)} recordings are in {output}"
    told += f"; {skipped} were done before" if skipped else ""
    console.print(Text(f"{told}; {len(failures)} could not be judged." if failures else f"{told}."), soft_wrap=True)
