"""The live feature code applied to utterances of a corpus: which part of one it reads, and the vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.assets import model_folder_of
from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.features.registry import open_voice_by_name, weights_of
from core_models.features.text.sentence_encoder import PastTurn, TextFeature
from core_models.features.voice.emotion_posteriors import HEADS
from core_models.features.voice.mced_embedding import STUDENTS, MCEDVoice
from core_models.text_adapter import adapter_folder
from train.corpora.dialogues import Utterance, UtteranceInContext
from train.extraction.extractor import Extractor, Reduced
from train.extraction.face_extractor import FaceExtractor
from train.extraction.frame_extractors import DESCRIPTORS, open_frames
from train.extraction.out_of_fold import find_out_of_fold, read_out_of_fold
from train.media.content_digest import digest_of
from train.media.utterance_audio import read_sound, sound_key


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
            return digest_of("text", turn.utterance.text)
        ids, start = self._feature.rows([turn.utterance.text], [past_turns(turn)])[0]
        return digest_of("tokens", np.array([start, *ids], np.int32).tobytes())

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return list(self._feature([turn.utterance.text or "" for turn in turns], [past_turns(turn) for turn in turns]))


class SoundExtractor:
    """The sound of an utterance, its file or the span of it that is its own, by a voice feature.

    Of a clip that a voice head was trained on it gives what heads say that were not (extraction/out_of_fold.py).
    """

    batch = 1

    def __init__(self, name_or_path: str | Path, threads: int) -> None:
        self._made = name_or_path, threads
        self._listen, self.spec = open_sound(name_or_path, threads)
        head = HEADS.folder(name_or_path)
        self._out_of_fold = {} if head is None else read_out_of_fold(head)

    def __reduce__(self) -> Reduced:
        return SoundExtractor, self._made

    def key(self, turn: UtteranceInContext) -> str | None:
        return sound_key(turn.utterance)

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        return [self._vector_of(turn.utterance) for turn in turns]

    def _vector_of(self, utterance: Utterance) -> NDArray[np.float32]:
        if self._out_of_fold:
            found = find_out_of_fold(self._out_of_fold, sound_key(utterance) or "")
            if found is not None:
                return found
        return self._listen(read_sound(utterance))


def open_sound(
    name_or_path: str | Path, threads: int
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], FeatureSpec]:
    """(samples at 16 kHz -> voice vector, its spec) of that voice; an MCED student may take descriptors as well."""
    if STUDENTS.folder(name_or_path) is not None:
        student = STUDENTS.find(name_or_path)
        frames = open_frames(str(student.sidecar.inputs.settings.get("whisper", DESCRIPTORS)), threads)
        of_frames = MCEDVoice(student, frames.spec, threads=threads)
        return lambda samples: of_frames.of_frames(frames(samples)), of_frames.spec
    whisper, voice = open_voice_by_name(name_or_path, threads)
    return lambda samples: voice(whisper.encode_windowed(samples)), voice.spec


def past_turns(turn: UtteranceInContext) -> list[PastTurn]:
    """The words before a turn, as its speaker remembers them, oldest first."""
    return [
        PastTurn(utterance.speaker == turn.utterance.speaker, utterance.text)
        for utterance in turn.context
        if utterance.text
    ]


def has_modality(utterance: Utterance, modality: str) -> bool:
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
    match modality:
        case "text":
            return TextExtractor(model_folder_of(model), adapter_folder(adapter), threads)
        case "voice":
            return SoundExtractor(model, threads)
        case "face":
            return FaceExtractor(model)
    raise UsageError(f"{modality!r} is no modality: use {', '.join(MODALITIES)}.")


def extractor_of(spec: FeatureSpec) -> Extractor:
    """The extractor of a checkpoint's feature, by the names in its settings. Raises WeightsError, UsageError."""
    adapter = str(spec.settings.get("adapter", "none"))
    return open_extractor(spec.modality, weights_of(spec) or spec.name, None if adapter == "none" else adapter)
