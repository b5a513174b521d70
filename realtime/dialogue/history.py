"""The history of one dialogue: what was said in it and by whom, as far back as the text feature reads. No I/O."""

from __future__ import annotations

from collections import deque

from core_models.features.text.sentence_encoder import REACH, PastTurn
from realtime.protocol import events
from realtime.protocol.speaker_registry import SpeakerRegistry


class DialogueHistory:
    """The latest turns of a dialogue in commit order, with merges and opt-outs of its speakers.

    Only `has_opted_out` and `set_opted_out` may be called from another thread than the one that adds turns.
    """

    def __init__(self) -> None:
        self._turns: deque[tuple[str, str]] = deque(maxlen=REACH)  # (speaker, words)
        self._speakers = SpeakerRegistry()

    def add_turn(self, speaker: str, words: str) -> None:
        """Append what a speaker said."""
        self._turns.append((speaker, words))

    def turns_before(self, speaker: str) -> list[PastTurn]:
        """What was said so far, oldest first, each turn marked as `speaker`'s own or somebody else's."""
        own = self._speakers.resolve_speaker(speaker)
        return [PastTurn(self._speakers.resolve_speaker(one) == own, words) for one, words in self._turns]

    def merge_speakers(self, gone: str, into: str) -> None:
        """Treat two speakers as one person, who has opted out where either of them has."""
        self._speakers.apply(events.SpeakerMerged(speaker=gone, into=into))

    def set_opted_out(self, speaker: str, opted_out: bool) -> None:
        """Record whether a speaker wants not to be judged."""
        self._speakers.apply(events.SpeakerOptedOut(speaker=speaker, opted_out=opted_out))

    def has_opted_out(self, speaker: str) -> bool:
        """Whether a speaker, or somebody who proved to be the same person, wants not to be judged."""
        return self._speakers.has_opted_out(speaker)

    def forget_speaker(self, speaker: str) -> tuple[str, ...]:
        """Remove a speaker's turns; the ids under which that person was known."""
        own = self._speakers.resolve_speaker(speaker)
        ids = (own, *self._speakers.merged_ids(own))
        self._turns = deque((turn for turn in self._turns if turn[0] not in ids), maxlen=REACH)
        return ids
