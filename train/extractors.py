"""The live feature code, put to turns of a corpus: which part of a turn it reads, and what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.checkpoint import WEIGHTS
from core_models.errors import MediaError, UsageError
from core_models.features.face import FaceFeature
from core_models.features.spec import MODALITIES, FeatureSpec
from core_models.features.text import Said, TextFeature
from core_models.features.voice import VoiceFeature
from core_models.features.whisper import Whisper
from train.corpora.dialogues import Line, Turn
from train.corpora.fer2013 import still, still_bytes
from train.store import digest

SAMPLE_RATE = 16_000
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Features:
    """Names of the weights behind each modality (configs/models.yaml, or folders); null leaves a modality out."""

    text: str | None = "minilm-l6"
    """Sentence encoder."""
    adapter: str | None = None
    """What taught the sentence encoder emotion: a name under core_models/weights, or a folder."""
    voice: str | None = "whisper-base"
    """Whisper, whose encoder states are the voice."""
    face: str | None = "face-landmarker"
    """MediaPipe's face landmarker."""
    imported: dict[str, Path] = field(default_factory=dict)
    """Modality -> file of features computed elsewhere, an npz with utt_id and feat, in place of the weights above. A
    checkpoint trained on them runs on them alone, never live."""


class Extractor(Protocol):
    """One modality of a turn -> its feature vector."""

    spec: FeatureSpec
    batch: int

    def key(self, turn: Turn) -> str | None:
        """Digest of what the vector is computed from; None where the line has no such modality. MediaError."""

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        """One vector [dimension] a turn; None where nothing was found. MediaError for what cannot be decoded."""


class TextExtractor:
    """The words of a line, and of those before it where the encoder reads them."""

    batch = 32

    def __init__(self, folder: Path, adapter: Path | None, threads: int) -> None:
        self._feature = TextFeature(folder, adapter=adapter, threads=threads)
        self.spec = self._feature.spec

    def key(self, turn: Turn) -> str | None:
        if not turn.line.text:
            return None
        if not self._feature.context:
            return digest("text", turn.line.text)
        ids, start = self._feature.rows([turn.line.text], [said_before(turn)])[0]
        return digest("tokens", np.array([start, *ids], np.int32).tobytes())

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        return list(self._feature([turn.line.text or "" for turn in turns], [said_before(turn) for turn in turns]))


class VoiceExtractor:
    """The sound of a line: its file, or the span of it that is the line's."""

    batch = 1

    def __init__(self, folder: Path, threads: int) -> None:
        self._whisper = Whisper(folder, threads=threads)
        self._feature = VoiceFeature(self._whisper)
        self.spec = self._feature.spec

    def key(self, turn: Turn) -> str | None:
        line = turn.line
        if line.audio is None:
            return None
        try:
            start, end = line.audio_span or (None, None)
            return digest("voice", line.audio.read_bytes(), f"{start}-{end}")
        except OSError:
            raise MediaError(f"{line.audio} cannot be read: expected a sound file.") from None

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        return [self._feature(self._whisper.encode(sound(turn.line))) for turn in turns]


class FaceExtractor:
    """The picture of a line: one frame, pooled as a video's frames are."""

    batch = 1

    def __init__(self, task: Path) -> None:
        self._feature = FaceFeature(task)
        self.spec = self._feature.spec

    def key(self, turn: Turn) -> str | None:
        return None if turn.line.image is None else digest("face", still_bytes(turn.line.image))

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        pooled = []
        for turn in turns:
            assert turn.line.image is not None
            vector, _ = self._feature.pool([self._feature.landmark(still(turn.line.image))])
            pooled.append(vector)
        return pooled


def said_before(turn: Turn) -> list[Said]:
    """The words before a turn, as its speaker remembers them, oldest first."""
    return [Said(line.speaker == turn.line.speaker, line.text) for line in turn.before if line.text]


def has(line: Line, modality: str) -> bool:
    """Whether the corpus has that modality of the line on disk."""
    return {"text": bool(line.text), "voice": line.audio is not None, "face": line.image is not None}[modality]


def sound(line: Line) -> NDArray[np.float32]:
    """The line's samples, mono float32 [n] at 16 kHz. Raises MediaError for a file that is none or too short."""
    try:
        samples, rate = soundfile.read(line.audio, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise MediaError(f"{line.audio} cannot be decoded ({error}): expected a sound file.") from None
    if line.audio_span is not None:
        start, end = line.audio_span
        samples = samples[start * rate // 1000 : end * rate // 1000]
    mono: NDArray[np.float32] = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if len(mono) < SHORTEST_S * SAMPLE_RATE or not np.isfinite(mono).all():
        raise MediaError(f"{line.audio} holds no usable sound: expected {SHORTEST_S} s or more.")
    return np.ascontiguousarray(mono, dtype=np.float32)


def open_extractor(modality: str, model: str, adapter: str | None = None, threads: int = 2) -> Extractor:
    """The extractor of `modality` with weights `model` (a name in configs/models.yaml, or a folder).

    `adapter` is a folder, or a name under core_models/weights, for text alone. Raises WeightsError,
    UsageError.
    """
    folder = Path(model) if Path(model).is_dir() else model_folder(model)
    if modality == "text":
        return TextExtractor(folder, adapter_folder(adapter), threads)
    if modality == "voice":
        return VoiceExtractor(folder, threads)
    if modality == "face":
        return FaceExtractor(folder / "face_landmarker.task")
    raise UsageError(f"{modality!r} is no modality: use {', '.join(MODALITIES)}.")


def extractor_of(spec: FeatureSpec) -> Extractor:
    """The extractor of a checkpoint's feature, by the names in its settings. Raises WeightsError, UsageError."""
    if spec.modality == "text":
        adapter = str(spec.settings["adapter"])
        return open_extractor("text", str(spec.settings["base"]), None if adapter == "none" else adapter)
    return open_extractor(spec.modality, str(spec.settings.get("whisper", spec.name)))


def adapter_folder(adapter: str | None) -> Path | None:
    """The folder of a text adapter given by path or by its name under core_models/weights. Raises UsageError."""
    if adapter is None:
        return None
    for folder in (WEIGHTS / adapter, Path(adapter)):
        if folder.is_dir():
            return folder
    raise UsageError(
        f"There is no text adapter {adapter!r}: give a folder, or the name of one under core_models/weights."
    )
