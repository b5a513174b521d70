"""Voice as what it sounds like it feels: log-probabilities of a head over what the transcript has already paid for."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors

from core_models.checkpoint import WEIGHTS
from core_models.errors import CheckpointError, DiskError, UsageError
from core_models.features import prosody as prosodies
from core_models.features.mced_voice import frames_spec
from core_models.features.prosody import prosody
from core_models.features.spec import FeatureSpec, tensors_digest
from core_models.features.voice_head import HeadConfig, VoiceHead
from core_models.features.whisper import Encoded, Whisper
from core_models.labels import LABEL_SETS

VERSION = 1
FORMAT = 1
TENSORS = "voice.safetensors"
SIDECAR = "sidecar.json"


class HeadSidecar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a head must say of itself beside its tensors."""

    format: int = FORMAT
    """Number of this layout."""
    config: dict[str, Any]
    """Fields of HeadConfig."""
    labels: str
    """Name of the label set, in the order of the head's classes."""
    frames: FeatureSpec
    """The frames that it hears."""
    record: dict[str, Any] = {}
    """Training record."""


@dataclass(frozen=True)
class LoadedHead:
    """A head that is ready to run: evaluation mode, float32, on the CPU."""

    name: str
    folder: Path
    model: VoiceHead
    sidecar: HeadSidecar
    digest: str
    """SHA-256 over the stored tensors, by `tensors_digest`."""


class VoiceEmotion:
    """The head's log-probabilities of an utterance: float32 [classes].

    They mean the same whichever head gives them, so a dialogue model may be trained on what heads say of clips that
    they have not learned from (train/voice.py), and run on another. CheckpointError where the head was trained on
    other frames than those of `whisper`.
    """

    spec: FeatureSpec

    def __init__(self, head: LoadedHead, whisper: Whisper, *, threads: int = 1) -> None:
        heard = heard_spec(frames_spec(whisper))
        if head.sidecar.frames != heard:
            raise CheckpointError(
                f"Voice {head.name} was trained on [{head.sidecar.frames.describe()}], but the frames at hand are "
                f"[{heard.describe()}]; choose what it was trained on, or another voice."
            )
        self._model = head.model
        self._threads = threads
        self.spec = emotion_spec(head)

    def __call__(self, encoded: Encoded) -> NDArray[np.float32]:
        """The vector of one utterance, float32 [dimension]."""
        # See TextFeature: one thread is the safe default, and the setting belongs to the calling thread.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        frames = torch.from_numpy(heard(encoded))[None]
        with torch.inference_mode():
            vector: NDArray[np.float32] = self._model(frames, torch.tensor([frames.shape[1]]))[0].numpy()
        return vector


def heard(encoded: Encoded) -> NDArray[np.float32]:
    """float32 [T, d + prosody], 25 frames a second: encoder states with prosody behind them, two averaged to one."""
    beside = prosody(encoded.samples, len(encoded.frames))
    frames = np.concatenate([encoded.frames, beside], axis=1)
    if len(frames) % 2:
        frames = np.concatenate([frames, frames[-1:]])
    pairs: NDArray[np.float32] = frames.reshape(-1, 2, frames.shape[1]).mean(axis=1, dtype=np.float32)
    return pairs


def heard_spec(frames: FeatureSpec) -> FeatureSpec:
    """What `heard` gives of Whisper's `frames`."""
    return FeatureSpec(
        modality="voice",
        name=f"{frames.name}+prosody",
        version=VERSION,
        dimension=frames.dimension + prosodies.DIMENSION,
        digest=frames.digest,
        settings={**frames.settings, "prosody": prosodies.VERSION, "rate": 25},
    )


def emotion_spec(head: LoadedHead) -> FeatureSpec:
    """What VoiceEmotion gives of `head`; the digest is over the tensors of the head and of the network behind it."""
    frames = head.sidecar.frames
    both = {"frames": frames.digest, "head": head.digest}
    return FeatureSpec(
        modality="voice",
        name=head.name,
        version=VERSION,
        dimension=head.model.config.classes,
        digest=tensors_digest((name, np.frombuffer(bytes.fromhex(d), np.uint8)) for name, d in both.items()),
        settings={**frames.settings, "head": head.name, "labels": head.sidecar.labels, "pooling": "log-probabilities"},
    )


def head_folder(name_or_path: str | Path) -> Path | None:
    """The folder of the head of that name under core_models/weights, or the one given; None where it holds none."""
    for folder in (WEIGHTS / name_or_path, Path(name_or_path)):
        if (folder / TENSORS).is_file():
            return folder
    return None


def find_head(name_or_path: str | Path) -> LoadedHead:
    """The head of that name under core_models/weights, or in that folder. Raises CheckpointError."""
    folder = head_folder(name_or_path)
    if folder is None:
        raise CheckpointError(
            f"There is no voice {str(name_or_path)!r}: put its folder under {WEIGHTS}, or choose another."
        )
    return load_head(folder)


def save_head(folder: Path, model: VoiceHead, sidecar: HeadSidecar) -> None:
    """Write `model` (float16) and `sidecar`, each file whole or not at all. Raises DiskError."""
    tensors = {name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / TENSORS, format_tensors(tensors))
        _write(folder / SIDECAR, msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n")
    except OSError as error:
        raise DiskError(
            f"Voice {folder.name} cannot be written to {folder} ({error.strerror}); free space or name another."
        ) from None


def load_head(folder: Path) -> LoadedHead:
    """The head in `folder`; every failure is a CheckpointError of one sentence."""
    name = folder.resolve().name
    try:
        sidecar = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=HeadSidecar)
        tensors = parse_tensors((folder / TENSORS).read_bytes())
        config = msgspec.convert(sidecar.config, HeadConfig)
        model = VoiceHead(config)
        model.load_state_dict(tensors)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, SafetensorError, UsageError, RuntimeError) as error:
        reason = str(error).split("\n", 1)[0].rstrip(".:")
        raise CheckpointError(
            f"{folder} holds no voice that can be read ({reason}): expected {TENSORS} and {SIDECAR} as "
            "`python -m train voice` writes them; fetch or train it again."
        ) from None
    known = LABEL_SETS.get(sidecar.labels)
    fits = known is not None and len(known) == config.classes
    if sidecar.format != FORMAT or not fits or sidecar.frames.dimension != config.states + config.prosody:
        raise CheckpointError(
            f"Voice {name} has a sidecar of format {sidecar.format} that does not fit its tensors or this version, "
            f"which reads {FORMAT}; update the program or choose another voice."
        )
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise CheckpointError(f"Voice {name} has a tensor that is not finite; train it again or fetch another.")
    digest = tensors_digest((key, value.numpy()) for key, value in tensors.items())
    return LoadedHead(name, folder, model.eval().requires_grad_(False), sidecar, digest)


def sidecar_of(model: VoiceHead, labels: str, frames: FeatureSpec, record: dict[str, Any]) -> HeadSidecar:
    """The sidecar of `model`."""
    return HeadSidecar(config=asdict(model.config), labels=labels, frames=frames, record=record)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
