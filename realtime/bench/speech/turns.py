"""`bench turns`: two to four people on one channel, and how rightly they come out as their turns."""

from __future__ import annotations

import random
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.assets import model_folder
from core_models.errors import UsageError
from core_models.features.audio.campplus import SpeakerVector
from core_models.features.audio.whisper import Whisper
from core_models.segmentation.speaker_segmentation import SpeakerSegmentation
from realtime.bench.speech.turn_scores import diarization_error, score_finals, word_errors_by_person
from realtime.bench.workloads.mixed_conversations import (
    Clip,
    Conversation,
    assemble_conversation,
    find_voices,
    in_room,
    through_telephone,
    with_noise,
)
from realtime.bench.workloads.turn_layouts import LaidTurn, cut_overlaps, draw_layout, read_layouts
from realtime.diarization.speaker_clustering import SpeakerClustering
from realtime.diarization.streaming_diarizer import StreamingDiarizer
from realtime.diarization.turn_segmenter import TurnSegmenter
from realtime.perception.sentence_ends import SentenceEnds
from realtime.perception.transcriber import Transcriber
from realtime.pipeline.models import ENGLISH
from realtime.segmentation.endpointing import Endpointing
from realtime.segmentation.segments import Utterance
from realtime.sources.media import SAMPLE_RATE, AudioChunk

_COLLAR_S = 0.25
_CUT_TO = 0.1
_PRESENT = 0.05  # of the speech, for a speaker to count as one of the conversation
_ENDS_WITHIN_S = 0.5  # a final ends a turn whose end is so near


def turns(
    ravdess: Path | None = Path("../shared/data/ravdess"),
    iemocap: Path | None = Path("../shared/data/iemocap/IEMOCAP_full_release"),
    people: int = 2,
    conversations: int = 10,
    seconds: float = 60.0,
    overlaps: str = "both",
    given: bool = False,
    telephone: bool = False,
    room: bool = False,
    noise: bool = False,
    words: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Conversations of RAVDESS's voices with IEMOCAP's turn-taking, through the live turn segmenter.

    Where a corpus is not there, the demonstration's two voices and a short built-in layout take its place. Of ten
    conversations of two people four are of one sex. No recognition unless asked for: what is measured is who and when.

    Args:
        ravdess: folder of RAVDESS's speech as FLAC
        iemocap: folder of IEMOCAP, of which the times of turns are taken
        people: how many people speak, 2 to 4
        conversations: how many conversations
        seconds: length of each
        overlaps: as-is, cut (to a tenth of the speech), or both
        given: tell the number of people beforehand, as `--speakers 2` does
        telephone: through a telephone's band and codec
        room: through a room with a reverberation of 0.4 s
        noise: with pink noise 15 dB below
        words: of whole clips, transcribed by Whisper base, for the word errors by person (cpWER)
        seed: what is drawn
    """
    if not 2 <= people <= 4 or overlaps not in ("as-is", "cut", "both"):
        raise UsageError("bench turns takes --people 2 to 4 and --overlaps as-is, cut or both.")
    voices = find_voices(ravdess if ravdess is not None and ravdess.is_dir() else None)
    layouts = read_layouts(iemocap if iemocap is not None and iemocap.is_dir() else None)
    if len(voices) < people:
        raise UsageError(f"{len(voices)} voices are at hand, not {people}: give a folder of RAVDESS with --ravdess.")
    bench = _Bench(people if given else None, words=words)
    result: dict[str, Any] = {
        "benchmark": "turns",
        "voices": len(voices),
        "layouts": len(layouts),
        "people": people,
        "conversations": conversations,
        "seconds": seconds,
        "given": given,
        "way": [name for name, on in (("telephone", telephone), ("room", room), ("noise", noise)) if on],
    }
    for kind in ("as-is", "cut") if overlaps == "both" else (overlaps,):
        rows = []
        for number in range(conversations):
            chance = random.Random(f"{seed} {people} {number}")
            layout = draw_layout(layouts, seconds, people, chance)
            layout = cut_overlaps(layout, _CUT_TO) if kind == "cut" else layout
            drawn = _draw(f"{kind} {number}", layout, voices, people, number, chance, whole=words)
            samples = drawn.samples
            samples = in_room(samples, number) if room else samples
            samples = with_noise(samples, number) if noise else samples
            samples = through_telephone(samples) if telephone else samples
            rows.append(bench.run(drawn, samples))
        result[kind.replace("-", "_")] = _summary(rows, people)
    return result


def _draw(
    name: str,
    layout: Sequence[LaidTurn],
    voices: Mapping[str, Sequence[Clip]],
    people: int,
    number: int,
    chance: random.Random,
    *,
    whole: bool,
) -> Conversation:
    """A conversation whose people are of one sex in four of ten cases, where sexes are known by name."""
    one, other = ([voice for voice in sorted(voices) if voice[0] == sex] for sex in "mf")
    if min(len(one), len(other)) < people:
        who = chance.sample(sorted(voices), people)
    elif number % 5 < 2:
        who = chance.sample(one if number % 2 else other, people)
    else:
        who = chance.sample(one, people // 2) + chance.sample(other, people - people // 2)
        chance.shuffle(who)
    return assemble_conversation(name, layout, who, voices, chance, whole=whole)


class _Bench:
    """The networks, and a conversation's way through them."""

    def __init__(self, given: int | None, *, words: bool) -> None:
        self._given = given
        self._network = SpeakerSegmentation(model_folder("pyannote-segmentation"))
        self._vector = SpeakerVector(model_folder("campplus"))
        self._whisper = Whisper(model_folder("whisper-base"), threads=1) if words else None

    def run(self, conversation: Conversation, samples: NDArray[np.float32]) -> dict[str, Any]:
        """One conversation's figures."""
        clustering = SpeakerClustering(self._vector, people=self._given)
        diarizer = StreamingDiarizer(self._network, self._vector, clustering)
        find = SentenceEnds(self._whisper, "en").find if self._whisper is not None else None
        segmenter = TurnSegmenter("channel", Endpointing(), diarizer, find)
        began = time.thread_time()
        found = [*segmenter.feed(AudioChunk("channel", 0, samples)), *segmenter.flush()]
        cpu_s = time.thread_time() - began
        merged = dict(clustering.take_merged())
        finals = [one for one in found if isinstance(one, Utterance)]
        speakers = [_follow(merged, one.speaker or "") for one in finals]
        times = [(name, one.start_ms / 1000, one.end_ms / 1000) for name, one in zip(speakers, finals, strict=True)]
        reference: dict[str, list[tuple[float, float]]] = {person: [] for person in conversation.people}
        for turn in conversation.turns:
            reference[turn.person] += turn.speech
        heard: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for name, start, end in times:
            heard[name].append((start, end))
        seconds = len(samples) / SAMPLE_RATE
        error = diarization_error(reference, heard, seconds, collar_s=_COLLAR_S)
        strict = diarization_error(reference, heard, seconds, collar_s=0.0)
        scores = score_finals(reference, times, error.naming, seconds)
        spoken = {name: sum(end - start for start, end in spans) for name, spans in heard.items()}
        row: dict[str, Any] = {
            "error": (error.total, error.missed, error.false, error.confused),
            "strict": strict.total,
            "scores": scores,
            "people": sum(one >= _PRESENT * sum(spoken.values()) for one in spoken.values()),
            "delays": _delays(conversation, list(zip(speakers, finals, strict=True)), error.naming),
            "finals": len(finals),
            "turns": len(conversation.turns),
            "cpu": cpu_s / seconds,
        }
        if self._whisper is not None:
            row["words"] = self._word_errors(conversation, speakers, finals)
        return row

    def _word_errors(
        self, conversation: Conversation, speakers: Sequence[str], finals: Sequence[Utterance]
    ) -> tuple[int, int]:
        assert self._whisper is not None
        transcriber = Transcriber(self._whisper, language="en", text_languages=ENGLISH)
        said: dict[str, list[str]] = defaultdict(list)
        heard: dict[str, list[str]] = defaultdict(list)
        for turn in conversation.turns:
            said[turn.person] += _words(turn.text)
        for speaker, final in sorted(zip(speakers, finals, strict=True), key=lambda pair: pair[1].start_ms):
            heard[speaker] += _words(transcriber(final.samples).text)
        return word_errors_by_person(said, heard)


def _delays(
    conversation: Conversation, finals: Sequence[tuple[str, Utterance]], naming: Mapping[str, str]
) -> list[float]:
    """Seconds of media time from the end of each turn to the decision of the final that ends with it."""
    delays = []
    for turn in conversation.turns:
        ends = [
            final.decided_ms / 1000 - turn.end_s
            for name, final in finals
            if naming.get(name) == turn.person and abs(final.end_ms / 1000 - turn.end_s) < _ENDS_WITHIN_S
        ]
        delays += [min(ends)] if ends else []
    return delays


def _follow(merged: Mapping[str, str], name: str) -> str:
    for _ in range(len(merged)):
        name = merged.get(name, name)
    return name


def _words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def _summary(rows: Sequence[Mapping[str, Any]], people: int) -> dict[str, Any]:
    errors = np.mean([row["error"] for row in rows], axis=0)
    delays = [delay for row in rows for delay in row["delays"]]
    scores = [row["scores"] for row in rows]
    summary = {
        "error_rate": round(float(errors[0]), 1),
        "missed_false_confused": [round(float(part), 1) for part in errors[1:]],
        "error_rate_without_collar": round(float(np.mean([row["strict"] for row in rows])), 1),
        "worst_error_rate": round(max(row["error"][0] for row in rows), 1),
        "finals_of_one_person": round(100 * sum(s.of_one for s in scores) / max(1, sum(s.asked for s in scores)), 1),
        "speaker_right": round(100 * sum(s.right_s for s in scores) / (sum(s.spoken_s for s in scores) or 1), 1),
        "right_number_of_people": round(100 * sum(row["people"] == people for row in rows) / len(rows)),
        "people_found": [row["people"] for row in rows],
        "finals": sum(row["finals"] for row in rows),
        "turns": sum(row["turns"] for row in rows),
        "end_to_decision_s": {f"p{p}": round(float(np.percentile(delays, p)), 2) for p in (50, 95)} if delays else {},
        "turns_with_their_end": round(100 * len(delays) / max(1, sum(row["turns"] for row in rows))),
        "cpu_of_one_core": round(100 * float(np.mean([row["cpu"] for row in rows])), 1),
    }
    if all("words" in row for row in rows):
        wrong, said = np.sum([row["words"] for row in rows], axis=0)
        summary["word_error_rate_by_person"] = round(100 * int(wrong) / max(1, int(said)), 1)
    return summary
