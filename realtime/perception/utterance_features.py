"""From an utterance to the features of its words, its voice and its face.

In two stages: `transcribe` is slow, has no side effects and may run speculatively; `extract_features` runs in the
dialogue's order, since the text feature may look at what was said before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core_models.features.face.landmarker import FaceFeature
from core_models.features.text.sentence_encoder import PastTurn, Text
from core_models.features.voice.statistics_pooling import Voice
from realtime.perception.face_track import FaceTrack
from realtime.perception.transcriber import Transcriber, Transcript
from realtime.segmentation.segments import Utterance

# A face in less than this share of the frames says more about the landmarker than about the speaker.
_FACE_SHARE = 0.2


@dataclass(frozen=True)
class Perception:
    """What was perceived of one utterance.

    `features` holds a float32 vector, or a sequence of them, for each modality that is there; `status` says of
    every modality whether it is `ok` or why it is missing. `discarded` is (code, sentence) where the sound was not
    speech after all; such an utterance must not reach the dialogue model. Times are wall-clock milliseconds.
    """

    text: str | None
    language: str | None
    features: dict[str, NDArray[np.float32]]
    status: dict[str, str]
    discarded: tuple[str, str] | None = None
    asr_ms: float = 0.0
    features_ms: float = 0.0
    padded_fallback: bool = False

    def without_broken(self) -> Perception:
        """The same with modalities `failed` whose features are no numbers: one NaN would spoil the whole dialogue."""
        broken = {modality for modality, x in self.features.items() if not np.isfinite(x).all()}
        if not broken:
            return self
        features = {modality: x for modality, x in self.features.items() if modality not in broken}
        return replace(self, features=features, status=self.status | dict.fromkeys(broken, "failed"))


@dataclass
class FeatureExtractor:
    """Runs the extractors over one utterance after another, on the caller's thread.

    `faces` is the track of the camera that sees this speaker, None where no camera does. A modality whose
    extractor is None is one that the checkpoint was not trained on: its status is `unused`.
    """

    transcriber: Transcriber
    voice: Voice | None
    text: Text | None
    face: FaceFeature | None

    def __call__(self, utterance: Utterance, faces: FaceTrack | None) -> Perception:
        """Both stages at once."""
        started = time.perf_counter()
        transcript = self.transcribe(utterance.samples)
        asr_ms = (time.perf_counter() - started) * 1000
        return replace(self.extract_features(utterance, transcript, faces), asr_ms=asr_ms)

    def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
        """One encoder pass and the words of an utterance, or of what may become one."""
        return self.transcriber(samples)

    def extract_features(
        self, utterance: Utterance, transcript: Transcript, faces: FaceTrack | None, past: Sequence[PastTurn] = ()
    ) -> Perception:
        """The features of the dialogue's next utterance; `past` is what was said before, oldest first."""
        self.transcriber.settle(transcript)
        return self._extract_features(utterance, transcript, faces, past, wait=True)

    def interim_features(
        self,
        utterance: Utterance,
        agreed: tuple[int, ...],
        faces: FaceTrack | None,
        past: Sequence[PastTurn] = (),
        *,
        words: bool,
    ) -> tuple[Perception, tuple[int, ...]]:
        """The features of an utterance that goes on, and its tokens; without side effects."""
        transcript = self.transcriber.partial(utterance.samples, agreed, words=words)
        return self._extract_features(utterance, transcript, faces, past, wait=False), transcript.tokens

    def _extract_features(
        self,
        utterance: Utterance,
        transcript: Transcript,
        faces: FaceTrack | None,
        past: Sequence[PastTurn],
        *,
        wait: bool,
    ) -> Perception:
        started = time.perf_counter()
        if transcript.discarded is not None:
            return Perception(None, transcript.language, {}, {}, discarded=transcript.discarded)
        features: dict[str, NDArray[np.float32]] = {}
        status = {"text": "unused", "voice": "unused", "face": "unused"}
        if self.text is not None:
            status["text"] = transcript.status
            if transcript.status == "ok":
                features["text"] = self.text([transcript.text], [past])[0]
        if self.voice is not None:
            status["voice"] = "ok"
            features["voice"] = self.voice(transcript.encoded)
        if self.face is not None:
            status["face"], vector = self._read_face(utterance, faces, wait=wait)
            if vector is not None:
                features["face"] = vector
        return Perception(
            transcript.text or None,
            transcript.language,
            features,
            status,
            features_ms=(time.perf_counter() - started) * 1000,
            padded_fallback=transcript.fallback_used,
        )

    def _read_face(
        self, utterance: Utterance, faces: FaceTrack | None, *, wait: bool
    ) -> tuple[str, NDArray[np.float32] | None]:
        if faces is None or self.face is None:
            return "absent", None
        vector, share = self.face.pool(faces.between(utterance.start_ms, utterance.end_ms, wait=wait))
        if vector is None or share < _FACE_SHARE:
            return "absent", None
        return "ok", vector
