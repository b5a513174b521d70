"""Endpointing: when speech begins and when it has ended, as settings."""

from __future__ import annotations

from dataclasses import dataclass

from core_models.errors import UsageError

# Length of the quietest moment at which long speech is cut: a pause between words; the closure of a stop inside a
# word is shorter.
QUIETEST_MS = 100


@dataclass(frozen=True)
class Endpointing:
    """When speech begins and when it has ended. Milliseconds are media time, rounded up to whole frames."""

    aggressiveness: int = 2
    """webrtcvad's mode, 0 (lets much through) to 3 (loses the ends of words in noise)."""
    silero: bool = False
    """Ask Silero about what webrtcvad takes for speech; it knows music and keys better, for one percent of a core."""
    frame_ms: int = 20
    """Length of a frame: 10, 20 or 30."""
    gate_db: float = 1.0
    """How far above the tracked noise floor a frame must be to count as voiced."""
    onset_ms: int = 300
    """Window in which the onset of speech is looked for."""
    onset_share: float = 0.7
    """Share of voiced frames in that window that makes it speech."""
    preroll_ms: int = 300
    """Sound kept from before the first voiced frame, so that no first consonant is lost."""
    postroll_ms: int = 200
    """Sound kept from after the last voiced frame; at most the hangover."""
    hangover_ms: int = 400
    """Silence after which an utterance has ended."""
    adaptive: bool = False
    """Wait for less after words that end a sentence, and for more after words that do not."""
    finished_hangover_ms: int = 300
    """Silence after a finished sentence, if adaptive."""
    unfinished_hangover_ms: int = 800
    """Silence after a trailing "and ...", if adaptive."""
    shortest_ms: int = 200
    """Speech shorter than this is rejected."""
    longest_ms: int = 15_000
    """No utterance is longer, pre-roll and post-roll included; Whisper takes at most 30 s."""
    cut_search_ms: int = 4_000
    """How far back from the longest length the quietest point is looked for."""

    def __post_init__(self) -> None:
        wrong = [
            sentence
            for is_wrong, sentence in (
                (self.aggressiveness not in (0, 1, 2, 3), "aggressiveness must be 0, 1, 2 or 3"),
                (self.frame_ms not in (10, 20, 30), "frame_ms must be 10, 20 or 30"),
                (not 0 < self.onset_share <= 1, "onset_share must be above 0 and at most 1"),
                (min(self.onset_ms, self.hangover_ms) <= 0, "onset_ms and hangover_ms must be positive"),
                (min(self.preroll_ms, self.shortest_ms) < 0, "preroll_ms and shortest_ms cannot be negative"),
                (not 0 <= self.postroll_ms <= self.hangover_ms, "postroll_ms must lie between 0 and hangover_ms"),
                (
                    self.adaptive
                    and not self.postroll_ms
                    <= self.finished_hangover_ms
                    <= self.hangover_ms
                    <= self.unfinished_hangover_ms
                    <= 3_000,
                    "postroll_ms, finished_hangover_ms, hangover_ms, unfinished_hangover_ms and 3000 must not fall",
                ),
                (not 0 < self.longest_ms <= 30_000, "longest_ms must be positive and at most 30000"),
                (
                    self.cut_search_ms < self.shortest_ms + 2 * QUIETEST_MS,
                    f"cut_search_ms must be at least shortest_ms + {2 * QUIETEST_MS}",
                ),
                (
                    self.preroll_ms + self.onset_ms + self.cut_search_ms > self.longest_ms,
                    "preroll_ms, onset_ms and cut_search_ms together must fit into longest_ms",
                ),
            )
            if is_wrong
        ]
        if wrong:
            raise UsageError(f"Endpointing cannot work with these settings: {'; '.join(wrong)}.")
