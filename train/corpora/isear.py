"""ISEAR (Scherer and Wallbott, 1994): people's reports of a moment in which they felt one of seven emotions."""

from __future__ import annotations

from pathlib import Path

from core_models.errors import UsageError
from core_models.labels import ISEAR7
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.text_files import read_text_file


def read_isear(root: Path) -> Corpus:
    """The reports, each a dialogue of one utterance, labels of ISEAR7; a dialogue's group is the person.

    `root` holds isear.csv, also gzipped: fields apart by `|` without quoting. Left out and counted: remarks in brackets
    ("[ No response.]") in place of a report. Raises UsageError.
    """
    path = root / "isear.csv"
    header, *rows = read_text_file(path, "ISEAR").split("\n")
    names = header.strip("\r").split("|")
    try:
        person, label, report = (names.index(name) for name in ("ID", "Field1", "SIT"))
    except ValueError as error:
        raise UsageError(f"{path} lacks a column of ISEAR ({error}): use the official file.") from None
    dialogues = []
    remarks = 0
    for number, row in enumerate(rows, start=2):
        if not row.strip():
            continue
        fields = row.split("|")
        if len(fields) < len(names) - 1 or fields[label] not in ISEAR7.labels:
            raise UsageError(f"{path} line {number} is not a report of ISEAR: use the official file.")
        # A broken line of the questionnaire is written as " á ".
        text = " ".join(fields[report].replace("á", " ").split()).strip('"')
        if text.startswith("["):
            remarks += 1
            continue
        utterance = Utterance(f"{fields[person]}/{number}", fields[person], text or None, fields[label])
        dialogues.append(Dialogue(utterance.id, (utterance,), group=fields[person]))
    if not dialogues:
        raise UsageError(f"{path} holds no reports: use ISEAR's official file.")
    return Corpus("isear", ISEAR7, tuple(dialogues), left_out={"remark in brackets": remarks} if remarks else {})
