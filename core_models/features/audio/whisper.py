"""Whisper, one encoder pass for words and voice, without the padding to 30 seconds.

Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision (2022): log-mel input
(section 2.2), the decoder's prompt of language and task tokens (section 2.3). The published pipeline
pads every window to 30 s. Here the encoder sees the utterance and a margin of silence behind it, which
is several times cheaper. The decoder, which says a sentence again where it finds no end, gets those states
continued to 30 s by states of silence that were encoded once. Of 366 words of 61 acted sentences it then gets
9 wrong (`base`) and 8 (`tiny.en`); without them, but with timestamps to find the end by, 103 and 141.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError, WeightsError
from core_models.feature_spec import tensors_digest
from core_models.features.audio.ctranslate2_format import read_tensors

SAMPLE_RATE = 16_000
# Samples a mel frame; the encoder's second convolution halves the rate again, to 50 frames a second.
HOP = 160

SHORTEST_SECONDS = 0.1
# The position embedding of the encoder ends there.
LONGEST_SECONDS = 30.0
# Windows of a clip beyond that are at most so long, as utterances of a live run are.
_WINDOW_SECONDS = 15.0
_WINDOW = 3000  # mel frames of the 30 s that the position embedding of the encoder covers

# Mel frames the encoder sees at least (5 s).
CONTEXT_MIN = 500
# Mel frames of silence behind the speech (2 s).
MARGIN = 200

# Besides what the duration allows: half a second alone would end the decoding after 4 tokens.
_TOKENS_BASE = 16
# Bound of the decoded length: fast English runs at 5 tokens a second.
_TOKENS_PER_SECOND = 8
# The same for other languages, whose scripts may fall apart into bytes.
_BYTES_PER_SECOND = 16
# Encoder states (0.3 s) behind the speech that the decoder still sees as they are; from there on it sees quiet up to
# 30 s. Of 39 numbers alone or said twice `base` gets 10 wrong; 12 where a second is kept, and 176, nearly all of them
# repetitions, where the quiet ends at 15 s. The time is the same.
_KEPT = 15


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoder pass over one utterance.

    `frames` is float32 [T, d], 50 a second, the padding cropped; `seconds` is the audio's length;
    `states` is the encoder output continued by quiet to 30 s, for the decoder alone; `samples` are what was heard.
    """

    frames: NDArray[np.float32]
    seconds: float
    states: Any = field(repr=False, compare=False)
    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the decoder heard.

    `mean_logprob` is the mean log-probability of the new tokens and their end, minus infinity without any; `no_speech`
    is the probability of Whisper's no-speech token; `tokens` are the text tokens; `complete` is False
    where the bound on the length was reached, which is what a loop looks like.
    """

    text: str
    language: str
    mean_logprob: float
    no_speech: float
    tokens: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class WordTime:
    """A word with its punctuation, and the seconds in which it is spoken."""

    word: str
    start_s: float
    end_s: float


class Whisper:
    """A Whisper model in CTranslate2's format.

    `folder` holds model.bin, config.json, tokenizer.json and vocabulary.txt, and its name is the
    model's name. `device` is auto, cpu or cuda; `compute_type` is CTranslate2's (int8, float16,
    float32, ...; "auto" is the fastest: int8 on a CPU, float16 on a GPU). Raises WeightsError when
    the folder is not such a model and UsageError when the device or compute type cannot be had.
    """

    name: str
    dimension: int
    multilingual: bool
    languages: tuple[str, ...]
    digest: str
    device: str

    def __init__(self, folder: Path, *, device: str = "auto", compute_type: str = "auto", threads: int = 2) -> None:
        for file in ("model.bin", "tokenizer.json", "config.json"):
            # Without this check the loader asks a hub for whatever is missing.
            if not (folder / file).is_file():
                raise WeightsError(
                    f"No {file} in {folder}: run `make weights`, or point at a folder with a Whisper "
                    "model converted by CTranslate2."
                )
        encoder = list(read_tensors(folder / "model.bin", "encoder/"))
        if not encoder:
            raise WeightsError(f"{folder / 'model.bin'} has no encoder: it is not a Whisper model.")
        from ctranslate2 import get_cuda_device_count
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer

        if compute_type == "auto":
            on_gpu = device == "cuda" or (device == "auto" and get_cuda_device_count() > 0)
            compute_type = "float16" if on_gpu else "int8"
        try:
            self.model = WhisperModel(str(folder), device=device, compute_type=compute_type, cpu_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise UsageError(
                f"Whisper cannot run with device={device} and compute_type={compute_type} here "
                f"({str(error).strip().rstrip('.')}): use device=auto or cpu and compute_type=auto."
            ) from error
        self._network = self.model.model
        self._tokenizer = Tokenizer
        self.name = folder.name
        self.device = str(self._network.device)
        self.multilingual = bool(self._network.is_multilingual)
        self.languages = tuple(self.model.supported_languages)
        self.digest = tensors_digest(encoder)
        self.dimension = int(dict(encoder)["encoder/layer_norm/gamma"].shape[0])
        quiet = 1e-4 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
        self._quiet = self._encode_mel(self._log_mel(quiet.astype(np.float32)), _WINDOW)[1]

    def encode(self, audio: NDArray[np.float32]) -> Encoded:
        """One encoder pass over `audio`, float32 [n] at 16 kHz, with a short context behind it.

        Audio below `SHORTEST_SECONDS` is too short for the mel window and is filled up with silence,
        so that there is always at least one frame. Above `LONGEST_SECONDS`: UsageError.
        """
        audio = _require_samples(audio)
        mel = self._log_mel(audio)
        frames = mel.shape[1]
        context = min(_WINDOW, max(CONTEXT_MIN, frames + MARGIN))
        _, array = self._encode_mel(mel, context)
        length = (frames + 1) // 2
        return Encoded(
            array[:length], len(audio) / SAMPLE_RATE, self._continue_with_quiet(array[: length + _KEPT]), audio
        )

    def encode_windowed(self, audio: NDArray[np.float32]) -> Encoded:
        """`encode` for features of a clip of any length: one longer than 30 s in equal windows, their frames joined.

        What is joined has no `states`: words of it cannot be decoded at once.
        """
        if len(audio) <= LONGEST_SECONDS * SAMPLE_RATE:
            return self.encode(audio)
        count = math.ceil(len(audio) / (_WINDOW_SECONDS * SAMPLE_RATE))
        # Whole states, so that the windows' states join without a seam.
        length = math.ceil(len(audio) / count / (2 * HOP)) * 2 * HOP
        windows = [self.encode(audio[at : at + length]) for at in range(0, len(audio), length)]
        frames = np.concatenate([window.frames for window in windows])
        return Encoded(frames, len(audio) / SAMPLE_RATE, None, np.ascontiguousarray(audio, dtype=np.float32))

    def _continue_with_quiet(self, states: NDArray[np.float32]) -> Any:
        """`states` [t, d] followed by those that almost nothing has from position t on, 1,500 in all.

        The decoder was trained on so many and finds no end in fewer: it says the sentence again.
        """
        import ctranslate2

        window = np.concatenate([states, self._quiet[len(states) :]])
        return ctranslate2.StorageView.from_array(np.ascontiguousarray(window[None]))

    def language_probabilities(self, encoded: Encoded) -> dict[str, float]:
        """Language code -> probability, the most probable first; English alone for an English-only model."""
        if not self.multilingual:
            return {"en": 1.0}
        detected = self._network.detect_language(encoded.states)[0]
        return {token.strip("<|>"): float(probability) for token, probability in detected}

    def decode(self, encoded: Encoded, language: str, prefix: tuple[int, ...] = ()) -> Hypothesis:
        """Greedy decoding on the encoder output, without timestamps, its length bounded by duration.

        `prefix` are text tokens that are taken for granted and not decoded again.
        """
        return self._decode_states(encoded.states, encoded.seconds, language, prefix)

    def align_words(self, encoded: Encoded, heard: Hypothesis) -> list[WordTime]:
        """When each word of `heard` was spoken, by the cross-attention of the decoder.

        Dynamic time warping over the attention of the heads that follow time; an edge is right to about 0.1 s.
        """
        tokenizer = self._tokenizer(
            self.model.hf_tokenizer, self.multilingual, task="transcribe", language=heard.language
        )
        tokens = list(heard.tokens)
        if not tokens:
            return []
        mel_frames = round(encoded.seconds * SAMPLE_RATE / HOP)
        (aligned,) = self._network.align(encoded.states, tokenizer.sot_sequence, [tokens], [mel_frames])
        pairs = np.array(aligned.alignments)
        begins = pairs[np.flatnonzero(np.diff(pairs[:, 0], prepend=-1)), 1] * 2 * HOP / SAMPLE_RATE
        words, parts = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
        edges = np.minimum(np.cumsum([0, *(len(part) for part in parts[:-1])]), len(begins) - 1)
        return [
            WordTime(word, float(begins[start]), float(begins[end]))
            for word, start, end in zip(words[:-1], edges[:-1], edges[1:], strict=True)
        ]

    def decode_padded(self, audio: NDArray[np.float32], language: str) -> Hypothesis:
        """The same decoding with the 30 s window that Whisper was trained on: slower, words only."""
        audio = _require_samples(audio)
        states, _ = self._encode_mel(self._log_mel(audio), _WINDOW)
        return self._decode_states(states, len(audio) / SAMPLE_RATE, language)

    def _log_mel(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-mel, float32 [n_mels, n // HOP]."""
        mel: NDArray[np.float32] = self.model.feature_extractor(audio, padding=0)
        return mel.astype(np.float32, copy=False)

    def _encode_mel(self, mel: NDArray[np.float32], context: int) -> tuple[Any, NDArray[np.float32]]:
        import ctranslate2

        padded = np.zeros((1, mel.shape[0], context), dtype=np.float32)
        padded[0, :, : mel.shape[1]] = mel[:, :context]
        states = self._network.encode(ctranslate2.StorageView.from_array(padded), to_cpu=True)
        if states.dtype != ctranslate2.DataType.float32:
            states = states.to(ctranslate2.DataType.float32)
        return states, np.array(states, dtype=np.float32)[0]

    def _decode_states(self, states: Any, seconds: float, language: str, prefix: tuple[int, ...] = ()) -> Hypothesis:
        if language not in self.languages:
            raise UsageError(
                f"{self.name} does not know the language {language!r}: use one of {', '.join(self.languages)}."
            )
        tokenizer = self._tokenizer(self.model.hf_tokenizer, self.multilingual, task="transcribe", language=language)
        rate = _TOKENS_PER_SECOND if language == "en" else _BYTES_PER_SECOND
        # 224 is half of Whisper's context of 448, which is what its own decoding allows.
        bound = min(_TOKENS_BASE + round(rate * seconds), 224)
        result = self._network.generate(
            states,
            [[*tokenizer.sot_sequence, tokenizer.no_timestamps, *prefix]],
            beam_size=1,
            max_length=2 * bound,  # CTranslate2 leaves half of it to the prompt
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=False,
        )[0]
        # The prefix among them, which the score counts as certain.
        tokens = tuple(result.sequences_ids[0])
        decoded = len(tokens) - len(prefix) + 1
        return Hypothesis(
            text=tokenizer.decode(list(tokens)).strip(),
            language=language,
            mean_logprob=float(result.scores[0]) * len(tokens) / decoded if tokens else -math.inf,
            no_speech=float(result.no_speech_prob),
            tokens=tokens,
            complete=len(tokens) < bound,
        )


def _require_samples(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """`audio` as contiguous float32, long enough for one mel frame."""
    if audio.ndim != 1:
        raise UsageError(f"Whisper takes mono audio of shape [n], not {audio.shape}: mix it down first.")
    if len(audio) > LONGEST_SECONDS * SAMPLE_RATE:
        raise UsageError(
            f"Whisper takes at most {LONGEST_SECONDS:.0f} s at once, not {len(audio) / SAMPLE_RATE:.1f} s: "
            "cut the audio into utterances first."
        )
    audio = np.ascontiguousarray(audio, dtype=np.float32)
    shortest = round(SHORTEST_SECONDS * SAMPLE_RATE)
    return np.pad(audio, (0, max(0, shortest - len(audio))))
