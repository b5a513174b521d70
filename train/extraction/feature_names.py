"""Which weights compute each modality's feature, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FeatureNames:
    """Names of the weights behind each modality (configs/models.yaml, or folders); null leaves a modality out."""

    text: str | None = "minilm-l6"
    """Sentence encoder."""
    adapter: str | None = None
    """What taught the sentence encoder emotion: a name under core_models/weights, or a folder."""
    voice: str | None = "whisper-base"
    """Whisper, whose encoder states are the voice; or a voice head, an MCED student or a TDFNet that reads them: a
    name under core_models/weights, or a folder."""
    face: str | None = "face-landmarker"
    """MediaPipe's face landmarker; or an expression network over it: a name under core_models/weights, or a folder."""
    imported: dict[str, Path] = field(default_factory=dict)
    """Modality -> file of features computed elsewhere, an npz with utt_id and feat, in place of the weights above. A
    checkpoint trained on them runs on them alone, never live."""
