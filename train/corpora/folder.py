"""One's own recordings: a CSV with path, start, end, speaker and label, and text and dialogue where one has them."""

from __future__ import annotations

import codecs
import csv
import math
from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import LABEL_SETS, LabelSet
from train.corpora.dialogues import Corpus, Dialogue, Utterance

COLUMNS = ("path", "start", "end", "speaker", "label")
OPTIONAL = ("text", "dialogue")
_DELIMITERS = (",", ";", "\t")
FILMS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"}
SOUNDS = {".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus"}


def read_folder(root: Path, labels: LabelSet | None = None) -> Corpus:
    """The utterances of a CSV (`root`, or the only one in the folder `root`), one dialogue a recording.

    Paths are relative to the CSV; start and end are seconds in the file, both empty for all of it. Rows of one
    `dialogue` stand together whatever their files, in the order of the CSV. An empty label is context; a row
    without a path has words alone. labels: the set that the column uses, by default the first of LABEL_SETS that
    knows all of it. Raises UsageError, with the row, for anything else.
    """
    path = root
    if root.is_dir():
        found = sorted(root.glob("*.csv"))
        if len(found) != 1:
            raise UsageError(f"{root} holds {len(found)} CSV files: expected one, or give the path of one as --root.")
        path = found[0]
    rows = _read_csv(path)
    if labels is None:
        labels = _guess_labels({row["label"].strip() for row in rows} - {""}, path)
    dialogues: dict[str, list[Utterance]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            name, utterance = _read_utterance(row, path.parent, number, labels)
        except ValueError as error:
            raise UsageError(f"{path} row {number} cannot be used: {error}.") from None
        dialogues.setdefault(name, []).append(utterance)
    return Corpus("folder", labels, tuple(Dialogue(name, tuple(utterances)) for name, utterances in dialogues.items()))


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        lines = _decode_csv(path.read_bytes()).splitlines(keepends=True)
        reader = csv.DictReader(lines, delimiter=_delimiter_of(lines), strict=True)
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}): expected columns {', '.join(COLUMNS)}.") from None
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing or not rows:
        what = f"has no column {missing[0]}" if missing else "has no rows"
        raise UsageError(
            f"{path} {what}: expected columns {', '.join(COLUMNS)}, and {' and '.join(OPTIONAL)} where you have them."
        )
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UsageError(f"{path} row {number} has another number of fields than the header: put commas in quotes.")
    return rows


def _decode_csv(content: bytes) -> str:
    """UTF-8 with or without its mark, or UTF-16 with one, which Excel calls "Unicode text"."""
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return content.decode("utf-16" if is_utf16 else "utf-8-sig").replace("\r\n", "\n")


def _delimiter_of(lines: list[str]) -> str:
    """What stands between the names of the columns: Excel writes semicolons where the comma is the decimal mark."""
    header = lines[0] if lines else ""
    return max(_DELIMITERS, key=lambda delimiter: sum(name in COLUMNS for name in _split(header, delimiter)))


def _split(header: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"') for name in header.split(delimiter)]


def _guess_labels(used: set[str], path: Path) -> LabelSet:
    for labels in LABEL_SETS.values():
        if used <= set(labels.labels):
            return labels
    raise UsageError(
        f"{path} uses the labels {', '.join(sorted(used))}, which are not all of one set: use those of "
        f"{'; '.join(f'{one.name} ({chr(44).join(one.labels)})' for one in LABEL_SETS.values())}."
    )


def _read_utterance(row: dict[str, str], folder: Path, number: int, labels: LabelSet) -> tuple[str, Utterance]:
    label, text, speaker = (row.get(column, "").strip() or None for column in ("label", "text", "speaker"))
    if label is not None:
        labels.index(label)
    if speaker is None:
        raise ValueError("it names no speaker")
    span = _parse_span(row["start"].strip(), row["end"].strip())
    name = row["path"].strip()
    dialogue = row.get("dialogue", "").strip() or name
    if not dialogue:
        raise ValueError("it has neither a path nor a dialogue")
    file = folder / name if name else None
    if file is not None and not file.is_file():
        raise ValueError(f"there is no {file}")
    kind = file.suffix.lower() if file is not None else None
    if kind is not None and kind not in FILMS | SOUNDS:
        raise ValueError(f"{name} is neither a sound nor a film by its name ({', '.join(sorted(FILMS | SOUNDS))})")
    if file is None and text is None:
        raise ValueError("it has neither a path nor text")
    film = file if kind in FILMS else None
    return dialogue, Utterance(
        f"{dialogue}/{number}",
        speaker,
        text,
        label,
        audio=file,
        start_ms=span[0] if span else None,
        end_ms=span[1] if span else None,
        audio_span=span if file else None,
        video=film,
        video_span=span if film else None,
    )


def _parse_span(start: str, end: str) -> tuple[int, int] | None:
    if not start and not end:
        return None
    try:
        first, last = float(start.replace(",", ".")), float(end.replace(",", "."))
    except ValueError:
        raise ValueError(f"{start!r} to {end!r} is no span of seconds") from None
    if not (math.isfinite(first) and math.isfinite(last) and 0 <= first < last):
        raise ValueError(f"{start} to {end} is no span of seconds: expected a start of 0 or more and a later end")
    return round(1000 * first), round(1000 * last)
