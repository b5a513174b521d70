"""What to believe of Whisper: which language, when to decode again with padding, and when there were no words.

Policy only; the network is core_models/features/whisper.py. The thresholds rest on 84 stretches of generated noise,
hum, music, keys and silence (0.6 to 6 s, three levels) and 81 of speech, acted and read, by `base` and by `tiny.en`:
they discard all of the former, and of the latter one that is cut in mid-word. The probability of the no-speech token
was 0.55 or more for what is no speech; `base` gave speech up to 0.75, with clear words. A part is repeated in
tests/realtime/test_transcribe.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.features.whisper import Encoded, Hypothesis, Whisper

_SURELY_NO_SPEECH, _SURE_LOGPROB = 0.75, -0.3
"""From this probability of Whisper's no-speech token on, only words above this mean log-probability are believed."""
_NO_SPEECH, _WEAK_LOGPROB = 0.5, -1.12
"""From this probability on, only words above this one, and no loop."""
_NO_WORDS_LOGPROB = -2.5
"""Below this mean log-probability, no words are believed at all."""
_DOUBTFUL_LOGPROB, _WORTH_PADDING = -1.0, 4
"""Below this, words of so many tokens or more are decoded again with padding; a lone "local" always is doubtful."""

_LONGEST_LOOP = 8
_LOOPS, _LOOPED_TOKENS = 5, 15
"""An n-gram of up to so many tokens, so often in a row and so many tokens in all, is a loop of the decoder;
people say "no, no, no, no" too."""

_SURE_LANGUAGE = 0.8
_VOTE_SECONDS = 1.5
"""An utterance tells the language if it is so long and Whisper so sure; shorter ones are a gamble."""


@dataclass(frozen=True)
class Transcript:
    """What was said, and the encoder states for whoever wants to hear how.

    `status` is that of the text modality: `ok`, `unsupported_language` where the words are in a language that
    the text encoder does not know, or `unintelligible` where the recogniser only repeated itself (then there
    is no text, but a voice). `discarded` is (code, sentence) where the sound was no speech.
    """

    text: str
    language: str
    status: str
    encoded: Encoded
    fallback_used: bool
    discarded: tuple[str, str] | None = None


class Transcriber:
    """Transcribes the utterances of one session, one after another.

    `language` is a code, or "auto": then the session's language is the one that long, clear utterances agree
    on, so that a short "mm-hm" cannot flip it. `text_languages` are those that the text encoder knows.
    """

    def __init__(self, whisper: Whisper, *, language: str = "auto", text_languages: Collection[str]) -> None:
        if language != "auto" and language not in whisper.languages:
            raise UsageError(
                f"{whisper.name} does not know the language {language!r}: use auto, or one of "
                f"{', '.join(sorted(whisper.languages))}."
            )
        self._whisper = whisper
        self._given = None if language == "auto" else language
        self._text_languages = text_languages
        self._heard: str | None = None
        self._vote: str | None = None

    def __call__(self, samples: NDArray[np.float32]) -> Transcript:
        """Transcribe an utterance, float32 [n] at 16 kHz, of 30 s at most."""
        encoded = self._whisper.encode(samples)
        language = self._given or self._language(encoded)
        heard, padded = self._whisper.decode(encoded, language), False
        if _worth_padding(heard):
            heard, padded = self._whisper.decode_padded(samples, language), True
        discarded = _no_speech(heard)
        if discarded is None and _loops(heard):
            return Transcript("", language, "unintelligible", encoded, padded)
        status = "ok" if language in self._text_languages else "unsupported_language"
        return Transcript(heard.text, language, status, encoded, padded, discarded)

    def _language(self, encoded: Encoded) -> str:
        """The session's language after this utterance: two clear votes in a row change it."""
        if not self._whisper.multilingual:
            return "en"
        detected, probability = self._whisper.detect_language(encoded)
        if probability >= _SURE_LANGUAGE and encoded.seconds >= _VOTE_SECONDS:
            if self._heard is None or self._vote == detected:
                self._heard = detected
            self._vote = detected
        return self._heard or "en"


def _worth_padding(heard: Hypothesis) -> bool:
    """Whether it sounds like speech, but the short context may have misled the decoder."""
    doubtful = len(heard.tokens) >= _WORTH_PADDING and heard.mean_logprob < _DOUBTFUL_LOGPROB
    return heard.no_speech < _NO_SPEECH and (doubtful or _loops(heard))


def _no_speech(heard: Hypothesis) -> tuple[str, str] | None:
    if not any(character.isalnum() for character in heard.text):
        return "no_words", "No words were heard in it."
    if (
        (heard.no_speech >= _SURELY_NO_SPEECH and heard.mean_logprob < _SURE_LOGPROB)
        or (heard.no_speech >= _NO_SPEECH and (heard.mean_logprob < _WEAK_LOGPROB or _loops(heard)))
        or heard.mean_logprob < _NO_WORDS_LOGPROB
    ):
        return "not_speech", "It is noise, music or silence rather than speech: no words could be believed."
    return None


def _loops(heard: Hypothesis) -> bool:
    """Whether the decoder ran into its bound, or repeats an n-gram over and over."""
    if not heard.complete:
        return True
    tokens = np.array(heard.tokens)
    for n in range(1, _LONGEST_LOOP + 1):
        same = tokens[n:] == tokens[:-n]  # a run of k equal pairs is k / n + 1 n-grams in a row
        run = max(_LOOPS * n, _LOOPED_TOKENS) - n
        if len(same) >= run and np.convolve(same, np.ones(run), "valid").max() >= run:
            return True
    return False
