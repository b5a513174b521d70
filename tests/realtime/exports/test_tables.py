"""JSON lines, CSV and Parquet: one row for each utterance."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest
from support.awkward_session import AWKWARD

from realtime.export import export
from realtime.review.conversation import Conversation


def test_jsonl_holds_every_utterance_as_it_is(told: Conversation) -> None:
    """A JSON object a line, with words, times, emotion and the distributions of the whole and of each modality."""
    rows = [json.loads(line) for line in export(told, "jsonl").splitlines()]
    assert [row["utterance_id"] for row in rows] == [one.id for one in told.utterances]
    assert rows[0]["text"] == AWKWARD
    for row, one in zip(rows, told.utterances, strict=True):
        assert (row["emotion"], row["start_ms"], row["probabilities"]) == (one.emotion, one.start_ms, one.probabilities)
        assert set(row["modalities"]) == set(one.modalities)


def test_csv_reads_back_as_it_was(told: Conversation) -> None:
    """Any reader of RFC 4180 finds the same rows, awkward words included, and numbers at full precision."""
    rows = list(csv.DictReader(io.StringIO(export(told, "csv").decode(), newline="")))
    assert len(rows) == 30
    assert rows[0]["text"].replace("\r\n", "\n") == AWKWARD
    assert rows[1]["text"] == ""
    for row, one in zip(rows, told.utterances, strict=True):
        assert float(row[f"p_{one.judged}"]) == one.confidence
        assert (row["name"], row["emotion"]) == (one.name, one.emotion)
        assert row["face_status"] == "absent"
        assert row["face_gate"] == ""


def test_parquet_has_the_columns_of_the_csv(told: Conversation) -> None:
    """Where pyarrow is there, the Parquet file holds the rows of the CSV with numbers as numbers."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table: Any = parquet.read_table(io.BytesIO(export(told, "parquet")))
    header = export(told, "csv").decode().partition("\r\n")[0].split(",")
    assert table.column_names == header
    assert table.column("confidence").to_pylist() == [one.confidence for one in told.utterances]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_csv_is_a_formula(told: Conversation, start: str) -> None:
    """Words and names that a spreadsheet would run stand behind an apostrophe; numbers stay numbers."""
    evil = dataclasses.replace(told.utterances[0], text=f"{start}HYPERLINK(1)", name=f"{start}1+1")
    content = export(dataclasses.replace(told, utterances=(evil,)), "csv").decode()
    (row,) = csv.DictReader(io.StringIO(content, newline=""))
    assert (row["text"], row["name"]) == (f"'{start}HYPERLINK(1)", f"'{start}1+1")
    assert float(row["confidence"]) == evil.confidence
