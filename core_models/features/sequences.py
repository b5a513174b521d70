"""Words and voice as sequences, for models that read an utterance token by token and frame by frame (TDFNet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.features.mced_voice import frames_spec
from core_models.features.speaker import SpeakerVector
from core_models.features.spec import FeatureSpec, tensors_digest
from core_models.features.text import MAX_TOKENS, Said, apply_adapter, load_encoder, pad
from core_models.features.whisper import Encoded, Whisper

VERSION = 1


class TokenStates:
    """Utterances to the last layer of a sentence encoder, one vector a token, start and end tokens among them.

    `folder` is that of a BERT or MPNet encoder in the hub's own format, `adapter` one of an adapter that has taught it
    emotion, whose past is not read. Raises WeightsError, CheckpointError.
    """

    languages = frozenset({"en"})

    def __init__(
        self, folder: Path, *, adapter: Path | None = None, max_tokens: int = MAX_TOKENS, threads: int = 1
    ) -> None:
        self._encoder = load_encoder(folder)
        self._max_tokens, self._threads = max_tokens, threads
        name, base, digest = self._encoder.name, self._encoder.name, self._encoder.digest
        if adapter is not None:
            sidecar, digest = apply_adapter(self._encoder, adapter)
            name, base = adapter.name, sidecar.base
        self.spec = FeatureSpec(
            modality="text",
            name=f"{name}-tokens",
            version=VERSION,
            dimension=self._encoder.dimension,
            digest=digest,
            settings={
                "base": base,
                "adapter": "none" if adapter is None else name,
                "max_tokens": max_tokens,
                "pooling": "none",
                "marks": "plain",
            },
        )

    def __call__(
        self, texts: Sequence[str], pasts: Sequence[Sequence[Said]] = ()
    ) -> list[NDArray[np.float32]]:
        """float32 [T, dimension] of each text, whatever was said before it and whatever its neighbours are."""
        # See TextFeature: one thread is the safe default, and the setting belongs to the calling thread.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        rows = [row.ids for row in self._encoder.tokenize(texts, self._max_tokens)]
        ids, mask = pad(rows)
        with torch.inference_mode():
            states = self._encoder.network(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
        return [np.array(state[: len(row)]) for state, row in zip(states, rows, strict=True)]


class VoiceSequence:
    """The encoder states that the transcript has already paid for, the speaker's vector behind each of them."""

    def __init__(self, whisper: Whisper, speaker: SpeakerVector | None) -> None:
        self._speaker = speaker
        self.spec = voice_sequence_spec(frames_spec(whisper), None if speaker is None else speaker.spec)

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
        digest=tensors_digest((name, np.frombuffer(bytes.fromhex(d), np.uint8)) for name, d in both.items()),
        settings={
            **frames.settings,
            "frames": frames.name,
            "speaker": "none" if speaker is None else str(speaker.settings["speaker"]),
            "pooling": "none",
        },
    )
