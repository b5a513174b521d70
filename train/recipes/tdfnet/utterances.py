"""Lines of a corpus as TDFNet reads them: frames with the speaker's vector behind, tokens, class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from core_models.assets import model_folder_of
from core_models.errors import MediaError, UsageError
from core_models.feature_spec import FeatureSpec
from core_models.features.audio.campplus import SpeakerVector
from core_models.features.audio.ecapa import Ecapa, is_ecapa
from core_models.features.text.token_states import TokenStates
from core_models.features.voice.frame_sequence import voice_sequence_spec, with_speaker
from core_models.networks.tdfnet import pad_sequences
from core_models.text_adapter import adapter_folder
from train.corpora.dialogues import Corpus, Utterance
from train.extraction.feature_store import FeatureStore
from train.extraction.frame_extractors import Frames, open_frames
from train.extraction.frame_store import FrameStore
from train.media.content_digest import digest_of
from train.media.utterance_audio import read_sound, sound_key


@dataclass(frozen=True)
class Embeddings:
    """Names of the three pretrained models (section III-B): of configs/models.yaml, or folders; null leaves one out."""

    frames: str | None = "whisper-base"
    """Frames of sound: a Whisper, a folder of HuBERT in the hub's format (the paper), descriptors or spectrogram."""
    speaker: str | None = "campplus"
    """Speaker vectors: CAM++, or a folder of speechbrain's ECAPA (the paper)."""
    text: str | None = "minilm-l6"
    """Token states: a sentence encoder, or a folder of BERT in the hub's format (the paper)."""
    adapter: str | None = None
    """What taught `text` emotion: a name under core_models/weights, or a folder."""
    tokens: int = 128
    """Tokens at most (III-B)."""

    def __post_init__(self) -> None:
        if self.frames is None and self.text is None:
            raise UsageError("embeddings leave out frames and text both: name one.")


@dataclass(frozen=True)
class EmbeddedUtterance:
    """A line with something to hear or to read; lengths are 0 where it has none."""

    line: Utterance
    sound: str | None
    words: str | None
    frames: int
    tokens: int


class EmbeddingCache:
    """The pretrained models, and what they have made of clips and sentences so far."""

    def __init__(self, names: Embeddings, store: Path, threads: int) -> None:
        """Open them, and their part of the feature store. Raises UsageError, WeightsError, DiskError."""
        self._frames: Frames | None = None
        self._speaker: SpeakerVector | Ecapa | None = None
        self.specs: dict[str, FeatureSpec] = {}
        """Modality -> what the network reads of it."""
        self.speaker = 0
        """Numbers of the speaker's vector behind each frame."""
        if names.text is not None:
            folder = model_folder_of(names.text)
            adapter = adapter_folder(names.adapter)
            self._tokens = TokenStates(folder, adapter=adapter, max_tokens=names.tokens, threads=threads)
            self.specs["text"] = self._tokens.spec
            self._token_store = FrameStore(store, self._tokens.spec)
        if names.frames is not None:
            self._frames = open_frames(names.frames, threads)
            self._frame_store = FrameStore(store, self._frames.spec)
            if names.speaker is not None:
                self._speaker = _open_speaker(names.speaker, threads)
                self._speaker_store = FeatureStore(store, self._speaker.spec)
                self.speaker = self._speaker.spec.dimension
            known = None if self._speaker is None else self._speaker.spec
            self.specs["voice"] = voice_sequence_spec(self._frames.spec, known)

    def utterances(self, corpus: Corpus, console: Console) -> tuple[list[EmbeddedUtterance], dict[str, int]]:
        """Every labelled line that can be heard or read, and why others are not there: reason -> how many.

        What the store lacks is computed first. Sound that cannot be read is named, and counted as broken. DiskError.
        """
        found: list[EmbeddedUtterance] = []
        reasons = {"no label of the set": 0, "no such modality": 0, "broken": 0}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        try:
            with Progress(*columns, console=console) as progress:
                for line in progress.track(list(corpus.utterances()), description=f"{corpus.name} embeddings"):
                    if line.label is None:
                        reasons["no label of the set"] += 1
                        continue
                    heard, broken = self._store_frames(line, console)
                    words = self._store_tokens(line)
                    if heard is None and words is None:
                        reasons["broken" if broken else "no such modality"] += 1
                        continue
                    frames = 0 if heard is None else self._frame_store.length(heard)
                    tokens = 0 if words is None else self._token_store.length(words)
                    found.append(EmbeddedUtterance(line, heard, words, frames, tokens))
        finally:
            self._flush_stores()
        return found, {reason: count for reason, count in reasons.items() if count}

    def batch(self, utterances: Sequence[EmbeddedUtterance]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(features, lengths) as TDFNet takes them."""
        features, lengths = {}, {}
        for modality, spec in self.specs.items():
            rows = [torch.from_numpy(self._sequence_of(modality, one)) for one in utterances]
            features[modality], lengths[modality] = pad_sequences(rows, spec.dimension)
        return features, lengths

    def statistics(self, utterances: Sequence[EmbeddedUtterance]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(modality, mean, deviation), float32 [d] each, over all frames and all tokens of the utterances."""
        for modality, spec in self.specs.items():
            count, mean, squares = 0, np.zeros(spec.dimension), np.zeros(spec.dimension)
            # Chan et al.'s update, since the squares of large sums swallow differences.
            for one in utterances:
                x = self._sequence_of(modality, one).astype(np.float64)
                if not len(x):
                    continue
                apart = x.mean(axis=0) - mean
                both = count + len(x)
                squares += np.square(x - x.mean(axis=0)).sum(axis=0) + np.square(apart) * count * len(x) / both
                mean, count = mean + apart * len(x) / both, both
            deviation = np.sqrt(squares / max(1, count))
            yield modality, torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()

    def _store_frames(self, line: Utterance, console: Console) -> tuple[str | None, bool]:
        """(key of the line's sound in the stores, None where it has none; whether it is broken)."""
        if self._frames is None:
            return None, False
        try:
            key = sound_key(line)
            if key is None:
                return None, False
            samples = None
            if key not in self._frame_store:
                samples = read_sound(line)
                self._frame_store.put(key, self._frames(samples))
            if self._speaker is not None and key not in self._speaker_store:
                self._speaker_store.put(key, self._speaker(read_sound(line) if samples is None else samples))
        except (MediaError, UsageError) as error:
            console.print(f"skipped: {error}", highlight=False, markup=False)
            return None, True
        return key, False

    def _store_tokens(self, line: Utterance) -> str | None:
        if "text" not in self.specs or not line.text:
            return None
        key = digest_of("words", line.text)
        if key not in self._token_store:
            self._token_store.put(key, self._tokens([line.text])[0])
        return key

    def _sequence_of(self, modality: str, one: EmbeddedUtterance) -> NDArray[np.float32]:
        """float32 [T, d]; T is 0 where the utterance has no such modality."""
        key = one.words if modality == "text" else one.sound
        if key is None:
            return np.zeros((0, self.specs[modality].dimension), np.float32)
        if modality == "text":
            return self._token_store[key]
        return with_speaker(self._frame_store[key], None if self._speaker is None else self._speaker_store[key])

    def _flush_stores(self) -> None:
        if "text" in self.specs:
            self._token_store.flush()
        if self._frames is not None:
            self._frame_store.flush()
        if self._speaker is not None:
            self._speaker_store.flush()


def hidden(lengths: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """`lengths` with one modality, drawn at random, hidden in `share` of the utterances that have both (contract 4)."""
    if len(lengths) < 2 or not share:
        return lengths
    both = (lengths["text"] > 0) & (lengths["voice"] > 0)
    hide = (torch.rand(len(both)) < share) & both
    # Evenly, so that neither becomes the one that can be relied on.
    words = torch.rand(len(both)) < 0.5
    return {
        "text": lengths["text"].masked_fill(hide & words, 0),
        "voice": lengths["voice"].masked_fill(hide & ~words, 0),
    }


def _open_speaker(name: str, threads: int) -> SpeakerVector | Ecapa:
    if is_ecapa(Path(name)):
        return Ecapa(Path(name), threads=threads)
    return SpeakerVector(model_folder_of(name), threads=threads)
