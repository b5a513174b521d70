"""The live feature code, put to turns of a corpus: which part of a turn it reads, and what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.assets import model_folder, model_folder_of
from core_models.checkpoint import load
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.features.audio.whisper import Whisper
from core_models.features.text.sentence_encoder import PastTurn, TextFeature
from core_models.features.voice.emotion_posteriors import HEADS, VoiceEmotion
from core_models.features.voice.frame_sequence import VoiceSequence
from core_models.features.voice.mced_embedding import STUDENTS, MCEDVoice
from core_models.features.voice.statistics_pooling import VoiceFeature
from core_models.features.voice.tdfnet_embedding import TDFNetVoice, tdfnet_folder
from core_models.text_adapter import adapter_folder
from train.corpora.dialogues import Utterance, UtteranceInContext
from train.extraction.extractor import Extractor, Reduced
from train.extraction.face_extractor import FaceExtractor
from train.extraction.frame_extractors import DESCRIPTORS, open_frames
from train.extraction.out_of_fold import answer, read_cross_fit
from train.media.content_digest import digest
from train.media.utterance_audio import sound, sound_key


class TextExtractor:
    """The words of an utterance, and of those before it where the encoder reads them."""

    batch = 32

    def __init__(self, folder: Path, adapter: Path | None, threads: int) -> None:
        self._made = folder, adapter, threads
        self._feature = TextFeature(folder, adapter=adapter, threads=threads)
        self.spec = self._feature.spec

    def __reduce__(self) -> Reduced:
        return TextExtractor, self._made

    def key(self, turn: UtteranceInContext) -> str | None:
        if not turn.utterance.text:
            return None
        if not self._feature.context:
            return digest("text", turn.utterance.text)
        ids, start = self._feature.rows([turn.utterance.text], [said_before(turn)])[0]
        return digest("tokens", np.array([start, *ids], np.int32).tobytes())

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return list(self._feature([turn.utterance.text or "" for turn in turns], [said_before(turn) for turn in turns]))


class VoiceExtractor:
    """The sound of an utterance: its file, or the span of it that is the utterance's."""

    batch = 1

    def __init__(self, folder: Path, threads: int) -> None:
        self._made = folder, threads
        self._whisper = Whisper(folder, threads=threads)
        self._feature = VoiceFeature(self._whisper)
        self.spec = self._feature.spec

    def __reduce__(self) -> Reduced:
        return VoiceExtractor, self._made

    def key(self, turn: UtteranceInContext) -> str | None:
        return sound_key(turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return [self._feature(self._whisper.encode(sound(turn.utterance))) for turn in turns]


class MCEDExtractor:
    """The sound of an utterance, as an MCED student hears it."""

    batch = 1

    def __init__(self, name_or_path: str | Path, threads: int) -> None:
        self._made = name_or_path, threads
        student = STUDENTS.find(name_or_path)
        self._frames = open_frames(str(student.sidecar.inputs.settings.get("whisper", DESCRIPTORS)), threads)
        self._student = MCEDVoice(student, self._frames.spec, threads=threads)
        self.spec = self._student.spec

    def __reduce__(self) -> Reduced:
        return MCEDExtractor, self._made

    def key(self, turn: UtteranceInContext) -> str | None:
        return sound_key(turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return [self._student.of_frames(self._frames(sound(turn.utterance))) for turn in turns]


class VoiceEmotionExtractor:
    """The sound of an utterance, by a voice head; for a clip that it was trained on, by heads that were not."""

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

    def key(self, turn: UtteranceInContext) -> str | None:
        return sound_key(turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return [self._vector(turn.utterance) for turn in turns]

    def _vector(self, utterance: Utterance) -> NDArray[np.float32]:
        unseen = answer(self._answers, sound_key(utterance) or "")
        return self._voice(self._whisper.encode(sound(utterance))) if unseen is None else unseen


class TDFNetExtractor:
    """The sound of an utterance, as a TDFNet hears it."""

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

    def key(self, turn: UtteranceInContext) -> str | None:
        return sound_key(turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return [self._voice(self._whisper.encode(sound(turn.utterance))) for turn in turns]


def said_before(turn: UtteranceInContext) -> list[PastTurn]:
    """The words before a turn, as its speaker remembers them, oldest first."""
    return [
        PastTurn(utterance.speaker == turn.utterance.speaker, utterance.text)
        for utterance in turn.context
        if utterance.text
    ]


def has(utterance: Utterance, modality: str) -> bool:
    """Whether the corpus has that modality of the utterance on disk."""
    return (
        modality in utterance.recorded
        or {
            "text": bool(utterance.text),
            "voice": utterance.audio is not None,
            "face": utterance.image is not None or utterance.video is not None,
        }[modality]
    )


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
    folder = model_folder_of(model)
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
