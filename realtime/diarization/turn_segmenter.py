"""Several people on one channel: speech between silences, cut into their turns while it goes on.

The segmenter says when anybody speaks, the diarizer who; a turn is over when somebody else has the floor, when silence
ends the speech, or when one person has spoken for so long that an emotion is due. Causal, and no clock but media time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from realtime.diarization.streaming_diarizer import StreamingDiarizer
from realtime.diarization.turn_division import DividedTurn, Span, divide_turns, first_is_over
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segmenter import Segmenter
from realtime.segmentation.segments import Paused, Rejected, Resumed, Segment, SpeechStarted, Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk

Sound = NDArray[np.float32]
# (sound of one person who speaks on, whether any end will do) -> the sample after which to cut, or None.
FindSentenceEnd = Callable[[Sound, bool], int | None]

_PER_MS = SAMPLE_RATE // 1000
_GRID = 20 * _PER_MS  # what is fed at once, so that no decision depends on the size of chunks
# Samples of one turn after which it is cut at a sentence's end, if there is one by then.
_ASK_AT = 5 * SAMPLE_RATE
# Samples after which it is cut at any end of a word: nobody waits for an emotion longer than about 6 s.
_CUT_AT = round(6.4 * SAMPLE_RATE)
# Samples that each side of such a cut has: the voice's emotion needs about two seconds.
_LEAST_PIECE = 2 * SAMPLE_RATE
_QUIET = 30 * _PER_MS  # a pause between words is longer, the closure of most stops too
_NEAR = 150 * _PER_MS  # how far the network's edges are off
_SMEAR = 400 * _PER_MS  # what the network may still hear of somebody who has lost the floor
_KEPT = 40 * SAMPLE_RATE
# Samples after which the diarizer, who sees five seconds, need not hear the silence between.
_LONG_GAP = 10 * SAMPLE_RATE


class TurnSegmenter:
    """In place of a `Segmenter` where several people share a channel; its utterances are one person's turns.

    Segments follow each other as a segmenter's do: each `SpeechStarted` ends as the next `Utterance` or `Rejected`.
    Turns that overlap come one after the other, by start, once the first of them is over.
    """

    def __init__(
        self,
        source: str,
        config: Endpointing,
        diarizer: StreamingDiarizer,
        find_sentence_end: FindSentenceEnd | None = None,
    ) -> None:
        self.source = source
        self._segmenter = Segmenter(source, config)
        self._diarizer = diarizer
        self._find_sentence_end = find_sentence_end
        self._base = 0  # media sample at which the diarizer's own time began
        self._position = 0  # media sample after the last that was fed on
        self._rest = np.zeros(0, np.float32)
        self._sound = np.zeros(0, np.float32)  # of late, up to _position
        self._begin: int | None = None  # first sample of the open turn
        self._told_begin = 0  # the same, where the stretch began before speech did
        self._finished: dict[int, int] = {}  # voice stretch -> media sample up to which its turns are out
        self._asked = 0  # samples of the open turn after which a sentence's end was looked for

    def feed(self, chunk: AudioChunk) -> list[Segment]:
        """What was decided within this chunk. A jump of `chunk.start` is silence."""
        segments: list[Segment] = []
        gap = chunk.start - self._position - len(self._rest)
        if gap > _LONG_GAP:
            self._take(np.zeros(_LONG_GAP // 2, np.float32), segments)
            self._restart(chunk.start)
        elif gap > 0:
            self._take(np.zeros(gap, np.float32), segments)
        self._take(chunk.samples, segments)
        return segments

    def flush(self) -> list[Segment]:
        """Close the open turn: the source has ended or was lost."""
        segments: list[Segment] = []
        self._advance(self._rest, segments)
        self._rest = np.zeros(0, np.float32)
        for segment in self._segmenter.flush():
            self._follow(segment, segments)
        return segments

    def so_far(self) -> Utterance | None:
        """The open turn up to now, or None while nobody speaks."""
        open_ = self._segmenter.so_far()
        return None if open_ is None else self._rest_of(open_)

    def expect(self, ended: bool | None) -> None:
        """See Segmenter.expect."""
        self._segmenter.expect(ended)

    @property
    def latest_speaker(self) -> str:
        """Who spoke last: the best guess while somebody begins to."""
        return self._diarizer.clustering.latest

    def take_merged(self) -> list[tuple[str, str]]:
        """Speakers who proved to be one since the last call, as (gone, kept)."""
        return self._diarizer.clustering.take_merged()

    # -- sound

    def _take(self, samples: Sound, segments: list[Segment]) -> None:
        self._rest = np.concatenate([self._rest, samples], dtype=np.float32)
        while len(self._rest) >= _GRID:
            piece, self._rest = self._rest[:_GRID], self._rest[_GRID:]
            self._advance(piece, segments)

    def _advance(self, piece: Sound, segments: list[Segment]) -> None:
        if not len(piece):
            return
        chunk = AudioChunk(self.source, self._position, piece)
        self._position += len(piece)
        self._sound = np.concatenate([self._sound[-_KEPT:], piece])
        decided_more = self._diarizer.feed(piece)
        for segment in self._segmenter.feed(chunk):
            self._follow(segment, segments)
        if self._begin is not None:
            if decided_more:
                self._end_turns_that_are_over(segments)
            self._cut_monologue(segments)

    def _restart(self, at: int) -> None:
        """After a long silence, go on at media sample `at`."""
        for segment in self._segmenter.flush():
            self._follow(segment, [])
        self._diarizer.restart()
        self._base = self._position = at
        self._rest = np.zeros(0, np.float32)
        self._sound = np.zeros(0, np.float32)

    # -- turns

    def _follow(self, segment: Segment, segments: list[Segment]) -> None:
        match segment:
            case SpeechStarted():
                self._open(segment.start_ms * _PER_MS, segments)
            case Paused():
                segments.append(Paused(self.source, self._rest_of(segment.so_far)))
            case Resumed():
                segments.append(segment)
            case Utterance():
                self._diarizer.look()
                self._close(segment, segments)
            case Rejected():
                self._begin = None
                segments.append(segment)

    def _open(self, begin: int, segments: list[Segment]) -> None:
        self._begin, self._asked = begin, 0
        segments.append(SpeechStarted(self.source, begin // _PER_MS, self._position // _PER_MS))

    def _close(self, utterance: Utterance, segments: list[Segment]) -> None:
        """Silence has ended the speech, or its greatest length was reached: all turns that are left are over."""
        assert self._begin is not None
        end = min(utterance.end_ms * _PER_MS, self._position)
        turns = self._divide(self._begin, max(end, self._begin + 1))
        for number, turn in enumerate(turns):
            if number:
                self._open(turn.start, segments)
            piece = self._utterance(turn, utterance if turn.end >= end else None)
            segments.append(replace(piece, cut=utterance.cut and number == len(turns) - 1))
        self._begin = None

    def _end_turns_that_are_over(self, segments: list[Segment]) -> None:
        assert self._begin is not None
        decided = min(self._base + self._diarizer.decided, self._position)
        while decided > self._begin:
            turns = self._divide(self._begin, decided)
            if not first_is_over(turns):
                return
            over = [turn for turn in turns if turn.end <= turns[0].end]
            left = [turn for turn in turns if turn.end > turns[0].end]
            progress = left[0].start > self._begin
            for number, turn in enumerate(over):
                if number:
                    self._open(turn.start, segments)
                segments.append(self._utterance(turn, None))
                self._finish(turn, _SMEAR)
            self._open(left[0].start, segments)
            if not progress:  # two began at once, and the other goes on
                return

    def _cut_monologue(self, segments: list[Segment]) -> None:
        """One person has spoken for long: cut behind a sentence, or in the end behind any word."""
        assert self._begin is not None
        length = self._position - self._begin
        mark = next((mark for mark in (_CUT_AT, _ASK_AT) if length >= mark), 0)
        if mark <= self._asked:
            return
        self._asked = mark
        sound = self._between(self._begin, self._position)
        at: int | None = None
        if self._find_sentence_end is not None:
            at = self._find_sentence_end(sound, mark == _CUT_AT)
        if at is None and mark == _CUT_AT:
            at = self._quietest(self._begin + _LEAST_PIECE, self._position - _NEAR) - self._begin
        if at is None or not _LEAST_PIECE // 2 <= at < length:
            return
        at += self._begin
        turns = self._divide(self._begin, at)
        for number, turn in enumerate(turns):
            if number:
                self._open(turn.start, segments)
            segments.append(replace(self._utterance(turn, None), cut=True))
            self._finish(turn, 0)
        self._open(at, segments)

    def _divide(self, start: int, end: int) -> list[DividedTurn]:
        spans = []
        for stretch in self._diarizer.stretches:
            first, last = (self._base + sample for sample in stretch.samples)
            first = max(first, self._finished.get(stretch.number, 0))
            person = self._diarizer.clustering.person_of(stretch.number)
            key = ("voice", stretch.voice) if person is None else ("person", person)
            spans.append(Span(key, stretch.number, first, last, unknown=person is None))
        return divide_turns(start, end, spans, lambda a, b: self._quietest(a - _NEAR, b + _NEAR))

    def _finish(self, turn: DividedTurn, smear: int) -> None:
        """What its voices have up to `smear` samples behind its end belongs to nobody else's turn."""
        self._finished |= dict.fromkeys(turn.stretches, turn.end + smear)
        known = {stretch.number for stretch in self._diarizer.stretches}
        self._finished = {number: end for number, end in self._finished.items() if number in known}

    def _utterance(self, turn: DividedTurn, whole: Utterance | None) -> Utterance:
        """A turn as an utterance; with `whole` it ends as that does, with the sound behind its last word."""
        start = turn.start
        if self._begin == turn.start and whole is not None and whole.start_ms * _PER_MS == turn.start:
            start = whole.samples_start
        elif (so_far := self._segmenter.so_far()) is not None and so_far.start_ms * _PER_MS == turn.start:
            start = so_far.samples_start
        end = turn.end if whole is None else whole.samples_start + len(whole.samples)
        return Utterance(
            source=self.source,
            start_ms=turn.start // _PER_MS,
            end_ms=turn.end // _PER_MS if whole is None else whole.end_ms,
            decided_ms=self._position // _PER_MS,
            samples=self._between(start, end),
            samples_start=start,
            cut=False,
            overlapped=turn.overlapped,
            speaker=self._diarizer.clustering.name_turn(turn.stretches),
        )

    def _rest_of(self, open_: Utterance) -> Utterance:
        """Of the segmenter's open utterance, what belongs to no turn that is over."""
        assert self._begin is not None
        if self._begin <= open_.start_ms * _PER_MS:
            return open_
        end = max(open_.samples_start + len(open_.samples), self._begin + 1)
        return replace(
            open_,
            start_ms=self._begin // _PER_MS,
            end_ms=max(open_.end_ms, self._begin // _PER_MS),
            samples=self._between(self._begin, end),
            samples_start=self._begin,
        )

    def _between(self, start: int, end: int) -> Sound:
        first = self._position - len(self._sound)
        return self._sound[max(0, start - first) : max(0, end - first)].copy()

    def _quietest(self, start: int, end: int) -> int:
        """The middle of the quietest moment between two samples."""
        start = max(start, self._position - len(self._sound), 0)
        sound = self._between(start, min(end, self._position)).astype(np.float64)
        if len(sound) <= _QUIET:
            return start + len(sound) // 2
        sums = np.concatenate([[0.0], np.cumsum(sound**2)])
        return start + int(np.argmin(sums[_QUIET:] - sums[:-_QUIET])) + _QUIET // 2
