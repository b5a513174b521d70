"""Voices of an earlier call, in a file for its owner's eyes alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from core_models.errors import DiskError
from realtime.diarization.speaker_clustering import SpeakerClustering


def load_voice_prints(clustering: SpeakerClustering, file: Path) -> None:
    """Know the people of an earlier call, where the file is there. DiskError."""
    try:
        with np.load(file, allow_pickle=False) as prints:
            for name in prints.files:
                clustering.enrol(name, prints[name])
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DiskError(f"{file} holds no voice prints that can be read ({error}): delete it.") from None


def save_voice_prints(clustering: SpeakerClustering, file: Path) -> None:
    """Keep everybody's voice print, readable by the owner only. DiskError."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            np.savez(out, **clustering.prints())  # type: ignore[arg-type]
    except OSError as error:
        raise DiskError(f"Voice prints cannot be kept in {file} ({error.strerror}): give another file.") from None
