"""The live feature code, put to turns of a corpus: which part of a turn it reads, and what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.checkpoint import WEIGHTS, load
from core_models.errors import MediaError, UsageError
from core_models.features.mced_voice import STUDENTS, MCEDVoice
from core_models.features.sequences import VoiceSequence
from core_models.features.spec import MODALITIES, FeatureSpec
from core_models.features.tdfnet_voice import TDFNetVoice, tdfnet_folder
from core_models.features.text import Said, TextFeature
from core_models.features.voice import VoiceFeature
from core_models.features.voice_emotion import HEADS, VoiceEmotion
from core_models.features.whisper import Whisper
from train.corpora.dialogues import Line, Turn
from train.cross_fit import answer, read_cross_fit
from train.face_extractor import FaceExtractor
from train.frames import DESCRIPTORS, open_frames
from train.media import samples_of
from train.store import digest, digest_of_file

SAMPLE_RATE = 16_000
SHORTEST_S = 0.1

Reduced = tuple[type["Extractor"], tuple[Any, ...]]
"""An extractor as it travels to another process: what opens it again there."""


@dataclass(frozen=True)
class Features:
    """Names of the weights behind each modality (configs/models.yaml, or folders); null leaves a modality out."""

    text: str | None = "minilm-l6"
    """Sentence encoder."""
    adapter: str | None = None
    """What taught the sentence encoder emotion: a name under core_models/weights, or a folder."""
    voice: str | None = "whisper-base"
    """Whisper, whose encoder states are the voice; or a voice head, an MCED student or a TDFNet that hears them: a
    name under core_models/weights, or a folder."""
    face: str | None = "face-landmarker"
    """MediaPipe's face landmarker; or an expression network over it: a name under core_models/weights, or a folder."""
    imported: dict[str, Path] = field(default_factory=dict)
    """Modality -> file of features computed elsewhere, an npz with utt_id and feat, in place of the weights above. A
    checkpoint trained on them runs on them alone, never live."""


class Extractor(Protocol):
    """One modality of a turn -> its feature vector. Pickles as what opens it, so that other processes may have one."""

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
        self._made = folder, adapter, threads
        self._feature = TextFeature(folder, adapter=adapter, threads=threads)
        self.spec = self._feature.spec

    def __reduce__(self) -> Reduced:
        return TextExtractor, self._made

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
        self._made = folder, threads
        self._whisper = Whisper(folder, threads=threads)
        self._feature = VoiceFeature(self._whisper)
        self.spec = self._feature.spec

    def __reduce__(self) -> Reduced:
        return VoiceExtractor, self._made

    def key(self, turn: Turn) -> str | None:
        return sound_key(turn.line)

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        return [self._feature(self._whisper.encode(sound(turn.line))) for turn in turns]


class MCEDExtractor:
    """The sound of a line, as an MCED student hears it."""

    batch = 1

    def __init__(self, name_or_path: str | Path, threads: int) -> None:
        self._made = name_or_path, threads
        student = STUDENTS.find(name_or_path)
        self._frames = open_frames(str(student.sidecar.inputs.settings.get("whisper", DESCRIPTORS)), threads)
        self._student = MCEDVoice(student, self._frames.spec, threads=threads)
        self.spec = self._student.spec

    def __reduce__(self) -> Reduced:
        return MCEDExtractor, self._made

    def key(self, turn: Turn) -> str | None:
        return sound_key(turn.line)

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        return [self._student.of_frames(self._frames(sound(turn.line))) for turn in turns]


class VoiceEmotionExtractor:
    """The sound of a line, as a voice head hears it; for a clip that it was trained on, as heads that were not."""

    batch = 1

    def __init__(self, name_or_path: str | Path, threads: int) -> None:
        self._made = name_or_path, threads
        head = HEADS.find(name_or_path)
        self._answers = read_cross_fit(head.folder)
        self._whisper = Whisper(model_folder(str(head.sidecar.inputs.settings["whisper"])), threads=threads)
        self._voice = VoiceEmotion(head, self._whisper, threads=threads)
        self.spec = self._voice.spec

    def __reduce__(self) -> Reduced:
        return VoiceEmotionExtractor, self._made

    def key(self, turn: Turn) -> str | None:
        return sound_key(turn.line)

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        return [self._vector(turn.line) for turn in turns]

    def _vector(self, line: Line) -> NDArray[np.float32]:
        unseen = answer(self._answers, sound_key(line) or "")
        return self._voice(self._whisper.encode(sound(line))) if unseen is None else unseen


class TDFNetExtractor:
    """The sound of a line, as a TDFNet hears it."""

    batch = 1

    def __init__(self, folder: Path, threads: int) -> None:
        self._made = folder, threads
        checkpoint = load(folder)
        settings = checkpoint.sidecar.features["voice"].settings if "voice" in checkpoint.sidecar.features else {}
        if "whisper" not in settings:
            raise UsageError(f"{folder} does not hear encoder states of Whisper: name a TDFNet that does.")
        self._whisper = Whisper(model_folder(str(settings["whisper"])), threads=threads)
        self._voice = TDFNetVoice(checkpoint, VoiceSequence.of(settings, self._whisper, threads), threads=threads)
        self.spec = self._voice.spec

    def __reduce__(self) -> Reduced:
        return TDFNetExtractor, self._made

    def key(self, turn: Turn) -> str | None:
        return sound_key(turn.line)

    def vectors(self, turns: Sequence[Turn]) -> list[NDArray[np.float32] | None]:
        return [self._voice(self._whisper.encode(sound(turn.line))) for turn in turns]


def said_before(turn: Turn) -> list[Said]:
    """The words before a turn, as its speaker remembers them, oldest first."""
    return [Said(line.speaker == turn.line.speaker, line.text) for line in turn.before if line.text]


def has(line: Line, modality: str) -> bool:
    """Whether the corpus has that modality of the line on disk."""
    return modality in line.recorded or {
        "text": bool(line.text),
        "voice": line.audio is not None,
        "face": line.image is not None or line.video is not None,
    }[modality]


def sound_key(line: Line) -> str | None:
    """Digest of the line's sound; None where it has none. Raises MediaError for a file that cannot be read."""
    if line.audio is None:
        return None
    try:
        start, end = line.audio_span or (None, None)
        return digest_of_file("voice", line.audio, f"{start}-{end}")
    except OSError:
        raise MediaError(f"{line.audio} cannot be read: expected a sound file.") from None


def sound(line: Line) -> NDArray[np.float32]:
    """The line's samples, mono float32 [n] at 16 kHz. Raises MediaError for a file that is none or too short."""
    assert line.audio is not None
    samples, rate = samples_of(line.audio, line.audio_span)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    if len(samples) < SHORTEST_S * SAMPLE_RATE or not np.isfinite(samples).all():
        raise MediaError(f"{line.audio} holds no usable sound: expected {SHORTEST_S} s or more.")
    return np.ascontiguousarray(samples, dtype=np.float32)


def open_extractor(modality: str, model: str, adapter: str | None = None, threads: int = 2) -> Extractor:
    """The extractor of `modality` with weights `model` (a name in configs/models.yaml, or a folder).

    `adapter` is a folder, or a name under core_models/weights, for text alone. Raises WeightsError,
    UsageError.
    """
    if modality == "voice" and STUDENTS.folder(model) is not None:
        return MCEDExtractor(model, threads)
    if modality == "voice" and HEADS.folder(model) is not None:
        return VoiceEmotionExtractor(model, threads)
    if modality == "voice" and (tdfnet := tdfnet_folder(model)) is not None:
        return TDFNetExtractor(tdfnet, threads)
    if modality == "face":
        return FaceExtractor(model)
    folder = Path(model) if Path(model).is_dir() else model_folder(model)
    if modality == "text":
        return TextExtractor(folder, adapter_folder(adapter), threads)
    if modality == "voice":
        return VoiceExtractor(folder, threads)
    raise UsageError(f"{modality!r} is no modality: use {', '.join(MODALITIES)}.")


def extractor_of(spec: FeatureSpec) -> Extractor:
    """The extractor of a checkpoint's feature, by the names in its settings. Raises WeightsError, UsageError."""
    if spec.modality == "text":
        adapter = str(spec.settings["adapter"])
        return open_extractor("text", str(spec.settings["base"]), None if adapter == "none" else adapter)
    if "student" in spec.settings:
        return MCEDExtractor(str(spec.settings["student"]), threads=2)
    return open_extractor(spec.modality, weights_of(spec) or spec.name)


def weights_of(spec: FeatureSpec) -> str | None:
    """The name of the weights behind a checkpoint's feature, its text adapter apart; None for an imported one."""
    if spec.settings.get("imported"):
        return None
    by = {"text": ("base",), "voice": ("student", "head", "tdfnet", "whisper"), "face": ()}[spec.modality]
    return next((str(spec.settings[key]) for key in by if key in spec.settings), spec.name)


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
