"""Pairs of sound and words, labelled lines and a sentence encoder, all small, for MCED's stages."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import tiny_encoder

PHRASES = {"joy": "so happy for you !", "anger": "what ? ! ?", "neutral": "you had your hands full ."}
PITCHES = {"joy": 300, "anger": 120, "neutral": 200}


@dataclass(frozen=True)
class Pieces:
    """Folders of what the stages read."""

    encoder: Path
    """M_0: two layers of 16, with a mask token."""
    meld: Path
    """90 lines, three emotions that the words give away."""
    pairs: Path
    """A CSV of 24 sounds of 0.6 s by six speakers; pitch and words go with the emotion."""
    store: Path


def write_pieces(root: Path, patch: pytest.MonkeyPatch) -> Pieces:
    """Everything under `root`."""
    with patch.context() as here:
        here.setattr(tiny_encoder, "WORDS", [*tiny_encoder.WORDS, "[MASK]"])
        encoder = tiny_encoder.tiny_encoder(root / "m0")
    return Pieces(encoder, _meld(root / "meld"), _pairs(root / "pairs"), root / "store")


def _meld(folder: Path) -> Path:
    folder.mkdir()
    names = list(PHRASES)
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    clock = '"00:00:01,000","00:00:02,000"'
    rows = [f"{PHRASES[names[n % 3]]},Al,{names[n % 3]},{n // 3},{n % 3},1,1,{clock}" for n in range(90)]
    for split in ("train", "dev"):
        (folder / f"{split}_sent_emo.csv").write_text("\n".join((header, *rows)))
    return folder


def _pairs(folder: Path) -> Path:
    folder.mkdir()
    rate = 16_000
    t = np.arange(round(0.6 * rate)) / rate
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "start", "end", "speaker", "label", "text"])
        for number in range(24):
            label = list(PHRASES)[number % 3]
            phase = 2 * np.pi * (PITCHES[label] + number // 4) * t
            sound = sum(np.sin(k * phase) / k for k in range(1, 9))
            soundfile.write(folder / f"{number}.wav", (0.1 * sound).astype(np.float32), rate)
            writer.writerow([f"{number}.wav", "", "", f"speaker {number // 4}", label, PHRASES[label]])
    return folder
