"""Voice feature: utterance embedding of a TDFNet's audio path, as input of a dialogue model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from core_models.checkpoint import WEIGHTS, Checkpoint
from core_models.errors import CheckpointError
from core_models.feature_spec import FeatureSpec, combined_digest
from core_models.features.audio.whisper import Encoded
from core_models.features.voice.frame_sequence import VoiceSequence
from core_models.networks.tdfnet import TDFNet
from core_models.tensor_files import SIDECAR
from core_models.torch_threads import torch_threads

VERSION = 1


class TDFNetVoice:
    """O of eq. 10 less what is pooled over words, which it does not get: float32 [dimension].

    `heard` is what makes its frames; CheckpointError where it was trained on others or has no voice. The spec's
    digest is over the tensors of the network and of those behind its frames.
    """

    spec: FeatureSpec

    def __init__(self, checkpoint: Checkpoint, heard: VoiceSequence, *, threads: int = 1) -> None:
        if not isinstance(checkpoint.model, TDFNet) or "voice" not in checkpoint.sidecar.features:
            raise CheckpointError(f"{checkpoint.name} is no TDFNet with a voice: name one, a Whisper or a student.")
        checkpoint.require({"voice": heard.spec})
        self._model, self._heard, self._threads = checkpoint.model, heard, threads
        sources = checkpoint.model.sources
        self._columns = torch.cat([torch.full((s.width,), s.needs != "text") for s in sources])
        both = {"frames": heard.spec.digest, "tdfnet": checkpoint.digest}
        self.spec = FeatureSpec(
            modality="voice",
            name=f"tdfnet-{checkpoint.name}",
            version=VERSION,
            dimension=int(self._columns.sum()),
            digest=combined_digest(both),
            settings={**heard.spec.settings, "tdfnet": checkpoint.name, "pooling": "average+maximum"},
        )

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension], from the pass that its words come from."""
        sequence = torch.from_numpy(self._heard(encoded))[None]
        lengths = {name: torch.tensor([0]) for name in self._model.config.modalities}
        with torch_threads(self._threads), torch.inference_mode():
            output = self._model({"voice": sequence}, lengths | {"voice": torch.tensor([sequence.shape[1]])})
        vector: NDArray[np.float32] = output.utterance[0, self._columns].numpy()
        return vector


def tdfnet_folder(name_or_path: str | Path) -> Path | None:
    """The folder of the TDFNet of that name under core_models/weights, or the one given; None where it holds none."""
    for folder in (WEIGHTS / name_or_path, Path(name_or_path)):
        try:
            if msgspec.json.decode((folder / SIDECAR).read_bytes()).get("model") == "tdfnet":
                return folder
        except (OSError, msgspec.DecodeError, AttributeError):
            continue
    return None
