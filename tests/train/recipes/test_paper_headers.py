"""The commands in the first lines of MCED's and TDFNet's paper configs run as printed, on tiny data and models."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import tiny_encoder
from support.miniature_iemocap import write_iemocap
from support.miniature_mced import PHRASES, write_pieces

from core_models.features.voice.mced_embedding import STUDENTS
from core_models.labels import MELD7
from core_models.text_adapter import load_adapter
from train.__main__ import main
from train.evaluation.results import read_results

CONFIGS = Path(__file__).parents[3] / "configs" / "train"


def header(stem: str, places: dict[str, str]) -> list[str]:
    """The command in the first line of a config, whatever `places` name put in."""
    line = (CONFIGS / f"{stem}.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    for name, value in places.items():
        assert name in line
        line = line.replace(name, value)
    command = shlex.split(line)
    assert command[:3] == ["python", "-m", "train"]
    return [str(CONFIGS.parents[1] / word) if word.startswith("configs/") else word for word in command[3:]]


def test_mced_s_teacher_and_distillation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three stages to a teacher of twelve layers, and a student distilled from four of them, by eq. 3's sum."""
    pieces = write_pieces(tmp_path, monkeypatch)
    monkeypatch.setattr(tiny_encoder, "WORDS", [*tiny_encoder.WORDS, "[MASK]"])
    base = tiny_encoder.tiny_encoder(tmp_path / "twelve", layers=12)
    lines = tmp_path / "lines.txt"
    lines.write_text("this is the best day\nso happy for this day .\nyou had what ?\n" * 5)
    comments = tmp_path / "goemotions"
    comments.mkdir()
    (comments / "labels.txt").write_text("\n".join(MELD7.labels))
    (comments / "train.tsv").write_text("\n".join(f"{said}\t{MELD7.index(n)}\tid" for n, said in PHRASES.items()))
    command = header(
        "mced_teacher",
        {"LINES": str(lines), "goemotions: FOLDER": f"goemotions: {comments}", "meld: FOLDER": f"meld: {pieces.meld}"},
    )
    m1, teacher = tmp_path / "m1", tmp_path / "mced-teacher"
    small = [
        *(
            f"--teacher.language.base={base}",
            f"--teacher.language.out={m1}",
            f"--teacher.language.run={tmp_path / 'l'}",
        ),
        *("--teacher.language.schedule.epochs=1", "--teacher.language.schedule.batch=4"),
        *("--teacher.language.schedule.device=cpu", "--teacher.language.validation=0.3"),
        *(f"--teacher.text.out={teacher}", f"--teacher.text.run={tmp_path / 't'}", "--teacher.text.rank=2"),
        *("--teacher.text.device=cpu", "--teacher.text.threads=1"),
    ]
    assert main([*command, *small]) == 0
    assert load_adapter(teacher)[0].labels == "mced5"

    command = header("mced_distil_paper", {"PAIRS.csv": str(pieces.pairs / "pairs.csv")})
    small = [
        *("--distil.frames=spectrogram", f"--distil.teacher.encoder={m1}", f"--distil.teacher.adapter={teacher}"),
        *("--distil.choose.shortest_s=0.5", "--distil.choose.confidence=0", "--distil.validation=0.3"),
        *("--distil.student={width: 16, heads: 2, feed_forward: 16}", f"--distil.store={pieces.store}"),
        *("--distil.schedule.epochs=1", "--distil.schedule.batch=8", "--distil.schedule.device=cpu"),
        *(f"--distil.out={tmp_path / 'student'}", f"--distil.run={tmp_path / 'd'}"),
    ]
    assert main([*command, *small]) == 0
    record = STUDENTS.load(tmp_path / "student").sidecar.record
    assert record["layer_pairs"] == [[6, 3, 0.1], [8, 4, 0.1], [10, 5, 0.2], [12, 6, 0.3]]
    settings = record["config"]
    assert settings["objective"]["reduction"] == "sum"
    told = [settings["schedule"][name] for name in ("lr", "shape", "warm_up", "clip")]
    assert told == [1e-4, "linear", 0.0, None]


def test_tdfnet(tmp_path: Path) -> None:
    """Table I's five sessions, each left out once, words and sound."""
    root = write_iemocap(tmp_path / "iemocap", sessions=5)
    tone = 0.1 * np.sin(np.arange(8000) / 5).astype(np.float32)
    for file in root.glob("Session*/dialog/transcriptions/*.txt"):
        folder = file.parents[2] / "sentences" / "wav" / file.stem
        folder.mkdir(parents=True)
        for line in file.read_text(encoding="utf-8").splitlines():
            soundfile.write(folder / f"{line.split()[0]}.wav", tone, 16_000)
    places = {
        "FOLDER": str(root),
        "HUBERT": "spectrogram",
        "BERT": str(tiny_encoder.tiny_encoder(tmp_path / "bert")),
        "ECAPA": "null",
    }
    shape = "--model={width: 8, heads: 2, feed_forward: 8, layers: 1, blocks: 2, gate: dimension}"
    small = [shape, "--schedule.epochs=1", "--schedule.device=cpu", f"--runs={tmp_path / 'runs'}"]
    small += [f"--store={tmp_path / 'store'}"]
    assert main([*header("tdfnet_iemocap_paper", places), *small]) == 0
    files = sorted((tmp_path / "runs" / "tdfnet-iemocap-paper" / "results").iterdir())
    results = [read_results(file)[0] for file in files]
    assert len(results) == 5
    assert sum(result.n for result in results) == 5 * 3 * 8 + 5 * 3 * 2  # all but frustrated and the undecided
    assert all(set(result.modalities_used) == {"text", "voice"} for result in results)
