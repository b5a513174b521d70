"""Everything a live run must load: the checkpoint, and the extractors that it was trained on."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

from core_models.assets import model_folder
from core_models.checkpoint import Checkpoint, load
from core_models.errors import CheckpointError
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.whisper import Whisper
from core_models.features.face.expression_posteriors import open_face
from core_models.features.face.landmarker import FaceFeature
from core_models.features.registry import open_text, open_voice
from core_models.features.text.sentence_encoder import Text
from core_models.features.voice.statistics_pooling import Voice
from core_models.labels import LABEL_SETS
from realtime.perception.transcriber import Transcriber

ENGLISH = frozenset({"en"})


@dataclass(frozen=True)
class LoadedModels:
    """Loaded, and checked against each other.

    An extractor is None where the checkpoint has no such modality.
    """

    checkpoint: Checkpoint
    whisper: Whisper
    voice: Voice | None
    text: Text | None
    face: FaceFeature | None

    @property
    def specs(self) -> dict[str, FeatureSpec]:
        """The spec of each extractor at hand, by modality."""
        extractors = {"text": self.text, "voice": self.voice, "face": self.face}
        return {m: extractor.spec for m, extractor in extractors.items() if extractor is not None}

    @property
    def labels(self) -> tuple[str, ...]:
        """The label set, in the order of every distribution."""
        return LABEL_SETS[self.checkpoint.sidecar.labels].labels

    def names(self) -> dict[str, str]:
        """Which model fills which role, for `session.created`."""
        return {"whisper": self.whisper.name} | {m: spec.name for m, spec in self.specs.items()}

    def transcriber(self, language: str) -> Transcriber:
        """A transcriber for one session."""
        return Transcriber(
            self.whisper,
            language=language,
            text_languages=self.text.languages if self.text is not None else ENGLISH,
        )


def load_models(checkpoint: str, *, device: str = "auto", threads: int = 2, whisper: str | None = None) -> LoadedModels:
    """Load `checkpoint` (a name or a folder) and the extractors that its sidecar names.

    `whisper` is the recogniser for a checkpoint without a voice feature. Raises CheckpointError,
    WeightsError.
    """
    dialogue = load(checkpoint, device=torch_device(device))
    specs = dialogue.sidecar.features
    for modality, spec in specs.items():
        if spec.settings.get("imported") or (modality == "voice" and "whisper" not in spec.settings):
            raise CheckpointError(
                f"Checkpoint {dialogue.name} was trained on features [{spec.describe()}] that no live run computes; "
                "use `python -m train` for it, or another checkpoint."
            )
    voice_spec, text_spec, face_spec = (specs.get(m) for m in ("voice", "text", "face"))
    recogniser = str(voice_spec.settings["whisper"]) if voice_spec else (whisper or "whisper-base")
    heard = Whisper(model_folder(recogniser), device=device, threads=threads)
    models = LoadedModels(
        checkpoint=dialogue,
        whisper=heard,
        voice=open_voice(voice_spec, heard, threads) if voice_spec else None,
        text=open_text(text_spec, threads) if text_spec else None,
        face=open_face(face_spec.name) if face_spec else None,
    )
    dialogue.require(models.specs)
    gc.collect()
    # A full collection over what stays anyway would stop every thread for a tenth of a second in a call.
    gc.freeze()
    return models


def torch_device(device: str) -> str:
    """`auto` resolved: cuda where torch sees a GPU, else cpu."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
