"""Who of several people at one microphone speaks: online clustering of speaker vectors (no I/O but voice prints).

Leader clustering by cosine with running centroids, as in online diarisation (Coria et al., Overlap-aware low-latency
online speaker diarization based on end-to-end local segmentation, ASRU 2021), over whole utterances.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.errors import DiskError, UsageError
from core_models.features.audio.campplus import SpeakerVector
from realtime.sources.media import SAMPLE_RATE

Vector = NDArray[np.float32]

SHORTEST_S = 1.0
"""Less speech than this founds no speaker and teaches none; it is the nearest one's, or the latest one's."""
SAME, PERHAPS = 0.4, 0.2
"""Cosine from which an utterance belongs to a speaker, and from which a short one is rather theirs than anybody's.

Two voices of a mono recording, 29 utterances of 0.5 to 4.4 s: same voice 0.49 or more in nine of ten pairs, two voices
0.15 at most."""
ONE_PERSON = 0.7
"""Cosine of two speakers from which they are one."""
_MOST = 8
_LONGEST_S = 60.0  # of speech that counts: a voice changes over a call


@dataclass
class _Voice:
    name: str
    sum: Vector
    seconds: float
    enrolled: bool = False

    def cosine(self, unit: Vector) -> float:
        return float(self.sum @ unit / np.linalg.norm(self.sum))


class SpeakerClustering:
    """The people heard so far; `vector` is what tells one voice from another.

    Names are `speaker1`, `speaker2`, ... in order of appearance, or those enrolled.
    """

    def __init__(self, vector: SpeakerVector | None = None) -> None:
        self.vector = vector
        self._voices: list[_Voice] = []
        self._count = 0
        self.latest = "speaker1"
        """Who spoke last: the best guess while somebody begins to."""

    def enrol(self, name: str, vector: Vector, seconds: float = 10.0) -> None:
        """Know a person by a sample of speech; UsageError where the name is taken."""
        if any(voice.name == name for voice in self._voices):
            raise UsageError(f"Two samples are called {name!r}: give one sample a person with --enrol.")
        self._voices.append(_Voice(name, _unit(vector) * seconds, seconds, enrolled=True))

    def hear_sample(self, name: str, samples: NDArray[np.float32]) -> None:
        """Know a person by samples, float32 [n] at 16 kHz; UsageError where they are too few."""
        if self.vector is None or len(samples) < SHORTEST_S * SAMPLE_RATE:
            raise UsageError(f"The sample of {name!r} is too short: give some seconds of that voice alone.")
        self.enrol(name, self.vector(samples))

    def assign(self, vector: Vector, seconds: float) -> tuple[str, list[tuple[str, str]]]:
        """Whose utterance of `seconds` this is, and which speakers it showed to be one: (gone, kept)."""
        unit = _unit(vector)
        cosines = [voice.cosine(unit) for voice in self._voices]
        best = int(np.argmax(cosines)) if cosines else -1
        if best >= 0 and (cosines[best] >= SAME or len(self._voices) >= _MOST):
            voice = self._voices[best]
        elif seconds < SHORTEST_S:
            if best >= 0 and cosines[best] >= PERHAPS:
                self.latest = self._voices[best].name
            return self.latest, []
        else:
            self._count += 1
            while any(voice.name == f"speaker{self._count}" for voice in self._voices):  # from an earlier call
                self._count += 1
            voice = _Voice(f"speaker{self._count}", np.zeros_like(unit), 0.0)
            self._voices.append(voice)
        if seconds >= SHORTEST_S:
            kept = min(1.0, _LONGEST_S / (voice.seconds + seconds))
            voice.sum = ((voice.sum + unit * seconds) * kept).astype(np.float32)
            voice.seconds = (voice.seconds + seconds) * kept
        merged = self._merge()
        self.latest = dict(merged).get(voice.name, voice.name)
        return self.latest, merged

    def _merge(self) -> list[tuple[str, str]]:
        for at, kept in enumerate(self._voices):
            for gone in self._voices[at + 1 :]:
                if not gone.enrolled and kept.cosine(_unit(gone.sum)) >= ONE_PERSON:
                    kept.sum = kept.sum + gone.sum
                    kept.seconds += gone.seconds
                    self._voices.remove(gone)
                    return [(gone.name, kept.name), *self._merge()]
        return []

    def load(self, file: Path) -> None:
        """Know the people of an earlier call, where the file of voice prints is there. DiskError."""
        try:
            with np.load(file, allow_pickle=False) as prints:
                for name in prints.files:
                    self.enrol(name, prints[name])
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise DiskError(f"{file} holds no voice prints that can be read ({error}): delete it.") from None

    def save(self, file: Path) -> None:
        """Keep everybody's voice print, for the owner's eyes only. DiskError."""
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                prints = {voice.name: _unit(voice.sum) for voice in self._voices}
                np.savez(out, **prints)  # type: ignore[arg-type]
        except OSError as error:
            raise DiskError(f"Voice prints cannot be kept in {file} ({error.strerror}): give another file.") from None


def _unit(vector: Vector) -> Vector:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


UNKNOWN_SPEAKER = "anybody"
"""Who speaks in a source with several people."""
