"""Who the speakers of a session are: names, opt-outs and merges, folded from its events. No I/O.

This is the only place that knows the rules; snapshots, publisher, journal list, conversation and terminal all fold
with it:

- merges are transitive: whoever was merged into a speaker stays that speaker wherever that one is merged later;
- a name, an opt-out or an utterance under an id that was merged away belongs to the speaker that is left;
- the speaker that is left keeps its own name, and takes that of the other where it has none;
- a speaker into whom somebody was merged who had opted out has opted out;
- who opts out loses the name that they were given; an empty name, which redaction leaves in a journal, is none.
"""

from __future__ import annotations

from realtime.protocol import events


class SpeakerRegistry:
    """The speakers of one session, in order of appearance."""

    def __init__(self) -> None:
        # Of each speaker that is left, in order of the merges.
        self._merged_ids: dict[str, tuple[str, ...]] = {}
        # Merged id -> speaker that is left; never a chain.
        self._into: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._opted_out: set[str] = set()

    def apply(self, event: events.Logged) -> None:
        """Fold the next event."""
        match event:
            case events.SpeechStarted() | events.EmotionFinal() | events.EmotionCorrected():
                self._add_speaker(event.speaker)
            case events.SpeakerRenamed():
                speaker = self._add_speaker(event.speaker)
                self._names.pop(speaker, None)
                if event.name:
                    self._names[speaker] = event.name
            case events.SpeakerOptedOut(opted_out=True):
                speaker = self._add_speaker(event.speaker)
                self._opted_out.add(speaker)
                self._names.pop(speaker, None)
            case events.SpeakerOptedOut():
                self._opted_out.discard(self._add_speaker(event.speaker))
            case events.SpeakerMerged():
                self._merge_speakers(self.resolve_speaker(event.speaker), self._add_speaker(event.into))

    def _add_speaker(self, speaker: str) -> str:
        resolved = self.resolve_speaker(speaker)
        self._merged_ids.setdefault(resolved, ())
        return resolved

    def _merge_speakers(self, gone: str, into: str) -> None:
        # Also two speakers merged into each other: the first merge stands.
        if gone == into:
            return
        ids = (gone, *self._merged_ids.pop(gone, ()))
        self._merged_ids[into] += ids
        # Every id leads straight to the speaker that is left, so that nothing has to walk a chain, or a circle.
        self._into |= dict.fromkeys(ids, into)
        if (name := self._names.pop(gone, None)) is not None:
            self._names.setdefault(into, name)
        if gone in self._opted_out:
            self._opted_out = self._opted_out - {gone} | {into}
        if into in self._opted_out:
            self._names.pop(into, None)

    @property
    def speakers(self) -> tuple[str, ...]:
        """The ids of the speakers that are left."""
        return tuple(self._merged_ids)

    def has_speaker(self, speaker: str) -> bool:
        """Whether the session has anybody by that id."""
        return self.resolve_speaker(speaker) in self._merged_ids

    def resolve_speaker(self, speaker: str) -> str:
        """The id of the speaker that `speaker` was merged into, however many merges lie between; else `speaker`."""
        return self._into.get(speaker, speaker)

    def merged_ids(self, speaker: str) -> tuple[str, ...]:
        """The ids that were merged into a speaker that is left."""
        return self._merged_ids.get(self.resolve_speaker(speaker), ())

    def given_name(self, speaker: str) -> str | None:
        """The name that a person gave a speaker, or None."""
        return self._names.get(self.resolve_speaker(speaker))

    def shown_name(self, speaker: str) -> str:
        """What a speaker is shown as: the name that somebody gave, else the id of the speaker that is left."""
        resolved = self.resolve_speaker(speaker)
        return self._names.get(resolved, resolved)

    def has_opted_out(self, speaker: str) -> bool:
        """Whether a speaker does not want to be judged at present."""
        return self.resolve_speaker(speaker) in self._opted_out

    def fork(self) -> SpeakerRegistry:
        """A copy that shares nothing which changes."""
        other = SpeakerRegistry()
        other._merged_ids, other._into = self._merged_ids.copy(), self._into.copy()
        other._names, other._opted_out = self._names.copy(), self._opted_out.copy()
        return other
