"""One row for each utterance: JSON lines, CSV and Parquet, all with the same columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from core_models.errors import UsageError
from realtime.review.conversation import Conversation, Utterance


def render_jsonl(conversation: Conversation) -> bytes:
    """One JSON object a line; modalities with their status, gate and probabilities stay nested."""
    return b"".join(msgspec.json.encode(nest_row(one)) + b"\n" for one in conversation.utterances)


def nest_row(one: Utterance) -> dict[str, Any]:
    """One utterance as a JSON object."""
    return _build_row(one) | {"probabilities": one.probabilities, "modalities": one.modalities}


def render_csv(conversation: Conversation) -> bytes:
    """`encode_csv` of the conversation's utterances."""
    return encode_csv([flatten_row(conversation, one) for one in conversation.utterances], flat_columns(conversation))


def encode_csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> bytes:
    """RFC 4180 with a header line, UTF-8; empty cells where there is nothing to say.

    A text that a spreadsheet would run as a formula has an apostrophe before it, which spreadsheets do not show.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: disarm_formula(cell) for name, cell in row.items()})
    return out.getvalue().encode()


def disarm_formula(cell: Any) -> Any:
    """The cell, with an apostrophe before what a spreadsheet would run."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def render_parquet(conversation: Conversation) -> bytes:
    """`encode_parquet` of the conversation's utterances."""
    rows = [flatten_row(conversation, one) for one in conversation.utterances]
    return encode_parquet(rows, flat_columns(conversation))


def encode_parquet(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, type]) -> bytes:
    """The columns of the CSV with their types; UsageError where pyarrow is not installed."""
    # Late, since pyarrow is optional.
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed: pip install 'conversation-emotion-tracker[parquet]', or "
            "take csv."
        ) from None
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    sink = pyarrow.BufferOutputStream()
    write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), sink)
    return bytes(sink.getvalue())


def _build_row(one: Utterance) -> dict[str, Any]:
    return {
        "utterance_id": one.id,
        "speaker": one.speaker,
        "name": one.name,
        "start_ms": one.start_ms,
        "end_ms": one.end_ms,
        "text": one.text,
        "language": one.language,
        "emotion": one.emotion,
        "judged": one.judged,
        "corrected": one.corrected,
        "confidence": one.confidence,
        "shifted_from": one.shifted_from,
        "rescored": one.rescored.emotion if one.rescored else None,
        "rescored_confidence": one.rescored.confidence if one.rescored else None,
    }


# OWASP, CSV injection: with these a cell is a formula in Excel, LibreOffice or Google Sheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_TYPES = {"start_ms": int, "end_ms": int, "corrected": bool, "confidence": float, "rescored_confidence": float}
_COLUMNS = (
    *("utterance_id", "speaker", "name", "start_ms", "end_ms", "text", "language", "emotion", "judged"),
    *("corrected", "confidence", "shifted_from", "rescored", "rescored_confidence"),
)


def _modality_names(conversation: Conversation) -> list[str]:
    return list(dict.fromkeys(name for one in conversation.utterances for name in one.modalities))


def flat_columns(conversation: Conversation) -> dict[str, type]:
    """Column -> its type, in order: of CSV, Parquet and data frames of this conversation."""
    columns: dict[str, type] = {name: _TYPES.get(name, str) for name in _COLUMNS}
    columns |= {f"p_{label}": float for label in conversation.labels}
    for modality in _modality_names(conversation):
        columns |= {f"{modality}_status": str, f"{modality}_gate": float}
        columns |= {f"{modality}_p_{label}": float for label in conversation.labels}
    return columns


def type_of_column(name: str) -> type:
    """The type of a column of `flat_columns`, by its name."""
    if name.startswith("p_") or "_p_" in name or name.endswith("_gate"):
        return float
    return _TYPES.get(name, str)


def flatten_row(conversation: Conversation, one: Utterance) -> dict[str, Any]:
    """The cells of one utterance by column; those without a value are left out or None."""
    row = _build_row(one) | {f"p_{label}": one.probabilities.get(label) for label in conversation.labels}
    for name, modality in one.modalities.items():
        row |= {f"{name}_status": modality.status, f"{name}_gate": modality.gate}
        row |= {f"{name}_p_{label}": p for label, p in (modality.probabilities or {}).items()}
    return row
