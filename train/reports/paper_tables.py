"""Our results beside the papers' own numbers, with what differs: `python -m train papers RESULTS`.

A paper's number is compared with every result of the same system on the same corpus and the same modalities; what
differs stands in the row. Which features a checkpoint was trained on is on its card.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from train.reports.results_table import TITLES, Cell, Column, Row, read_cells


@dataclass(frozen=True, kw_only=True)
class PapersConfig:
    """Which results are put beside the papers' numbers."""

    results: Sequence[Path]
    """Files that `python -m train eval --json FILE` wrote, and folders of them."""


class Published(NamedTuple):
    """A number that a paper prints."""

    where: str
    """Table and row."""
    percent: float
    score: str
    """Which of our scores it is: weighted_f1, accuracy (WA) or uar (UA)."""


class Setting(NamedTuple):
    """How the numbers of a paper on a corpus came about."""

    features: Mapping[str, str]
    """Modality -> what the paper has for it."""
    context: str
    tested: str
    chosen: str
    """What the pass was chosen on."""


_PICKLE = {"text": "RoBERTa-large", "voice": "openSMILE", "face": "DenseNet"}
_TDFNET = {"text": "BERT", "voice": "HuBERT-large and ECAPA"}
_SETTINGS: Mapping[tuple[str, str], Setting] = {
    ("sdt", "iemocap"): Setting(_PICKLE, "bidirectional", "session 5", "test"),
    ("sdt", "meld"): Setting(_PICKLE, "bidirectional", "test", "test"),
    ("cmath", "iemocap"): Setting(_PICKLE, "bidirectional", "session 5", "a fifth of training"),
    ("cmath", "meld"): Setting(_PICKLE, "bidirectional", "test", "a fifth of training"),
    ("tdfnet", "iemocap"): Setting(_TDFNET, "its own words and sound", "five sessions, each left out", "not told"),
}
# (system, corpus, modalities) -> what the paper prints of it.
PUBLISHED: Mapping[tuple[str, str, str], tuple[Published, ...]] = {
    ("sdt", "iemocap", "text"): (Published("SDT Table IV, Text", 66.58, "weighted_f1"),),
    ("sdt", "iemocap", "voice"): (Published("SDT Table IV, Audio", 59.34, "weighted_f1"),),
    ("sdt", "iemocap", "text+voice"): (Published("SDT Table IV, Text + Audio", 72.75, "weighted_f1"),),
    ("sdt", "iemocap", "text+voice+face"): (Published("SDT Table II", 74.08, "weighted_f1"),),
    ("sdt", "meld", "text"): (Published("SDT Table IV, Text", 65.52, "weighted_f1"),),
    ("sdt", "meld", "voice"): (Published("SDT Table IV, Audio", 40.81, "weighted_f1"),),
    ("sdt", "meld", "text+voice"): (Published("SDT Table IV, Text + Audio", 66.24, "weighted_f1"),),
    ("sdt", "meld", "text+voice+face"): (Published("SDT Table III", 66.60, "weighted_f1"),),
    ("cmath", "iemocap", "text"): (Published("CMATH Table 5, Text", 67.81, "weighted_f1"),),
    ("cmath", "iemocap", "voice"): (Published("CMATH Table 5, Audio", 52.9, "weighted_f1"),),
    ("cmath", "iemocap", "text+voice"): (Published("CMATH Table 5, Text+Audio", 70.58, "weighted_f1"),),
    ("cmath", "iemocap", "text+voice+face"): (Published("CMATH Table 2", 73.96, "weighted_f1"),),
    ("cmath", "meld", "text"): (Published("CMATH Table 5, Text", 65.85, "weighted_f1"),),
    ("cmath", "meld", "voice"): (Published("CMATH Table 5, Audio", 41.08, "weighted_f1"),),
    ("cmath", "meld", "text+voice"): (Published("CMATH Table 5, Text+Audio", 66.56, "weighted_f1"),),
    ("cmath", "meld", "text+voice+face"): (Published("CMATH Table 3", 66.93, "weighted_f1"),),
    ("tdfnet", "iemocap", "text+voice"): (
        Published("TDFNet Table I, LOSO: WA", 76.26, "accuracy"),
        Published("TDFNet Table I, LOSO: UA", 77.04, "uar"),
    ),
    ("tdfnet", "iemocap", "text"): (
        Published("TDFNet Table V, TEXT PATH: WA", 67.68, "accuracy"),
        Published("TDFNet Table V, TEXT PATH: UA", 69.03, "uar"),
    ),
    ("tdfnet", "iemocap", "voice"): (
        Published("TDFNet Table V, AUDIO PATH: WA", 71.49, "accuracy"),
        Published("TDFNet Table V, AUDIO PATH: UA", 72.92, "uar"),
    ),
}


def print_comparison(config: PapersConfig) -> None:
    """Print `compare_with_papers` of `config.results`. Raises UsageError."""
    sys.stdout.write(compare_with_papers(read_cells(config.results)))


def compare_with_papers(cells: Mapping[tuple[Row, Column], Cell]) -> str:
    """Markdown: a row for each published number and result of the same system, corpus and modalities."""
    heads = ("published", "score", "paper", "here", "run", "features there", "context", "tested on", "pass chosen on")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for (row, column), cell in cells.items():
        for published in PUBLISHED.get((row.model, column.corpus, row.modalities), ()):
            setting = _SETTINGS[row.model, column.corpus]
            mean, deviation = cell.scores[published.score]
            folds = "" if cell.folds == 1 else f", {cell.folds} folds"
            ours = f"{100 * mean:.1f} ± {100 * deviation:.1f} ({cell.seeds}{folds})"
            features = ", ".join(setting.features[m] for m in row.modalities.split("+"))
            told = (
                *(published.where, TITLES[published.score], f"{published.percent:.2f}", ours, row.run, features),
                *(f"{setting.context}; here {row.context}", f"{setting.tested}; here {column.split}"),
                f"{setting.chosen}; here {row.selection or 'not recorded'}",
            )
            lines.append(f"| {' | '.join(told)} |")
    if len(lines) == 2:
        return "None of these results is of a system, corpus and modalities that a paper prints a number of.\n"
    title = "Percent; here: mean ± sample standard deviation (seeds, folds). Features here are on the card."
    return "\n".join([title, "", *lines]) + "\n"
