"""Text files of corpora as their owners publish them: UTF-8, plain or gzipped, CSV among them."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from core_models.errors import UsageError


def locate_file(path: Path) -> Path | None:
    """`path`, or its gzipped copy `path`.gz beside it; None where there is neither."""
    packed = path.with_name(f"{path.name}.gz")
    return next((one for one in (path, packed) if one.is_file()), None)


def read_text_file(path: Path, owner: str) -> str:
    """The text of `path` or `path`.gz, one of `owner`'s files, without its byte order mark. Raises UsageError."""
    found = locate_file(path)
    if found is None:
        raise UsageError(f"There is no {path} (nor {path.name}.gz): set the corpus folder to one that holds {owner}.")
    try:
        raw = found.read_bytes()
        return (gzip.decompress(raw) if found != path else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"{found} cannot be read as UTF-8 text ({error}); use {owner}'s official file.") from None


def parse_csv(text: str, path: Path, columns: Sequence[str], owner: str) -> list[dict[str, str]]:
    """The rows of a CSV of `owner`'s that has `columns`; every row has all of its header's. Raises UsageError."""
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num} is not CSV ({error}); use the official file.") from None
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing or not rows:
        what = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise UsageError(f"{path} {what}, which {owner}'s CSV files have; use the official file.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UsageError(
                f"{path} line {number} has another number of fields than the header; use the official file."
            )
    return rows
