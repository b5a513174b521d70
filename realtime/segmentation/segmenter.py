"""Sound in, utterances out: voice activity, pre-roll, endpointing, longest length. No I/O, no clock but media time.

Sound is cut into frames on a grid of its own and every decision is made on one frame at a time, so boundaries do not
depend on the size of the chunks in which the sound arrived. A sample belongs to one utterance at most.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.segmentation.endpointing import QUIETEST_MS, Endpointing
from realtime.segmentation.high_pass import HighPass
from realtime.segmentation.noise_floor import NoiseFloor
from realtime.segmentation.segments import Paused, Rejected, Resumed, Segment, SpeechStarted, Utterance
from realtime.segmentation.silero_vad import Silero
from realtime.segmentation.webrtc_vad import WebRtcVad
from realtime.sources.media import SAMPLE_RATE, AudioChunk

_PER_MS = SAMPLE_RATE // 1000
# Probabilities of speech from which it begins, and goes on: Silero hesitates within a word.
_SILERO_BEGINS, _SILERO_GOES_ON = 0.5, 0.3
# Samples of silence after which Silero's state, which drifts on endless streams, begins anew.
_LONG_SILENCE = 5 * SAMPLE_RATE


class _Frame(NamedTuple):
    samples: NDArray[np.float32]
    voiced: bool
    # Mean square above 120 Hz, of samples in [-1, 1].
    power: float


class Segmenter:
    """Turns one source's chunks into segments, in the order in which they were decided.

    What `feed` returns for a stream does not depend on how the stream is cut into chunks.
    """

    def __init__(self, source: str, config: Endpointing) -> None:
        self.source = source
        self.config = config
        self._frame = config.frame_ms * _PER_MS
        self._high_pass = HighPass()
        self._vad = WebRtcVad(config.aggressiveness, config.frame_ms)
        self._silero = Silero() if config.silero else None
        # Samples since webrtcvad last heard speech.
        self._unvoiced = 0
        self._noise_floor = NoiseFloor(config.frame_ms)
        self._window = self._frame_count(config.onset_ms)
        self._onset = math.ceil(config.onset_share * self._window)
        self._preroll = self._frame_count(config.preroll_ms)
        self._postroll = self._frame_count(config.postroll_ms)
        self._hangover = self._frame_count(config.hangover_ms)
        longest = self._frame_count(config.unfinished_hangover_ms) if config.adaptive else self._hangover
        # After this much silence nothing before it can matter any more.
        self._settled = (longest + self._window + self._preroll) * self._frame
        self._rest = np.zeros(0, np.float32)  # less than a frame
        # Idle: pre-roll and window; speaking: the utterance so far.
        self._frames: deque[_Frame] = deque()
        self._position = 0  # sample after the last frame
        # First voiced frame of the open utterance, as an index of _frames.
        self._start: int | None = None
        self._end = 0  # index after its last voiced frame
        # The open utterance is the rest of one that was cut.
        self._continues = False
        self._paused = False
        # Frames of silence that end the open utterance.
        self._wait = self._hangover

    def feed(self, chunk: AudioChunk) -> list[Segment]:
        """What was decided within this chunk. A jump of `chunk.start` is silence; a step back a ValueError."""
        gap = chunk.start - self._position - len(self._rest)
        if gap < 0:
            raise ValueError(f"chunk of {chunk.source} starts {-gap} samples before the end of the one before")
        segments: list[Segment] = []
        to_grid = -len(self._rest) % self._frame
        # A source may have been away for hours.
        if gap > self._settled + to_grid:
            self._process_samples(np.zeros(self._settled + to_grid, np.float32), segments)
            self._frames.clear()
            self._position = chunk.start
        elif gap:
            self._process_samples(np.zeros(gap, np.float32), segments)
        self._process_samples(chunk.samples, segments)
        return segments

    def flush(self) -> list[Segment]:
        """Close the open utterance: the source has ended or was lost. Feeding may go on afterwards."""
        segments: list[Segment] = []
        self._position += len(self._rest)
        if self._start is not None:
            self._frames.append(_Frame(self._rest, False, 0.0))
            self._close_utterance(segments)
        self._rest = np.zeros(0, np.float32)
        self._frames.clear()
        return segments

    def so_far(self) -> Utterance | None:
        """The open utterance up to now, or None while nobody speaks."""
        return None if self._start is None else self._open_utterance()

    def expect(self, ended: bool | None) -> None:
        """Whether the words say that the turn has ended (segmentation/end_of_turn.py); until speech goes on again."""
        if self.config.adaptive and self._paused and ended is not None:
            self._wait = self._frame_count(
                self.config.finished_hangover_ms if ended else self.config.unfinished_hangover_ms
            )

    def _frame_count(self, ms: int) -> int:
        return -(-ms // self.config.frame_ms)

    def _process_samples(self, samples: NDArray[np.float32], segments: list[Segment]) -> None:
        samples = np.concatenate((self._rest, samples), dtype=np.float32)
        whole = len(samples) - len(samples) % self._frame
        # Decisions alone are made on the filtered sound; an utterance holds it as it was.
        filtered = self._high_pass.filter(samples[:whole])
        for at in range(0, whole, self._frame):
            part = slice(at, at + self._frame)
            power = float(np.dot(filtered[part], filtered[part])) / self._frame
            self._position += self._frame
            self._frames.append(_Frame(samples[part], self._is_voiced(filtered[part], power), power))
            if self._start is None:
                self._await_onset(segments)
            else:
                self._follow_utterance(segments)
        self._rest = samples[whole:].copy()

    def _is_voiced(self, filtered: NDArray[np.float64], power: float) -> bool:
        """Whether webrtcvad hears speech, Silero agrees if it is asked, and the frame exceeds the noise floor."""
        second = True if self._silero is None else self._second_opinion(self._silero, filtered.astype(np.float32))
        excess_db = self._noise_floor.excess_db(power)
        # Digital silence, of which webrtcvad would learn a noise that there is not.
        if excess_db == -math.inf:
            return False
        speech = self._vad.is_speech(filtered, power, excess_db)
        self._unvoiced = 0 if speech else self._unvoiced
        return speech and second and excess_db > self.config.gate_db

    def _second_opinion(self, silero: Silero, samples: NDArray[np.float32]) -> bool:
        self._unvoiced += len(samples)
        if self._unvoiced >= _LONG_SILENCE and self._start is None:
            silero.reset()
            self._unvoiced = 0
        return silero(samples) >= (_SILERO_BEGINS if self._start is None else _SILERO_GOES_ON)

    def _await_onset(self, segments: list[Segment]) -> None:
        while len(self._frames) > self._preroll + self._window:
            self._frames.popleft()
        voiced = [frame.voiced for frame in self._frames]
        if voiced[-1] and sum(voiced[-self._window :]) >= self._onset:
            first = voiced.index(True, max(0, len(voiced) - self._window))
            self._drop_frames(max(0, first - self._preroll))
            self._start_utterance(min(first, self._preroll), segments)

    def _follow_utterance(self, segments: list[Segment]) -> None:
        if self._frames[-1].voiced:
            self._end = len(self._frames)
            if self._paused:
                self._clear_pause()
                segments.append(Resumed(self.source))
        silence = len(self._frames) - self._end
        if silence >= self._wait:
            self._close_utterance(segments)
        elif len(self._frames) >= self._frame_count(self.config.longest_ms):
            self._cut_utterance(segments)
        elif silence == self._postroll and not self._is_short():
            self._paused = True
            segments.append(Paused(self.source, self._open_utterance()))

    def _clear_pause(self) -> None:
        self._paused = False
        self._wait = self._hangover

    def _is_short(self) -> bool:
        assert self._start is not None
        spoken_ms = (self._end - self._start) * self.config.frame_ms
        return spoken_ms < self.config.shortest_ms and not self._continues

    def _start_utterance(self, start: int, segments: list[Segment]) -> None:
        self._clear_pause()
        self._start = start
        self._end = max(i for i, frame in enumerate(self._frames) if frame.voiced) + 1
        segments.append(SpeechStarted(self.source, self._ms_of(start), self._position // _PER_MS))

    def _close_utterance(self, segments: list[Segment]) -> None:
        """The hangover has passed. A rejected word may still turn out to be the pre-roll of the next utterance."""
        assert self._start is not None
        if self._is_short():
            times = self._ms_of(self._start), self._ms_of(self._end), self._position // _PER_MS
            segments.append(Rejected(self.source, *times, reason="too_short"))
        else:
            self._deliver_frames(min(self._end + self._postroll, len(self._frames)), segments, cut=False)
        self._reset_onset()

    def _cut_utterance(self, segments: list[Segment]) -> None:
        """The longest length is reached: cut where it was quietest of late. What follows the cut goes on."""
        before = len(self._frames)
        frames = self._frame_count(QUIETEST_MS)
        power = np.array([frame.power for frame in self._frames])[
            before - self._frame_count(self.config.cut_search_ms) :
        ]
        power = power[: len(power) - self._frame_count(self.config.shortest_ms)]
        quietest = int(np.argmin(np.convolve(power, np.ones(frames), "valid")))
        self._deliver_frames(
            before - self._frame_count(self.config.cut_search_ms) + quietest + frames // 2, segments, cut=True
        )
        rest = [frame.voiced for frame in self._frames]
        if any(rest):
            self._continues = True
            self._start_utterance(rest.index(True), segments)
        else:
            self._reset_onset()

    def _deliver_frames(self, count: int, segments: list[Segment], *, cut: bool) -> None:
        """Hand over the first `count` frames, which are then gone."""
        segments.append(self._build_utterance(count, cut=cut))
        self._drop_frames(count)

    def _open_utterance(self) -> Utterance:
        return self._build_utterance(min(self._end + self._postroll, len(self._frames)), cut=False)

    def _build_utterance(self, count: int, *, cut: bool) -> Utterance:
        assert self._start is not None
        return Utterance(
            source=self.source,
            start_ms=self._ms_of(self._start),
            end_ms=self._ms_of(min(self._end, count)),
            decided_ms=self._position // _PER_MS,
            samples=np.concatenate([frame.samples for frame in islice(self._frames, count)]),
            samples_start=self._sample_of(0),
            cut=cut,
        )

    def _reset_onset(self) -> None:
        """Nobody speaks; what is left in the ring has been judged and does not count as an onset again."""
        self._start = None
        self._continues = False
        self._frames = deque(frame._replace(voiced=False) for frame in self._frames)

    def _drop_frames(self, count: int) -> None:
        for _ in range(count):
            self._frames.popleft()

    def _sample_of(self, index: int) -> int:
        """Sample of the media clock at which frame `index` begins (of a partial last frame, its end)."""
        return self._position - sum(len(frame.samples) for frame in islice(self._frames, index, None))

    def _ms_of(self, index: int) -> int:
        return self._sample_of(index) // _PER_MS
