"""What to believe of Whisper: which language, when to decode again with padding, and when there were no words.

Policy only; the network is core_models/features/audio/whisper.py. The thresholds rest on 84 stretches of generated
noise, hum, music, keys and silence (0.6 to 6 s, three levels) and 81 of speech, acted and read, by `base` and by
`tiny.en`: they discard all of the former, and of the latter one that is cut in mid-word. The probability of the
no-speech token was 0.55 or more for what is no speech; `base` gave speech up to 0.75, with clear words. A part is
repeated in tests/realtime/perception/test_transcriber.py.
"""

from __future__ import annotations

from collections import deque
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
# Below this even a lone word is not decoded again: of 70 such prompts that `base` heard right none was.
_HOPELESS_LOGPROB = -1.4

_LONGEST_LOOP = 8
# An n-gram of up to so many tokens, so often in a row and so many tokens in all, is a loop of the decoder; people say
# "no, no, no, no" too.
_LOOPS, _LOOPED_TOKENS = 5, 15

_SURE_LANGUAGE = 0.8
# An utterance joins the past by which later ones are judged if it is so long and its language so sure.
_SURE_LANGUAGE = 0.8
_VOTE_SECONDS = 1.5
# How many of the last such utterances that past holds, and how much less likely a language is that is not among them.
# Of 24 English, French and Italian prompts and lines `base` gives the right language ten times as much as English, or
# the reverse, but for one of 1.2 s: so the past decides only what the sound leaves open.
_PAST, _UNHEARD_PRIOR = 20, 0.1
# What an utterance shorter than this says of its language counts for less: a grunt is in every language.
_TELLING_SECONDS = 1.0
# English of 1.5 s and more had a mean log-probability of -0.4 or more with `tiny.en` without padding, French and
# Italian -1.1 or less but for two, in which the decoder looped; with padding these had -0.55 or less.
_FOREIGN_LOGPROB, _FOREIGN_PADDED_LOGPROB = -1.0, -0.5
# Noise becomes a "you" or a "thank you", a foreign sentence becomes a sentence: with so many words it is one, though
# Whisper gives the no-speech token up to 0.8 for Italian through a telephone.
_FOREIGN_WORDS = 4
# ISO 639-2 for a language that nobody told.
UNDETERMINED = "und"


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

    `language` is a code, or "auto": then each utterance has the language that it sounds like, and what was spoken
    before decides where that is not clear, so that a short "mm-hm" flips nothing. A recogniser of English alone
    notices by its own doubt that something else is spoken. `text_languages` are those that the text encoder knows.
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
        self._past: deque[str] = deque(maxlen=_PAST)  # languages of the utterances that told theirs clearly

    def __call__(self, samples: NDArray[np.float32]) -> Transcript:
        """Transcribe an utterance, float32 [n] at 16 kHz, of 30 s at most.

        It leaves no trace, so it may be done with what proves to be no utterance; `settle` those that are.
        """
        encoded = self._whisper.encode(samples)
        language, vote = self._choose_language(encoded)
        heard = first = self._whisper.decode(encoded, language)
        padded = _worth_padding(heard, encoded.seconds)
        if padded:
            heard = self._whisper.decode_padded(samples, language)
        if self._given is None and not self._whisper.multilingual and _is_foreign(first, heard, encoded.seconds):
            return Transcript("", UNDETERMINED, "unsupported_language", encoded, padded)
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
        """An utterance of the dialogue, in its order: the language that it told clearly is one of those spoken."""
        if transcript.vote is not None:
            self._past.append(transcript.vote)

    def _build_transcript(self, heard: Hypothesis, encoded: Encoded, padded: bool, vote: str | None) -> Transcript:
        discarded = _no_speech(heard)
        if discarded is None and _ran_away(heard):
            return Transcript("", heard.language, "unintelligible", encoded, padded, vote=vote)
        status = "ok" if heard.language in self._text_languages else "unsupported_language"
        return Transcript(heard.text, heard.language, status, encoded, padded, heard.tokens, discarded, vote)

    def _choose_language(self, encoded: Encoded) -> tuple[str, str | None]:
        """The language to decode in, and the same where the utterance told it clearly."""
        if self._given is not None or not self._whisper.multilingual:
            return self._given or "en", None
        likelihood = self._whisper.language_probabilities(encoded)
        sureness = min(1.0, encoded.seconds / _TELLING_SECONDS)
        weights = {
            language: probability**sureness * self._prior(language) for language, probability in likelihood.items()
        }
        language = max(weights, key=lambda one: weights[one])
        is_clear = likelihood[language] >= _SURE_LANGUAGE and encoded.seconds >= _VOTE_SECONDS
        return language, language if is_clear else None

    def _prior(self, language: str) -> float:
        if not self._past:
            return 1.0
        return _UNHEARD_PRIOR + (1 - _UNHEARD_PRIOR) * self._past.count(language) / len(self._past)


def _is_foreign(first: Hypothesis, heard: Hypothesis, seconds: float) -> bool:
    """Whether a recogniser of English alone found no English: `first` without padding, `heard` after it."""
    if seconds < _VOTE_SECONDS or not any(character.isalnum() for character in first.text):
        return False
    if first.no_speech >= _NO_SPEECH and len(first.text.split()) < _FOREIGN_WORDS:
        return False
    if first.mean_logprob >= _FOREIGN_LOGPROB and not _ran_away(first):
        return False
    return heard is first or heard.mean_logprob < _FOREIGN_PADDED_LOGPROB or _ran_away(heard)


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
    return seconds < _SHORT_SECONDS and heard.mean_logprob >= _HOPELESS_LOGPROB and _no_speech(heard) is not None


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
