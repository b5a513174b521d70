"""Who speaks when on one channel, at a fixed delay: windows of the segmentation network, tied together by voice.

Local segmentation, vectors of what is not overlapped, incremental clustering (Coria et al., Overlap-aware low-latency
online speaker diarization based on end-to-end local segmentation, ASRU 2021). Windows are tied where their local
speakers agree on the frames that they share; within a tied voice each stretch between pauses is clustered by itself,
over as much clean speech as it has. No I/O, no clock but the samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from core_models.segmentation.speaker_segmentation import (
    FRAME_CENTRE,
    FRAME_HOP,
    LOCAL_SPEAKERS,
    SAMPLE_RATE,
    SHORTEST_SAMPLES,
    speaker_activity,
)
from realtime.diarization.speaker_clustering import SpeakerClustering

Sound = NDArray[np.float32]

FRAMES_PER_S = SAMPLE_RATE / FRAME_HOP
# Samples that the network sees: 5 s cost half of 10 s and are no worse at a delay of a second.
WINDOW = 80_000
# Frames from one look to the next: half a second, and whole frames, so that those of all windows lie on one grid.
HOP_FRAMES = 30
# What is so far back is decided: at half a second the error is a third higher, at two seconds a quarter lower.
DELAY_FRAMES = round(FRAMES_PER_S)

_EDGE = FRAME_CENTRE - FRAME_HOP // 2  # where the samples of frame 0 itself begin
_ACTIVE = 0.5
_LEAST_ACTIVE = round(0.1 * FRAMES_PER_S)
# A pause within one stretch; longer than the closure of a stop, shorter than a breath.
_GAP = round(0.3 * FRAMES_PER_S)
# Speech alone that a vector rests on: below, CAM++ tells nobody apart; above, it costs more and gains nothing.
_LEAST_VECTOR_S, _LONGEST_VECTOR_S = 0.4, 5.0
# A vector costs more than a window, so it is taken again only when its stretch has grown by so much, or has ended.
_GROWN_S = 1.0
# A local speaker is a voice of before where they agree on 0.2 s and on 60% of what either of them has: at 40% voices
# of two people run into each other (error 19% against 17%), at 80% they fall apart (20%).
_TIED_FRAMES, _TIED_SHARE = round(0.2 * FRAMES_PER_S), 0.6
# Share of a stretch that a local speaker must cover for the window to say anything about it.
_TOLD_SHARE = 0.7
# Frames, and stretches, that are kept: longer than any utterance may be.
_KEPT = round(20 * FRAMES_PER_S)


@dataclass
class VoiceStretch:
    """One voice's speech from frame `start` to `end`, pauses up to 0.3 s in it; `number` is the clustering's."""

    number: int
    voice: int
    start: int
    end: int
    taught_s: float = 0.0

    @property
    def samples(self) -> tuple[int, int]:
        """Sample at which it begins, and after which it has ended."""
        return _sample_of(self.start), _sample_of(self.end)


@dataclass
class _LocalSpeaker:
    column: int
    frames: NDArray[np.bool_]
    voice: int = -1


class StreamingDiarizer:
    """Follows one channel. `segment` and `embed` are the networks (SpeakerSegmentation, SpeakerVector).

    Times are samples since the first that was fed. What a call of `feed` decides does not depend on how the sound is
    cut into calls.
    """

    def __init__(
        self,
        segment: Callable[[Sound], NDArray[np.float32]],
        embed: Callable[[Sound], Sound],
        clustering: SpeakerClustering,
    ) -> None:
        self.clustering = clustering
        self.stretches: list[VoiceStretch] = []
        """What was found of late, by start; those after `decided` may change."""
        self.decided = 0
        """Sample up to which it is settled who speaks, all but for the names."""
        self._segment, self._embed = segment, embed
        self._sound = np.zeros(0, np.float32)
        self._sound_start = 0
        self._looked = 0  # frames that the last window ended with
        self._first = 0  # frame at which _scores and _weights begin
        self._scores: dict[int, NDArray[np.float64]] = {}  # weighted sums of activity by voice, a value a frame
        self._weights = np.zeros(0)
        self._voices = 0

    @property
    def position(self) -> int:
        """Sample after the last that was fed."""
        return self._sound_start + len(self._sound)

    def feed(self, samples: Sound) -> bool:
        """Take the next samples, float32 [n]; whether more is decided now."""
        self._sound = np.concatenate([self._sound, samples])
        before = self.decided
        while (self._looked + HOP_FRAMES) * FRAME_HOP + 2 * FRAME_CENTRE <= self.position:
            self._looked += HOP_FRAMES
            self._look(self._looked)
            self._decide(self._looked - DELAY_FRAMES)
        keep = max(0, self.position - _KEPT * FRAME_HOP - self._sound_start)
        self._sound, self._sound_start = self._sound[keep:], self._sound_start + keep
        return self.decided > before

    def look(self) -> None:
        """Look at all that was heard and decide it: silence has ended an utterance, and nobody waits for more."""
        frames = (self.position - 2 * FRAME_CENTRE) // FRAME_HOP
        if frames > 0:
            self._look(frames)
        self._decide(frames + 2 * FRAME_CENTRE // FRAME_HOP)

    def restart(self) -> None:
        """Begin anew at sample 0, after a silence; who is known stays known."""
        self.stretches, self.decided = [], 0
        self._sound, self._sound_start = np.zeros(0, np.float32), 0
        self._looked, self._first = 0, 0
        self._scores, self._weights = {}, np.zeros(0)

    def _decide(self, frame: int) -> None:
        self.decided = max(self.decided, _sample_of(frame))

    def _active(self, voice: int) -> NDArray[np.bool_]:
        active: NDArray[np.bool_] = self._scores[voice] > _ACTIVE * np.maximum(self._weights, 1e-9)
        return active

    def _look(self, end: int) -> None:
        """One window, which ends at frame `end`."""
        stop = end * FRAME_HOP + 2 * FRAME_CENTRE
        first = max(0, -(-(stop - WINDOW) // FRAME_HOP))
        samples = self._sound[first * FRAME_HOP - self._sound_start : stop - self._sound_start]
        if len(samples) < SHORTEST_SAMPLES:
            return
        activity = speaker_activity(self._segment(samples)).astype(np.float64)
        speakers = [
            _LocalSpeaker(column, activity[:, column] > _ACTIVE)
            for column in range(LOCAL_SPEAKERS)
            if (activity[:, column] > _ACTIVE).sum() >= _LEAST_ACTIVE
        ]
        self._trim(first)
        self._tie(speakers, first)
        self._add(speakers, first, activity)
        current = self._find_stretches()
        self._compare(current, speakers, first)
        self._learn(current)

    def _trim(self, first: int) -> None:
        """Let go of what lies so far back that no utterance holds it."""
        gone = max(0, first - _KEPT) - self._first
        if gone > 0:
            self._first += gone
            self._weights = self._weights[gone:]
            self._scores = {v: s[gone:] for v, s in self._scores.items() if s[gone:].any()}
            self.stretches = [s for s in self.stretches if s.end > self._first and s.voice in self._scores]

    def _tie(self, speakers: list[_LocalSpeaker], first: int) -> None:
        """Which voice of before each local speaker is, by the frames that both windows have; or a new one."""
        at = first - self._first
        shared = len(self._weights) - at
        there = {v: active for v in self._scores if shared > 0 and (active := self._active(v)[at:]).any()}
        if there and speakers:
            before = np.stack(list(there.values()))
            now = np.stack([one.frames[:shared] for one in speakers])
            both = (now[:, None] & before[None]).sum(axis=2)
            either = (now[:, None] | before[None]).sum(axis=2)
            for i, j in zip(*linear_sum_assignment(-both), strict=True):
                if both[i, j] >= _TIED_FRAMES and both[i, j] >= _TIED_SHARE * either[i, j]:
                    speakers[i].voice = list(there)[j]
        for one in speakers:
            if one.voice < 0:
                one.voice, self._voices = self._voices, self._voices + 1

    def _add(self, speakers: list[_LocalSpeaker], first: int, activity: NDArray[np.float64]) -> None:
        """Average what all windows say of a frame, the middle of a window weighing most; what is decided stays."""
        at, end = first - self._first, first - self._first + len(activity)
        more = max(0, end - len(self._weights))
        self._weights = np.pad(self._weights, (0, more))
        self._scores = {voice: np.pad(scores, (0, more)) for voice, scores in self._scores.items()}
        undecided = np.arange(first, first + len(activity)) * FRAME_HOP + _EDGE >= self.decided
        window = np.hamming(len(activity)) * undecided
        self._weights[at:end] += window
        for one in speakers:
            scores = self._scores.setdefault(one.voice, np.zeros(len(self._weights)))
            scores[at:end] += window * activity[:, one.column]

    def _find_stretches(self) -> list[VoiceStretch]:
        """Cut each voice's activity at its pauses; a stretch that was there before keeps its number."""
        found: list[VoiceStretch] = []
        for voice in self._scores:
            old = [stretch for stretch in self.stretches if stretch.voice == voice]
            for start, end in _runs(self._active(voice), _GAP, self._first):
                same = [stretch for stretch in old if stretch.start < end and start < stretch.end]
                if same:
                    longest = max(same, key=lambda stretch: stretch.taught_s)
                    longest.start, longest.end = start, end
                    old = [stretch for stretch in old if stretch not in same]
                    for gone in same:
                        if gone is not longest:
                            self.clustering.forget(gone.number)
                    found.append(longest)
                elif end - start >= _LEAST_ACTIVE:
                    found.append(VoiceStretch(self.clustering.new_stretch(), voice, start, end))
            for gone in old:  # a later window took its frames away
                self.clustering.forget(gone.number)
        self.stretches = sorted(found, key=lambda stretch: (stretch.start, stretch.number))
        return self.stretches

    def _compare(self, stretches: list[VoiceStretch], speakers: list[_LocalSpeaker], first: int) -> None:
        """What this window says of pairs of stretches: one local speaker or two."""
        told: list[tuple[int, int]] = []
        for stretch in stretches:
            part = slice(max(0, stretch.start - first), max(0, stretch.end - first))
            frames = part.stop - part.start
            covered = [int(one.frames[part].sum()) for one in speakers]
            if frames >= _GAP and covered and max(covered) >= _TOLD_SHARE * frames:
                told.append((stretch.number, int(np.argmax(covered))))
        for at, (one, local) in enumerate(told):
            for other, beside in told[:at]:
                self.clustering.compare(one, other, same=local == beside)

    def _learn(self, stretches: list[VoiceStretch]) -> None:
        """Take the vectors of stretches that have grown."""
        on = {voice: self._active(voice) for voice in {stretch.voice for stretch in stretches}}
        single = np.sum(list(on.values()), axis=0) == 1 if on else np.zeros(0, bool)
        for stretch in stretches:
            part = slice(stretch.start - self._first, stretch.end - self._first)
            alone = np.flatnonzero(on[stretch.voice][part] & single[part]) + stretch.start
            seconds = len(alone) / FRAMES_PER_S
            grown = seconds - stretch.taught_s
            over = _sample_of(stretch.end) < self.decided
            if seconds < _LEAST_VECTOR_S or not (
                grown >= _GROWN_S or not stretch.taught_s or (over and grown >= _LEAST_VECTOR_S)
            ):
                continue
            last = alone[-round(_LONGEST_VECTOR_S * FRAMES_PER_S) :]
            at = (last[:, None] * FRAME_HOP + _EDGE + np.arange(FRAME_HOP)).ravel() - self._sound_start
            at = at[(at >= 0) & (at < len(self._sound))]
            if len(at) >= _LEAST_VECTOR_S * SAMPLE_RATE:
                stretch.taught_s = seconds
                self.clustering.hear(stretch.number, self._embed(self._sound[at]), min(seconds, _LONGEST_VECTOR_S))


def _sample_of(frame: int) -> int:
    """The sample at which a frame's own 17 ms begin."""
    return frame * FRAME_HOP + _EDGE


def _runs(on: NDArray[np.bool_], gap: int, offset: int) -> list[tuple[int, int]]:
    """Start and end of each run of True, pauses up to `gap` closed."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    runs: list[tuple[int, int]] = []
    for start, end in edges.reshape(-1, 2) + offset:
        if runs and start - runs[-1][1] <= gap:
            runs[-1] = runs[-1][0], int(end)
        else:
            runs.append((int(start), int(end)))
    return runs
