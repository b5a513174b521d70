"""What to believe of Whisper: which language, when to decode again with padding, and when there were no words.

Policy only; the network is core_models/features/audio/whisper.py. The thresholds rest on 84 stretches of generated
noise, hum, music, keys and silence (0.6 to 6 s, three levels) and 81 of speech, acted and read, by `base` and by
`tiny.en`: they discard all of the former, and of the latter one that is cut in mid-word. The probability of the
no-speech token was 0.55 or more for what is no speech; `base` gave speech up to 0.75, with clear words. A part is
repeated in tests/realtime/perception/test_transcriber.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from core_models.features.audio.whisper import Encoded, Hypothesis, Whisper

# From this probability of Whisper's no-speech token on, only words above this mean log-probability are believed.
_SURELY_NO_SPEECH, _SURE_LOGPROB = 0.75, -0.3
# From this probability on, only words above this one, and no loop.
_NO_SPEECH, _WEAK_LOGPROB = 0.5, -1.12
# Below this mean log-probability, no words are believed at all.
_NO_WORDS_LOGPROB = -2.5
# Below this, words are decoded again with padding: of 70 prompts of one to three words that `base` heard right, four
# lay below it.
_DOUBTFUL_LOGPROB = -1.0
# So short an utterance is decoded again where it is about to be discarded for its no-speech token alone, which
# Whisper gives lone words up to 0.77.
_SHORT_SECONDS = 3.0

_LONGEST_LOOP = 8
# An n-gram of up to so many tokens, so often in a row and so many tokens in all, is a loop of the decoder; people say
# "no, no, no, no" too.
_LOOPS, _LOOPED_TOKENS = 5, 15

_SURE_LANGUAGE = 0.8
# An utterance tells the language if it is so long and Whisper so sure; shorter ones are a gamble.
_VOTE_SECONDS = 1.5


@dataclass(frozen=True)
class Transcript:
    """The words of an utterance, and the encoder states for the voice feature.

    `tokens` are those of the text. `status` is that of the text modality: `ok`, `unsupported_language` where
    the words are in a language that the text encoder does not know, `unintelligible` where the recogniser only
    repeated itself (then there is no text, but a voice), or `pending` where no words were asked for.
    `discarded` is (code, sentence) where the sound was no speech. `vote` is the language that it is sure of,
    for `Transcriber.settle`.
    """

    text: str
    language: str
    status: str
    encoded: Encoded
    fallback_used: bool
    tokens: tuple[int, ...] = ()
    discarded: tuple[str, str] | None = None
    vote: str | None = None


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
        """Transcribe an utterance, float32 [n] at 16 kHz, of 30 s at most.

        It leaves no trace, so it may be done with what proves to be no utterance; `settle` those that are.
        """
        encoded = self._whisper.encode(samples)
        language, vote = self._choose_language(encoded)
        heard, padded = self._whisper.decode(encoded, language), False
        if _worth_padding(heard, encoded.seconds):
            heard, padded = self._whisper.decode_padded(samples, language), True
        return self._build_transcript(heard, encoded, padded, vote)

    def partial(self, samples: NDArray[np.float32], agreed: tuple[int, ...], *, words: bool) -> Transcript:
        """What can be said of an utterance that goes on; `agreed` tokens of its beginning are not decoded again.

        Without `words` there are only the encoder states, and the status is `pending`.
        """
        encoded = self._whisper.encode(samples)
        language, _ = self._choose_language(encoded)
        if not words:
            return Transcript("", language, "pending", encoded, False)
        return self._build_transcript(self._whisper.decode(encoded, language, agreed), encoded, False, None)

    def settle(self, transcript: Transcript) -> None:
        """An utterance of the dialogue, in its order: two clear votes in a row change the session's language."""
        if transcript.vote is not None:
            if self._heard is None or self._vote == transcript.vote:
                self._heard = transcript.vote
            self._vote = transcript.vote

    def _build_transcript(self, heard: Hypothesis, encoded: Encoded, padded: bool, vote: str | None) -> Transcript:
        discarded = _no_speech(heard)
        if discarded is None and _ran_away(heard):
            return Transcript("", heard.language, "unintelligible", encoded, padded, vote=vote)
        status = "ok" if heard.language in self._text_languages else "unsupported_language"
        return Transcript(heard.text, heard.language, status, encoded, padded, heard.tokens, discarded, vote)

    def _choose_language(self, encoded: Encoded) -> tuple[str, str | None]:
        """The language to decode in, and this utterance's vote for the session's."""
        if self._given is not None or not self._whisper.multilingual:
            return self._given or "en", None
        detected, probability = self._whisper.detect_language(encoded)
        vote = detected if probability >= _SURE_LANGUAGE and encoded.seconds >= _VOTE_SECONDS else None
        if vote is not None and (self._heard is None or vote == self._vote):
            return vote, vote
        return self._heard or "en", vote


def _worth_padding(heard: Hypothesis, seconds: float) -> bool:
    """Whether it may be speech, but the short context may have misled the decoder.

    What the decoder says twice was said twice, or is the error that a short context makes: the full one tells.
    """
    if not any(character.isalnum() for character in heard.text) or heard.mean_logprob < _NO_WORDS_LOGPROB:
        return False
    if _ran_away(heard) or _repeats_itself(heard):
        return heard.no_speech < _NO_SPEECH or heard.mean_logprob >= _WEAK_LOGPROB
    if heard.no_speech < _NO_SPEECH:
        return heard.mean_logprob < _DOUBTFUL_LOGPROB
    return seconds < _SHORT_SECONDS and heard.mean_logprob >= _WEAK_LOGPROB and _no_speech(heard) is not None


def _no_speech(heard: Hypothesis) -> tuple[str, str] | None:
    if not any(character.isalnum() for character in heard.text):
        return "no_words", "No words were heard in it."
    if (
        (heard.no_speech >= _SURELY_NO_SPEECH and heard.mean_logprob < _SURE_LOGPROB)
        or (heard.no_speech >= _NO_SPEECH and (heard.mean_logprob < _WEAK_LOGPROB or _ran_away(heard)))
        or heard.mean_logprob < _NO_WORDS_LOGPROB
    ):
        return "not_speech", "It is noise, music or silence rather than speech: no words could be believed."
    return None


def _repeats_itself(heard: Hypothesis) -> bool:
    """Whether the same words come twice in a row, whatever stands between them."""
    words = "".join(c if c.isalnum() or c == "'" else " " for c in heard.text.lower()).split()
    return any(
        words[at : at + n] == words[at + n : at + 2 * n]
        for n in range(1, _LONGEST_LOOP + 1)
        for at in range(len(words) - 2 * n + 1)
    )


def _ran_away(heard: Hypothesis) -> bool:
    """Whether the decoder ran into its bound, or repeats an n-gram over and over."""
    if not heard.complete:
        return True
    tokens = np.array(heard.tokens)
    for n in range(1, _LONGEST_LOOP + 1):
        # A run of k equal pairs is k / n + 1 n-grams in a row.
        same = tokens[n:] == tokens[:-n]
        run = max(_LOOPS * n, _LOOPED_TOKENS) - n
        if len(same) >= run and np.convolve(same, np.ones(run), "valid").max() >= run:
            return True
    return False
