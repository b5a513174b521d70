"""From a checkpoint's spec, or from the name of its weights, to the live feature that computes it (contract 1).

A run, an extraction from a corpus and an evaluation open their features here, so that none of them can differ.
"""

from __future__ import annotations

from pathlib import Path

from core_models.assets import model_folder, model_folder_of
from core_models.checkpoint import WEIGHTS, Checkpoint, load
from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.whisper import Whisper
from core_models.features.text.sentence_encoder import Text, TextFeature
from core_models.features.text.token_states import TokenStates
from core_models.features.voice.emotion_posteriors import HEADS, VoiceEmotion
from core_models.features.voice.frame_sequence import VoiceSequence
from core_models.features.voice.mced_embedding import STUDENTS, MCEDVoice, encoder_frames_spec
from core_models.features.voice.statistics_pooling import Voice, VoiceFeature
from core_models.features.voice.tdfnet_embedding import TDFNetVoice, tdfnet_folder

# Modality -> settings of a spec that may name its weights, the one that decides first.
_WEIGHTS_SETTINGS = {"text": ("base",), "voice": ("student", "head", "tdfnet", "whisper"), "face": ()}


def weights_of(spec: FeatureSpec) -> str | None:
    """The name of the weights behind a checkpoint's feature, its text adapter apart; None for an imported one."""
    if spec.settings.get("imported"):
        return None
    named = (spec.settings[key] for key in _WEIGHTS_SETTINGS[spec.modality] if key in spec.settings)
    return str(next(named, spec.name))


def open_text(spec: FeatureSpec, threads: int) -> Text:
    """The text feature of a checkpoint's spec. Raises WeightsError, and CheckpointError for an absent adapter."""
    adapter = str(spec.settings["adapter"])
    folder: Path | None = WEIGHTS / adapter if adapter != "none" else None
    if folder is not None and not folder.is_dir():
        raise CheckpointError(
            f"The checkpoint was trained on the text adapter {adapter!r}, which is not under {WEIGHTS}: "
            "put it there, or use another checkpoint."
        )
    base = model_folder(str(spec.settings["base"]))
    if spec.settings["pooling"] == "none":
        most = int(spec.settings["max_tokens"])
        return TokenStates(base, adapter=folder, max_tokens=most, threads=threads)
    return TextFeature(base, adapter=folder, threads=threads)


def open_voice(spec: FeatureSpec, whisper: Whisper, threads: int) -> Voice:
    """The voice feature of a checkpoint's spec over the recogniser at hand. Raises WeightsError, CheckpointError."""
    settings = spec.settings
    if "tdfnet" in settings:
        return _open_tdfnet(load(str(settings["tdfnet"])), whisper, threads)
    if "student" in settings:
        return MCEDVoice(STUDENTS.find(str(settings["student"])), encoder_frames_spec(whisper), threads=threads)
    if "head" in settings:
        return VoiceEmotion(HEADS.find(str(settings["head"])), whisper, threads=threads)
    if "speaker" in settings:
        return VoiceSequence.of(settings, whisper, threads)
    return VoiceFeature(whisper)


def open_voice_by_name(name_or_path: str | Path, threads: int) -> tuple[Whisper, Voice]:
    """(recogniser, voice feature over it) of a voice head, an MCED student, a TDFNet or a Whisper.

    A name is one under core_models/weights or, for a Whisper, in configs/models.yaml. Raises WeightsError,
    CheckpointError, and UsageError for a network that takes other frames than a Whisper's.
    """
    if STUDENTS.folder(name_or_path) is not None:
        student = STUDENTS.find(name_or_path)
        whisper = _open_recogniser(student.name, student.sidecar.inputs, threads)
        return whisper, MCEDVoice(student, encoder_frames_spec(whisper), threads=threads)
    if HEADS.folder(name_or_path) is not None:
        head = HEADS.find(name_or_path)
        whisper = _open_recogniser(head.name, head.sidecar.inputs, threads)
        return whisper, VoiceEmotion(head, whisper, threads=threads)
    tdfnet = tdfnet_folder(name_or_path)
    if tdfnet is not None:
        checkpoint = load(tdfnet)
        whisper = _open_recogniser(checkpoint.name, checkpoint.sidecar.features.get("voice"), threads)
        return whisper, _open_tdfnet(checkpoint, whisper, threads)
    whisper = Whisper(model_folder_of(name_or_path), threads=threads)
    return whisper, VoiceFeature(whisper)


def _open_tdfnet(checkpoint: Checkpoint, whisper: Whisper, threads: int) -> Voice:
    frames = VoiceSequence.of(checkpoint.sidecar.features["voice"].settings, whisper, threads)
    return TDFNetVoice(checkpoint, frames, threads=threads)


def _open_recogniser(name: str, frames: FeatureSpec | None, threads: int) -> Whisper:
    """The Whisper whose states the network of that name takes as its `frames`."""
    if frames is None or "whisper" not in frames.settings:
        raise UsageError(f"{name} does not take a Whisper's encoder states: name a voice that does.")
    return Whisper(model_folder(str(frames.settings["whisper"])), threads=threads)
