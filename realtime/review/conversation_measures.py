"""What a conversation was like, person by person, before any emotion: who talked how much, how fast, and over whom.

Counted from utterances, which endpointing cuts at pauses of its hangover (400 ms by default), so what is shorter than
that between two words is speech here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from realtime.review.conversation import Utterance

LONG_PAUSE_MS = 2_000
"""Silence that is noticed: gaps between speakers are about 200 ms in ten languages, and few exceed a second (Stivers et
al., Universals and cultural variation in turn-taking, 2009); a speaker's own pauses are longer, hence the double."""
BACK_CHANNEL_MS = 1_500
"""A back-channel ("mm-hm", "oh really") is no longer than this; what is longer has something to say."""
BACK_CHANNEL_WORDS = 3
"""And has no more words than this."""
OVERLAP_MS = 500
"""To begin less than this before the other's end is to know that they are done, not to interrupt them."""


@dataclass(frozen=True)
class SpeakerMeasures:
    """One person's part in a conversation."""

    speaker: str
    name: str
    utterances: int
    talk_ms: int
    """Length of all their utterances."""
    talk_share: float
    """`talk_ms` of everybody's, 0 to 1."""
    turns: int
    """Runs of their utterances that nobody else breaks, back-channels of others apart."""
    words_per_minute: float | None
    """Words of their recognised utterances by the length of these; None without words."""
    answer_ms: float | None
    """Median time from another's end to the beginning of their turn, below 0 where they overlap; None without one."""
    long_pauses: int
    """Silences of 2 s and longer within their turns: they spoke, nobody did, they spoke on."""
    interruptions: int
    """Turns that they began 500 ms or more before another's end, and that lasted longer than the other's."""
    back_channels: int
    """Utterances of at most 1.5 s and three words while the other has the turn before and after."""


def measure_conversation(utterances: Sequence[Utterance]) -> tuple[SpeakerMeasures, ...]:
    """The part of each person, by first appearance; `utterances` in order of their beginning."""
    aside = _find_back_channels(utterances)
    turns = [one for number, one in enumerate(utterances) if number not in aside]
    names = {one.speaker: one.name for one in utterances}
    whole = sum(one.end_ms - one.start_ms for one in utterances)
    return tuple(
        _measure_speaker(speaker, name, utterances, turns, {utterances[n].id for n in aside}, whole)
        for speaker, name in names.items()
    )


def _find_back_channels(utterances: Sequence[Utterance]) -> set[int]:
    """The places of what is said in between: short, with the same other person before and after it."""
    found: set[int] = set()
    for number in range(1, len(utterances) - 1):
        before, one, after = utterances[number - 1 : number + 2]
        short = one.end_ms - one.start_ms <= BACK_CHANNEL_MS and len((one.text or "").split()) <= BACK_CHANNEL_WORDS
        # The one before may itself be a back-channel: then this is a short exchange, in which each has a turn.
        if short and before.speaker == after.speaker != one.speaker and number - 1 not in found:
            found.add(number)
    return found


def _measure_speaker(
    speaker: str, name: str, utterances: Sequence[Utterance], turns: Sequence[Utterance], aside: set[str], whole: int
) -> SpeakerMeasures:
    mine = [one for one in utterances if one.speaker == speaker]
    talk_ms = sum(one.end_ms - one.start_ms for one in mine)
    worded = [one for one in mine if one.text]
    worded_ms = sum(one.end_ms - one.start_ms for one in worded)
    words = sum(len((one.text or "").split()) for one in worded)
    taken, answers, pauses, interruptions = 0, [], 0, 0
    before: Utterance | None = None
    for one in turns:
        if one.speaker == speaker:
            taken += before is None or before.speaker != speaker
            if before is not None and before.speaker == speaker:
                pauses += one.start_ms - before.end_ms >= LONG_PAUSE_MS
            elif before is not None:
                answers.append(one.start_ms - before.end_ms)
                interruptions += before.end_ms - one.start_ms >= OVERLAP_MS and one.end_ms > before.end_ms
        # Of two that overlap the one that ends later is whom the next one answers.
        if before is None or one.end_ms >= before.end_ms or one.speaker == before.speaker:
            before = one
    return SpeakerMeasures(
        speaker=speaker,
        name=name,
        utterances=len(mine),
        talk_ms=talk_ms,
        talk_share=talk_ms / whole if whole else 0.0,
        turns=taken,
        words_per_minute=words * 60_000 / worded_ms if worded_ms else None,
        answer_ms=median(answers) if answers else None,
        long_pauses=pauses,
        interruptions=interruptions,
        back_channels=sum(one.id in aside for one in mine),
    )
