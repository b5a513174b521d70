"""A session on scripted perceptions: sound that webrtcvad takes for speech, and models that answer as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError
from core_models.features.audio.whisper import Encoded
from core_models.features.text.sentence_encoder import PastTurn
from realtime.dialogue.tracker import Judgement
from realtime.perception.transcriber import Transcript
from realtime.perception.utterance_features import Perception
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk
from realtime.sources.source import Sink, SourceStatus

NOTHING = Encoded(np.zeros((1, 1), np.float32), 0.0, None)


ANGER = Judgement("anger", {"neutral": 0.25, "anger": 0.75}, {}, {}, None)


def voiced(seconds: float) -> NDArray[np.float32]:
    """A buzz with the harmonics of a voice, which webrtcvad takes for speech."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 140 * h * t) / h for h in range(1, 25))
    return (0.1 * buzz * (1 + 0.5 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


class Tape:
    """A source that plays given samples from a thread and then ends."""

    has_audio = True
    kind = "tape"
    detail = ""

    def __init__(self, samples: NDArray[np.float32], name: str = "tape", *, endless: bool = False) -> None:
        self.name = name
        self._samples = samples
        self._endless = endless
        self._stopped = threading.Event()

    def start(self, sink: Sink) -> None:
        self._thread = threading.Thread(target=self._play, args=(sink,))
        self._thread.start()

    def _play(self, sink: Sink) -> None:
        for start in range(0, len(self._samples), 1600):
            sink.audio(AudioChunk(self.name, start, self._samples[start : start + 1600]))
        if self._endless:
            self._stopped.wait()
        else:
            sink.status(SourceStatus(self.name, self.kind, "ended"))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class Scripted:
    """A perceiver that answers at once, or late, or not at all."""

    face = None

    def __init__(self, delays: list[float] | None = None, fails: bool = False) -> None:
        self.heard: list[Utterance] = []
        self.pasts: list[list[PastTurn]] = []
        self._delays = iter(delays or [])
        self._fails = fails

    def transcribe(self, samples: NDArray[np.float32]) -> Transcript:
        if self._fails:
            raise MediaError("It broke: try again.")
        time.sleep(next(self._delays, 0.0))
        return Transcript("words", "en", "ok", NOTHING, False)

    def extract_features(
        self, utterance: Utterance, transcript: Transcript, faces: object, past: Sequence[PastTurn] = ()
    ) -> Perception:
        self.heard.append(utterance)
        self.pasts.append(list(past))
        return Perception(transcript.text, "en", {"text": np.zeros(1, np.float32)}, {"text": "ok"})


class Steady:
    """A tracker that always says anger, and notes whom it was told to forget."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget(self, speaker: str) -> None:
        self.forgotten.append(speaker)

    def step(self, speaker: str, features: object) -> Judgement:
        return replace(ANGER)


def session(
    *sources: Tape,
    perceiver: Scripted | None = None,
    listened: Sequence[str] | None = None,
    endpointing: Endpointing | None = None,
    **options: Any,
) -> tuple[Session, list[events.Logged]]:
    """A session on scripted models, and the events that it appends; `listened` are the sources with a speaker."""
    told: list[events.Logged] = []
    lock = threading.Lock()

    def append(event: events.Logged) -> None:
        with lock:
            told.append(event)

    made = Session(
        sources,
        perceiver or Scripted(),  # type: ignore[arg-type]
        Steady(),  # type: ignore[arg-type]
        append,
        endpointing=endpointing or Endpointing(),
        speakers={name: name for name in listened or [s.name for s in sources]},
        camera_speaker=None,
        lossless=True,
        **options,
    )
    return made, told


def finals(told: list[events.Logged]) -> list[events.EmotionFinal]:
    return [e for e in told if isinstance(e, events.EmotionFinal)]


THREE = np.concatenate([silence(0.5), *([voiced(1.0), silence(1.0)] * 3)])


class Lockstep(Tape):
    """Two voices of one recording, of which one is delivered `late` chunks behind the other."""

    def __init__(self, voices: dict[str, NDArray[np.float32]], late: int) -> None:
        super().__init__(next(iter(voices.values())))
        self._voices, self._late = voices, late

    def _play(self, sink: Sink) -> None:
        (first, ahead), (second, behind) = self._voices.items()
        for start in range(0, len(ahead) + self._late * 1600, 1600):
            back = start - self._late * 1600
            for name, samples, at in ((first, ahead, start), (second, behind, back)):
                if 0 <= at < len(samples):
                    sink.audio(AudioChunk(name, at, samples[at : at + 1600]))
        sink.status(SourceStatus(self.name, self.kind, "ended"))
