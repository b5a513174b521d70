"""What to believe of Whisper: which language, when to decode again with padding, and when there were no words.

Policy only; the network is core_models/features/whisper.py. The thresholds rest on 100 stretches of generated
noise, hum, music, keys and silence (0.6 to 9 s, three levels) and 75 of recorded speech, each by `base` and by
`tiny.en`: the mean log-probability of what was made up for the former was -1.49 or less, that of real words -1.06
or more (`tests/realtime/test_transcribe.py` repeats it on a part of them).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.features.whisper import Encoded, Hypothesis, Whisper

_NO_WORDS_LOGPROB = -1.3
"""Below this mean log-probability nothing that Whisper writes is believed."""
_DOUBTFUL_LOGPROB = -1.0
"""Below this, words count only where Whisper itself hears speech."""
_NO_SPEECH = 0.5
"""From this probability of Whisper's no-speech token on, doubtful words are not believed."""

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
        if _loops(heard) or (_doubtful(heard) and heard.no_speech < _NO_SPEECH):
            heard, padded = self._whisper.decode_padded(samples, language), True
        if _loops(heard):
            return Transcript("", language, "unintelligible", encoded, padded)
        status = "ok" if language in self._text_languages else "unsupported_language"
        return Transcript(heard.text, language, status, encoded, padded, _no_speech(heard))

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


def _doubtful(heard: Hypothesis) -> bool:
    return heard.mean_logprob < _DOUBTFUL_LOGPROB


def _no_speech(heard: Hypothesis) -> tuple[str, str] | None:
    if not heard.text.strip():
        return "no_words", "No words were heard in it."
    if heard.mean_logprob < _NO_WORDS_LOGPROB or (_doubtful(heard) and heard.no_speech >= _NO_SPEECH):
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
