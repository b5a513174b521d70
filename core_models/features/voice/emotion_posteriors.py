"""Voice as what it sounds like it feels: log-probabilities of a head over what the transcript has already paid for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.feature_network import FeatureNetworkKind, LoadedNetwork
from core_models.feature_spec import FeatureSpec, combined_digest
from core_models.features.audio import prosody as prosodies
from core_models.features.audio.prosody import prosody_frames
from core_models.features.audio.whisper import Encoded, Whisper
from core_models.features.voice.mced_embedding import encoder_frames_spec
from core_models.networks.voice_head import HeadConfig, VoiceHead
from core_models.torch_threads import torch_threads

VERSION = 1

# Voice heads on disk.
HEADS = FeatureNetworkKind(
    noun="voice",
    tensors="voice.safetensors",
    config=HeadConfig,
    network=VoiceHead,
    width=lambda config: config.states + config.prosody,
    made_by="python -m train voice",
)


class VoiceEmotion:
    """The head's log-probabilities of an utterance: float32 [classes].

    They mean the same whichever head gives them, so a dialogue model may be trained on what heads say of clips that
    they have not learned from (train/recipes/voice/fit.py), and run on another. CheckpointError where the head was
    trained on other frames than those of `whisper`.
    """

    spec: FeatureSpec

    def __init__(self, head: LoadedNetwork[VoiceHead], whisper: Whisper, *, threads: int = 1) -> None:
        head.require(voice_head_frames_spec(encoder_frames_spec(whisper)))
        self._model = head.model
        self._threads = threads
        self.spec = emotion_spec(head)

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension]."""
        frames = torch.from_numpy(head_frames(encoded))[None]
        with torch_threads(self._threads), torch.inference_mode():
            vector: NDArray[np.float32] = self._model(frames, torch.tensor([frames.shape[1]]))[0].numpy()
        return vector


def head_frames(encoded: Encoded) -> NDArray[np.float32]:
    """float32 [T, d + prosody], 25 frames a second: encoder states with prosody behind them, two averaged to one."""
    beside = prosody_frames(encoded.samples, len(encoded.frames))
    frames = np.concatenate([encoded.frames, beside], axis=1)
    if len(frames) % 2:
        frames = np.concatenate([frames, frames[-1:]])
    pairs: NDArray[np.float32] = frames.reshape(-1, 2, frames.shape[1]).mean(axis=1, dtype=np.float32)
    return pairs


def voice_head_frames_spec(frames: FeatureSpec) -> FeatureSpec:
    """What `head_frames` gives of Whisper's `frames`."""
    return FeatureSpec(
        modality="voice",
        name=f"{frames.name}+prosody",
        version=VERSION,
        dimension=frames.dimension + prosodies.DIMENSION,
        digest=frames.digest,
        settings={**frames.settings, "prosody": prosodies.VERSION, "rate": 25},
    )


def emotion_spec(head: LoadedNetwork[VoiceHead]) -> FeatureSpec:
    """What VoiceEmotion gives of `head`; the digest is over the tensors of the head and of the network behind it."""
    frames = head.sidecar.inputs
    both = {"frames": frames.digest, "head": head.digest}
    return FeatureSpec(
        modality="voice",
        name=head.name,
        version=VERSION,
        dimension=head.model.config.classes,
        digest=combined_digest(both),
        settings={**frames.settings, "head": head.name, "labels": head.sidecar.labels, "pooling": "log-probabilities"},
    )
