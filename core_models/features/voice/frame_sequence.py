"""Words and voice as sequences, for models that read an utterance token by token and frame by frame (TDFNet)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.feature_spec import FeatureSpec, combined_digest
from core_models.features.audio.campplus import SpeakerVector
from core_models.features.audio.whisper import Encoded, Whisper
from core_models.features.voice.mced_embedding import encoder_frames_spec

VERSION = 1


class VoiceSequence:
    """The encoder states of the transcript's pass, with the speaker embedding behind each of them."""

    def __init__(self, whisper: Whisper, speaker: SpeakerVector | None) -> None:
        self._speaker = speaker
        self.spec = voice_sequence_spec(encoder_frames_spec(whisper), None if speaker is None else speaker.spec)

    @classmethod
    def of(cls, settings: Mapping[str, object], whisper: Whisper, threads: int = 1) -> VoiceSequence:
        """With the speaker's vector that the settings of a spec name. Raises WeightsError."""
        name = str(settings["speaker"])
        return cls(whisper, None if name == "none" else SpeakerVector(model_folder(name), threads=threads))

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """float32 [T, dimension], 50 a second, from the pass that the words come from."""
        return with_speaker(encoded.frames, None if self._speaker is None else self._speaker(encoded.samples))


def with_speaker(frames: NDArray[np.float32], speaker: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """frames [T, d] with `speaker` [f] behind each of them: [T, d + f]."""
    if speaker is None:
        return frames
    return np.concatenate([frames, np.broadcast_to(speaker, (len(frames), len(speaker)))], axis=1)


def voice_sequence_spec(frames: FeatureSpec, speaker: FeatureSpec | None) -> FeatureSpec:
    """What `with_speaker` of the two gives; the digest is over both networks."""
    both = {"frames": frames.digest} | ({} if speaker is None else {"speaker": speaker.digest})
    return FeatureSpec(
        modality="voice",
        name=frames.name if speaker is None else f"{frames.name}+{speaker.name}",
        version=VERSION,
        dimension=frames.dimension + (0 if speaker is None else speaker.dimension),
        digest=combined_digest(both),
        settings={
            **frames.settings,
            "frames": frames.name,
            "speaker": "none" if speaker is None else str(speaker.settings["speaker"]),
            "pooling": "none",
        },
    )
