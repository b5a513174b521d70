"""Results beside the papers' numbers: the right number for a system, corpus and modalities, and what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.__main__ import main

RESULTS = Path(__file__).parents[3] / "train" / "results"


def test_shipped_results_stand_beside_the_papers_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Each shipped result of SDT, CMATH and TDFNet on a paper's corpus meets the number of its own modalities."""
    assert main(["papers", str(RESULTS)]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    found = {(row[4], row[1]): (row[0].removeprefix("| "), row[2], row[3]) for row in rows}
    assert found["sdt-iemocap", "weighted F1"] == ("SDT Table IV, Text + Audio", "72.75", "62.4 ± 1.1 (3)")
    assert found["cmath-meld", "weighted F1"] == ("CMATH Table 5, Text", "65.85", "59.2 ± 0.7 (3)")
    assert found["tdfnet-iemocap", "accuracy"][:2] == ("TDFNet Table V, TEXT PATH: WA", "67.68")
    assert found["tdfnet-iemocap", "UAR"][1] == "69.03"
    bidirectional = next(row for row in rows if row[4] == "sdt-iemocap-bidirectional")
    assert bidirectional[6] == "bidirectional; here bidirectional"
    assert "session 5; here all sessions=4" in bidirectional[7]
    assert bidirectional[8].startswith("test; here the last pass")
    assert bidirectional[5] == "RoBERTa-large, openSMILE"


def test_results_without_a_published_number_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Faces alone are in no table of theirs."""
    assert main(["papers", str(RESULTS / "face_fer2013_validation.json")]) == 0
    assert "None of these results" in capsys.readouterr().out
