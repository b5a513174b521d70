"""What every source of sound gave, so that a session can say at its end what was not heard, and why."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from realtime.protocol import events
from realtime.protocol.media_time import format_media_time
from realtime.sources.media import SAMPLE_RATE, AudioChunk

# Peak below which there is no sound at all: -80 dBFS, under the noise of any microphone that is switched on.
_SILENT = 1e-4
# Peak below which speech is too soft for the segmenter: it hears speech of -75 dBFS, whose peaks are 15 dB higher.
_TOO_SOFT = 10 ** (-62 / 20)
# Shorter sessions are trials of which nobody expects words.
_SHORTEST_MS = 5_000
# A person notices a second of a call that is missing.
_LOST_MS = 1_000


@dataclass
class _Heard:
    """The sound of one source so far."""

    end: int = 0  # sample at 16 kHz behind the last chunk
    sound_end: int = 0  # and behind the last one that was not silent
    missing: int = 0  # samples between chunks
    peak: float = 0.0


class SoundWatch:
    """Observes the sound of some sources, and which utterances came of it. Any thread."""

    def __init__(self, sources: list[str]) -> None:
        self._heard = {source: _Heard() for source in sources}
        self._last_final_ms = 0
        self._discarded: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._unsupported = 0
        self._lock = threading.Lock()

    def observe_chunk(self, chunk: AudioChunk) -> None:
        """Take sound that a source delivered."""
        heard = self._heard.get(chunk.source)
        if heard is None or not len(chunk.samples):
            return
        # Of the movement, not of the offset, which a dead line may have as well.
        peak = float(np.ptp(chunk.samples)) / 2
        with self._lock:
            if heard.end:
                heard.missing += max(0, chunk.start - heard.end)
            heard.end = max(heard.end, chunk.start + len(chunk.samples))
            heard.peak = max(heard.peak, peak)
            if peak >= _SILENT:
                heard.sound_end = heard.end

    def observe_event(self, event: events.Logged) -> None:
        """Take what an utterance became."""
        match event:
            case events.UtteranceDiscarded():
                with self._lock:
                    self._discarded[event.reason] += 1
            case events.EmotionFinal():
                text = event.modalities.get("text")
                with self._lock:
                    self._last_final_ms = max(self._last_final_ms, event.end_ms)
                    if text is not None and text.status == "unsupported_language":
                        self._unsupported += 1
                        self._languages[event.language or "unknown"] += 1
            case _:
                pass

    def report(self, utterances: int) -> list[str]:
        """A sentence for everything that was not heard, with the likely reason and what to do; empty where all was.

        utterances: how many were judged.
        """
        with self._lock:
            sentences = [sentence for source in self._heard for sentence in self._report_source(source, utterances)]
            if self._unsupported:
                names = ", ".join(sorted(self._languages))
                sentences.append(
                    f"The words of {self._unsupported} utterances were not judged, because the model does not know "
                    f"their language ({names}): name the language with --language if that is wrong."
                )
        return sentences

    def _report_source(self, source: str, utterances: int) -> Iterator[str]:
        heard = self._heard[source]
        end_ms, sound_end_ms = (sample * 1000 // SAMPLE_RATE for sample in (heard.end, heard.sound_end))
        if heard.missing * 1000 // SAMPLE_RATE > _LOST_MS:
            yield (
                f"{heard.missing / SAMPLE_RATE:.1f} s of the sound of {source} are missing: the line dropped out, or "
                "this machine was too slow for it."
            )
        if not heard.end:
            yield f"Nothing was heard of {source}: no sound arrived. Check the device, or the recording's audio tracks."
        elif end_ms < _SHORTEST_MS:
            return
        elif not heard.sound_end:
            yield (
                f"Nothing was heard of {source}: it is digital silence from start to end. Unmute the microphone, allow "
                "its use in the system's settings, or choose the device or track that holds the voices."
            )
        elif end_ms - sound_end_ms > max(_SHORTEST_MS, end_ms // 2):
            yield (
                f"Nothing was heard of {source} after {format_media_time(sound_end_ms)}: from there on it is digital "
                "silence. The microphone was muted or its cable came loose; the part after that cannot be recovered."
            )
        elif not utterances and len(self._heard) == 1:
            yield self._no_words(source, heard)
        elif len(self._heard) == 1 and end_ms - self._last_final_ms > max(_SHORTEST_MS, end_ms // 2):
            yield (
                f"No speech was heard in {source} after {format_media_time(self._last_final_ms)}, though there was "
                "sound: it is music or noise, or the voices are far from the microphone."
            )

    def _no_words(self, source: str, heard: _Heard) -> str:
        if heard.peak < _TOO_SOFT:
            below_db = -20 * np.log10(heard.peak)
            return (
                f"No speech was heard in {source}: it is too soft, {below_db:.0f} dB below full scale at its loudest. "
                "Raise the level of the microphone or of the recording."
            )
        if self._discarded["leak"]:
            return f"No speech was heard in {source} but what another source plays: use headphones."
        reason = "music or noise" if self._discarded["not_speech"] or self._discarded["no_words"] else "no voice"
        return (
            f"No speech was heard in {source}, though there was sound: it is {reason}. Check that the device or track "
            "holds the voices."
        )
