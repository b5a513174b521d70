"""`python -m realtime.bench short-words`: one to three words alone, decoded as in a live run and with padding."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.errors import MediaError
from core_models.features.audio.whisper import Whisper
from realtime.perception.transcriber import Transcriber
from realtime.sources.media import SAMPLE_RATE

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth"
).split()
_DAYS = "sunday monday tuesday wednesday thursday friday saturday".split()
_MONTHS = "january february march april may june july august september october november december".split()
_NAMED = (
    "activated added calling cancelled disabled enabled extension goodbye hello hours location minute "
    "minutes number removed second seconds time with your vm-and vm-first "
    "vm-for vm-from vm-goodbye vm-last vm-message vm-messages vm-minutes vm-no vm-password vm-press vm-received "
    "vm-saved digits/today digits/tomorrow digits/yesterday digits/hundred "
    "digits/thousand digits/million digits/billion digits/dollars digits/minus digits/pound digits/star letters/dash "
    "letters/dot letters/plus letters/slash letters/equals letters/asterisk"
).split()
# What the prompts of one to three words say, by their names in Debian's asterisk-core-sounds-en-wav.
_SPELT = {
    "hello-world": "hello world",
    "telephone-number": "telephone number",
    "do-not-disturb": "do not disturb",
    "call-waiting": "call waiting",
    "call-forwarding": "call forwarding",
    "im-sorry": "i'm sorry",
    "one-moment-please": "one moment please",
    "please-try-again": "please try again",
    "speed-dial": "speed dial",
    "you-entered": "you entered",
    "vm-youhave": "you have",
    "to-extension": "to extension",
    "is-set-to": "is set to",
}

_ROOM = 10 ** (-70 / 20)
_LEVEL = 10 ** (-24 / 20)
_PREROLL, _POSTROLL = SAMPLE_RATE * 3 // 10, SAMPLE_RATE // 5
# Samples between a word and its repetition: shorter than any hangover, so both are one utterance.
_PAUSE = SAMPLE_RATE * 18 // 100


def short_words(
    sounds: Path = Path("/usr/share/asterisk/sounds/en_US_f_Allison"),
    models: tuple[str, ...] = ("whisper-base", "whisper-tiny.en"),
    threads: tuple[int, ...] = (1, 2),
) -> dict[str, Any]:
    """Word errors on prompts of one to three words, each alone and each said twice, against padded decoding.

    Args:
        sounds: folder of Asterisk's English prompts (Debian: asterisk-core-sounds-en-wav)
        models: recognisers, by name
        threads: numbers of CPU threads; what is heard should not depend on them
    """
    prompts = list(read_prompts(sounds))
    result: dict[str, Any] = {"benchmark": "short-words", "prompts": len(prompts)}
    for name in models:
        transcripts = {count: _transcribe_prompts(name, count, prompts) for count in threads}
        first = transcripts[threads[0]]
        result[name] = {
            "words": sum(len(prompt.words) for prompt in prompts),
            **{
                f"errors_{way}": sum(_count_errors(said, heard[way]) for said, heard in first)
                for way in ("live", "padded")
            },
            "discarded": sum(not heard["live"] and bool(heard["padded"]) for _, heard in first),
            "doubled": sum(len(heard["live"]) > len(said) and _says_twice(heard["live"]) for said, heard in first),
            "differ_by_threads": sum(
                one[1]["live"] != other[1]["live"]
                for more in threads[1:]
                for one, other in zip(first, transcripts[more], strict=True)
            ),
            "wrong": [
                {"said": " ".join(said), **{way: " ".join(words) for way, words in heard.items()}}
                for said, heard in first
                if _count_errors(said, heard["live"]) > _count_errors(said, heard["padded"])
            ],
        }
    return result


@dataclass(frozen=True)
class Prompt:
    """An utterance as the segmenter cuts it, at a usual level in a quiet room; `words` is what it says."""

    name: str
    words: tuple[str, ...]
    samples: NDArray[np.float32]


def read_prompts(folder: Path) -> Iterator[Prompt]:
    """Every prompt alone and said twice. MediaError where the folder is missing."""
    if not folder.is_dir():
        raise MediaError(f"{folder} is missing: run apt-get install asterisk-core-sounds-en-wav, or name its folder.")
    texts = {f"digits/{n}": word for n, word in [*enumerate(_ONES), *_TENS.items()]}
    texts |= {f"digits/h-{n}": word for n, word in enumerate(_ORDINALS, 1)}
    texts |= {f"digits/day-{n}": word for n, word in enumerate(_DAYS)}
    texts |= {f"digits/mon-{n}": word for n, word in enumerate(_MONTHS)}
    texts |= {name: name.removeprefix("vm-").rpartition("/")[2] for name in _NAMED} | _SPELT
    random = np.random.default_rng(0)
    for name, text in texts.items():
        word = _read_speech(folder / f"{name}.wav")
        for times in (1, 2):
            parts = [word] if times == 1 else [word, np.zeros(_PAUSE, np.float32), word]
            said = np.concatenate([np.zeros(_PREROLL), *parts, np.zeros(_POSTROLL)])
            samples = (said + _ROOM * random.standard_normal(len(said))).astype(np.float32)
            yield Prompt(name, tuple(text.split() * times), samples)


def _read_speech(path: Path) -> NDArray[np.float32]:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        pcm = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    samples = soxr.resample(pcm.astype(np.float32) / 32768, rate, SAMPLE_RATE)
    frames = np.sqrt((samples[: len(samples) // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1))
    loud = np.flatnonzero(frames > frames.max() / 56)  # within 35 dB of the loudest 10 ms
    samples = samples[loud[0] * 160 : (loud[-1] + 1) * 160]
    return np.asarray(samples * (_LEVEL / np.sqrt((samples**2).mean())), dtype=np.float32)


def _transcribe_prompts(
    model: str, threads: int, prompts: list[Prompt]
) -> list[tuple[tuple[str, ...], dict[str, list[str]]]]:
    whisper = Whisper(model_folder(model), device="cpu", threads=threads)
    transcriber = Transcriber(whisper, language="en", text_languages={"en"})
    heard = []
    for prompt in prompts:
        transcript = transcriber(prompt.samples)
        live = "" if transcript.discarded else transcript.text
        padded = whisper.decode_padded(prompt.samples, "en").text
        heard.append((prompt.words, {"live": words_of(live), "padded": words_of(padded)}))
    return heard


def words_of(text: str) -> list[str]:
    """Lower case, numbers up to a hundred and ordinals as words, no marks."""
    text = re.sub(r"(\d+)(?:st|nd|rd|th)\b", lambda m: _spell_ordinal(int(m[1])), text.lower().replace("’", "'"))
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return re.findall(r"[a-z']+", re.sub(r"\d+", lambda m: f" {_spell_cardinal(int(m[0]))} ", text))


def _spell_cardinal(n: int) -> str:
    if n < 100:
        return _ONES[n] if n < 20 else f"{_TENS[n // 10 * 10]} {_ONES[n % 10] if n % 10 else ''}"
    return " ".join(_ONES[int(digit)] for digit in str(n))


def _spell_ordinal(n: int) -> str:
    return _ORDINALS[n - 1] if 0 < n < 20 else f"{_spell_cardinal(n)}th"


def _count_errors(said: Sequence[str], heard: list[str]) -> int:
    """Words put in, left out or replaced (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def _says_twice(words: list[str]) -> bool:
    return any(one == other for one, other in pairwise(words))
