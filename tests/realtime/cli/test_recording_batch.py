"""Many recordings become one table; what is done stays done, and a bad file ends nothing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from core_models.errors import Exit, UsageError
from realtime.cli import recording_batch
from realtime.cli.recording_batch import find_recordings, main

CLIPS = Path(__file__).resolve().parents[2] / "data" / "librivox"


def test_files_folders_and_patterns_are_found_once(tmp_path: Path) -> None:
    """A folder is searched to its ground, by ending; a named file may end in anything; nothing comes twice."""
    for name in ("a.wav", "deep/er/b.OGG", "notes.txt", "c.raw"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    named = [str(tmp_path), str(tmp_path / "*.wav"), str(tmp_path / "c.raw"), str(tmp_path / "gone.wav")]
    found = [path.relative_to(tmp_path).as_posix() for path in find_recordings(named)]
    assert found == ["a.wav", "deep/er/b.OGG", "c.raw", "gone.wav"]
    with pytest.raises(UsageError, match="no recording"):
        find_recordings([str(tmp_path / "*.mp3")])


def test_a_table_of_another_kind_is_refused_first(capsys: pytest.CaptureFixture[str]) -> None:
    """The ending says the format, and is asked before anything is loaded."""
    assert main(["call.wav", "--output", "table.xls"]) == Exit.USAGE
    assert ".parquet" in capsys.readouterr().err


@pytest.mark.weights
def test_a_batch_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recordings and a bad file: rows of both, the bad one named, exit code 4; a second run judges none again."""
    calls = tmp_path / "calls"
    calls.mkdir()
    for number in (0, 1):
        shutil.copy(CLIPS / f"sense_and_sensibility_01_08{8 + number}0.flac", calls / f"{number}.flac")
    (calls / "bad.wav").write_text("no sound")
    output = tmp_path / "table.csv"
    command = [str(calls), "--output", str(output), "--language", "en", "--speakers", "reader"]
    assert main(command) == Exit.MEDIA
    said = capsys.readouterr().out
    assert "left out" in said
    assert "bad.wav" in said
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert list(rows[0])[:2] == ["session", "file"]
    assert {Path(row["file"]).name for row in rows} == {"0.flac", "1.flac"}
    assert "young man" in rows[0]["text"]
    summary = list(csv.DictReader((tmp_path / "table.csv.summary.csv").read_text().splitlines()))
    assert [(row["name"], float(row["talk_share"])) for row in summary] == [("reader", 1.0), ("reader", 1.0)]
    assert output.stat().st_mode & 0o077 == 0

    (calls / "bad.wav").unlink()
    store = tmp_path / "table.csv.done"
    store.write_bytes(store.read_bytes() + b'{"file": "cut o')  # as a power cut leaves it
    judged: list[Path] = []
    judge = recording_batch._judge_recordings

    def watch(paths: list[Path], *rest: object) -> object:
        judged.extend(paths)
        return judge(paths, *rest)

    monkeypatch.setattr(recording_batch, "_judge_recordings", watch)
    assert main(command) == Exit.OK
    assert judged == []
    assert list(csv.DictReader(output.read_text().splitlines())) == rows
    shutil.copy(store, tmp_path / "table.jsonl.done")
    assert main([*command[:2], str(tmp_path / "table.jsonl"), *command[3:]]) == Exit.OK
    lines = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [row["text"] for row in rows]
    assert main([*command, "--video-fps", "0"]) == Exit.OK
    assert len(judged) == 2  # other options, other results
