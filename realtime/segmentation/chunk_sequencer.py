"""Puts one source's chunks in order: whatever times a source gives, no sample of the media clock is heard twice."""

from __future__ import annotations

from realtime.sources.media import SAMPLE_RATE, AudioChunk

# Samples of late sound in a row after which a source's clock counts as set back. Networks deliver packets again, or
# out of order, within a second; a stray chunk must not move the clock of all that follows.
SET_BACK = 2 * SAMPLE_RATE


class ChunkSequencer:
    """Makes the chunks of one source follow each other.

    A jump ahead stays a gap. Sound that was heard already (a repeat, a chunk out of order) is left out and counted in
    `left_out`, in samples. A source whose clock was set back is placed from there on after what was heard, since
    media time never goes back; none of its sound is lost.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._end = 0  # sample after what was heard
        # From the source's times to the media clock.
        self._offset = 0
        # Held back until it is clear whether the clock was set back.
        self._late: list[AudioChunk] = []

    def place(self, chunk: AudioChunk) -> list[AudioChunk]:
        """The chunks that may be heard now, in order; none where this one has been heard or is held back."""
        if not len(chunk.samples):
            return []
        if chunk.start + self._offset + len(chunk.samples) > self._end:
            self.drop_late()
            return self._trim_overlap(chunk)
        self._late.append(chunk)
        if sum(len(late.samples) for late in self._late) < SET_BACK:
            return []
        held, self._late = self._late, []
        self._offset = self._end - held[0].start
        return [placed for late in held for placed in self._trim_overlap(late)]

    def drop_late(self) -> None:
        """Leave out what is held back: the clock was not set back, or the source has ended."""
        self.left_out += sum(len(late.samples) for late in self._late)
        self._late = []

    def _trim_overlap(self, chunk: AudioChunk) -> list[AudioChunk]:
        start = chunk.start + self._offset
        heard = min(max(0, self._end - start), len(chunk.samples))
        self.left_out += heard
        if heard == len(chunk.samples):
            return []
        self._end = start + len(chunk.samples)
        return [AudioChunk(chunk.source, start + heard, chunk.samples[heard:])]
