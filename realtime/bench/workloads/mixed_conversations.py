"""Conversations of several people on one channel, assembled at run time from clips of single voices.

RAVDESS (Livingstone and Russo, 2018) has twenty people at hand, each with the same two sentences in eight emotions;
without it, the two voices of the demonstration speak. One turn is of one emotion: a voice that changes from shout to
whisper every two seconds doubles the confusion of the segmentation network, and nobody speaks so.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_models.errors import UsageError
from realtime.bench.workloads.turn_layouts import LaidTurn
from realtime.sources.media import SAMPLE_RATE
from realtime.sources.recording.file import read_audio

Sound = NDArray[np.float32]

_DEMO = Path(__file__).resolve().parents[2] / "demo"
_STATEMENTS = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
_BETWEEN_CLIPS_S = 0.12  # shorter than any pause that ends an utterance
_LEVEL_DB = -24.0
_NOISE_DB = -60.0
_FADE_S = 0.01
_PAUSE_S = 0.3  # a pause of the reference; shorter ones are part of the turn
_TAIL_S = 1.5  # of quiet at the end, so that silence ends the last turn


@dataclass(frozen=True)
class Clip:
    """A voice's words: `manner` groups what may stand in one turn."""

    manner: str
    text: str
    file: Path
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True)
class SpokenTurn:
    """What was said when by whom; of a clip that was cut off, the words are not known and stand in no `text`."""

    person: str
    start_s: float
    end_s: float
    text: str
    speech: tuple[tuple[float, float], ...]
    """Seconds in which there is voice: the turn without its pauses."""


@dataclass(frozen=True)
class Conversation:
    """Sound, float32 [n] at 16 kHz, and who speaks when in it."""

    name: str
    samples: Sound
    turns: tuple[SpokenTurn, ...]

    @property
    def people(self) -> list[str]:
        """Everybody in it, in order of appearance."""
        return list(dict.fromkeys(turn.person for turn in self.turns))


def find_voices(ravdess: Path | None) -> dict[str, list[Clip]]:
    """Clips by person: the people of RAVDESS, or without it the two of the demonstration. UsageError."""
    voices: dict[str, list[Clip]] = {}
    if ravdess is None:
        for line in json.loads((_DEMO / "conversation.json").read_text(encoding="utf-8")):
            clip = Clip("", line["text"], _DEMO / "conversation.ogg", line["start_ms"] / 1000, line["end_ms"] / 1000)
            voices.setdefault(line["speaker"], []).append(clip)
        return voices
    for file in sorted(ravdess.rglob("03-01-*-01-*-*-*.flac")):  # speech, of normal intensity
        _, _, emotion, _, statement, _, actor = file.stem.split("-")
        voices.setdefault(f"{'mf'[int(actor) % 2 == 0]}{actor}", []).append(
            Clip(emotion, _STATEMENTS[statement], file)
        )
    if not voices:
        raise UsageError(f"{ravdess} holds no speech of RAVDESS (03-01-....flac): give its folder.")
    return voices


def assemble_conversation(
    name: str,
    layout: Sequence[LaidTurn],
    people: Sequence[str],
    voices: Mapping[str, Sequence[Clip]],
    chance: random.Random,
    *,
    whole: bool,
) -> Conversation:
    """Fill a layout with voices; with `whole` no clip is cut off, so that every word is known.

    A turn of whole clips is as near to its length as they allow, and what follows moves with it: answers come after
    the same gap, or as long before the end.
    """
    turns: list[SpokenTurn] = []
    parts: list[tuple[int, Sound]] = []
    latest: tuple[float, float] | None = None  # end of the turn before, in the layout and as it was laid
    ends: dict[int, float] = {}
    manners: dict[int, str] = {}
    speaking = -1
    for turn in layout:
        clips = voices[people[turn.side]]
        if turn.side != speaking:  # what one person says on end is one turn, whatever the corpus cut it into
            speaking, manners[turn.side] = turn.side, chance.choice(sorted({clip.manner for clip in clips}))
        among = [clip for clip in clips if clip.manner == manners[turn.side]]
        sound, text = _speak(among, turn.end_s - turn.start_s, chance, whole=whole)
        start_s = turn.start_s
        if whole and latest is not None:
            start_s = max(turn.start_s - latest[0] + latest[1], turns[-1].start_s + _PAUSE_S)
        start_s = max(start_s, ends.get(turn.side, 0.0) + (0.05 if whole else 0.0))
        at = round(start_s * SAMPLE_RATE)
        end_s = start_s + len(sound) / SAMPLE_RATE
        ends[turn.side] = end_s
        latest = turn.end_s, end_s
        parts.append((at, sound))
        voiced = tuple((start_s + a, start_s + b) for a, b in _voiced(sound))
        turns.append(SpokenTurn(people[turn.side], start_s, end_s, text, voiced))
    samples = np.zeros(round((max(ends.values()) + _TAIL_S) * SAMPLE_RATE), np.float32)
    for at, sound in parts:
        samples[at : at + len(sound)] += sound
    noise = np.random.default_rng(chance.randrange(1 << 30)).standard_normal(len(samples))
    return Conversation(name, (samples + noise * 10 ** (_NOISE_DB / 20)).astype(np.float32), tuple(turns))


def _speak(clips: Sequence[Clip], seconds: float, chance: random.Random, *, whole: bool) -> tuple[Sound, str]:
    """Clips, drawn until the time is filled, and their words."""
    length = round(seconds * SAMPLE_RATE)
    between = np.zeros(round(_BETWEEN_CLIPS_S * SAMPLE_RATE), np.float32)
    sound, words = np.zeros(0, np.float32), list[str]()
    while len(sound) < length:
        clip = chance.choice(clips)
        more = _load(clip)
        if whole and words and len(sound) + len(more) / 2 > length:
            break
        sound = np.concatenate([sound, between, more]) if len(sound) else more
        words.append(clip.text)
    if not whole and len(sound) > length:
        sound = sound[:length].copy()
        fade = min(length, round(_FADE_S * SAMPLE_RATE))
        sound[length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound, " ".join(words) if whole else ""


@lru_cache(maxsize=2_000)
def _load(clip: Clip) -> Sound:
    """A clip's speech without the silence around it, at `_LEVEL_DB`."""
    samples = _read(clip.file)
    end = None if clip.end_s is None else round(clip.end_s * SAMPLE_RATE)
    samples = samples[round(clip.start_s * SAMPLE_RATE) : end]
    first, last = _loud(samples)
    samples = samples[first:last]
    level = 10 ** (_LEVEL_DB / 20) / float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    return (samples * level).astype(np.float32)


@lru_cache(maxsize=2_000)
def _read(file: Path) -> Sound:
    return read_audio(file)


_GRAIN = SAMPLE_RATE // 100
_BELOW_LOUDEST_DB = 35.0  # the softest consonants stand about 30 dB below the loudest vowel


def _levels(samples: Sound) -> NDArray[np.bool_]:
    """Which hundredths of a second are loud enough to be voice."""
    power = np.square(samples[: len(samples) // _GRAIN * _GRAIN].astype(np.float64)).reshape(-1, _GRAIN).mean(axis=1)
    loud: NDArray[np.bool_] = power > power.max(initial=0.0) * 10 ** (-_BELOW_LOUDEST_DB / 10)
    return loud


def _loud(samples: Sound) -> tuple[int, int]:
    at = np.flatnonzero(_levels(samples))
    return int(at[0]) * _GRAIN, (int(at[-1]) + 1) * _GRAIN


def _voiced(samples: Sound) -> list[tuple[float, float]]:
    """Stretches of voice in seconds, pauses below `_PAUSE_S` among them."""
    spans: list[tuple[float, float]] = []
    for at in np.flatnonzero(_levels(samples)):
        start, end = at * _GRAIN / SAMPLE_RATE, (at + 1) * _GRAIN / SAMPLE_RATE
        if spans and start - spans[-1][1] < _PAUSE_S:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((start, end))
    return spans


# -- the way to the ear


def through_telephone(samples: Sound) -> Sound:
    """300 to 3400 Hz, in the 256 steps of the mu-law (ITU-T G.711)."""
    spectrum = np.fft.rfft(samples)
    at = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    band = np.fft.irfft(spectrum * ((at >= 300) & (at <= 3_400)), len(samples))
    folded = np.sign(band) * np.log1p(255 * np.minimum(np.abs(band), 1)) / np.log(256)
    steps = np.round(folded * 127) / 127
    heard: Sound = (np.sign(steps) * np.expm1(np.abs(steps) * np.log(256)) / 255).astype(np.float32)
    return heard


def in_room(samples: Sound, seed: int, *, reverberation_s: float = 0.4) -> Sound:
    """Through a made-up room: the direct sound, and noise that decays by 60 dB in `reverberation_s`."""
    length = round(reverberation_s * SAMPLE_RATE)
    tail = np.random.default_rng(seed).standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response = 0.5 * tail / np.sqrt(np.sum(tail**2))  # 6 dB below the direct sound, as at about a metre
    response[0] += 1.0
    size = 1 << (len(samples) + length).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return wet.astype(np.float32)


def with_noise(samples: Sound, seed: int, *, below_db: float = 15.0) -> Sound:
    """With pink noise that stands `below_db` under the recording's mean power."""
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(samples)))
    pink = np.fft.irfft(white / np.sqrt(np.maximum(1, np.arange(len(white)))), len(samples))
    power = float(np.mean(samples.astype(np.float64) ** 2))
    scaled = pink * np.sqrt(power * 10 ** (-below_db / 10) / np.mean(pink**2))
    noisy: Sound = (samples + scaled).astype(np.float32)
    return noisy
