"""Sources in which several people may speak, and what tells them apart."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from core_models.assets import model_folder
from core_models.errors import UsageError
from core_models.features.audio.campplus import SpeakerVector
from core_models.segmentation.speaker_segmentation import SpeakerSegmentation
from realtime.cli.listen_options import Listen
from realtime.diarization.speaker_clustering import UNKNOWN_SPEAKER, SpeakerClustering
from realtime.diarization.streaming_diarizer import StreamingDiarizer
from realtime.diarization.turn_segmenter import FindSentenceEnd, TurnSegmenter
from realtime.diarization.voice_prints import VoicePrintFile
from realtime.sources.recording.file import read_audio

TurnSegmenters = dict[str, Callable[[], TurnSegmenter]]


def build_speaker_clustering(options: Listen, speakers: Collection[str]) -> SpeakerClustering:
    """Speaker clustering with the voices known beforehand; it has no model where all `speakers` have names.

    UsageError, DiskError, WeightsError.
    """
    if isinstance(options.speakers, tuple) and (options.enrol or options.voice_prints):
        raise UsageError(
            "Voices are only told apart with --speakers auto: add it, or leave out --enrol and --voice-prints."
        )
    people = options.speakers if isinstance(options.speakers, int) else None
    if people is not None and people < 1:
        raise UsageError(f"{people} speakers cannot be told apart: give their number, 1 or more, or auto.")
    if UNKNOWN_SPEAKER not in speakers:
        return SpeakerClustering()
    clustering = SpeakerClustering(_load_speaker_vector(), people=people)
    for sample in options.enrol:
        name, _, file = sample.partition("=")
        if not name or not file:
            raise UsageError(f"{sample!r} enrols nobody: give NAME=FILE.")
        clustering.hear_sample(name, read_audio(Path(file)))
    if options.voice_prints is not None:
        for name, vector in VoicePrintFile(options.voice_prints).read().items():
            clustering.enrol(name, vector)
    return clustering


def build_turn_segmenters(
    options: Listen, speakers: Mapping[str, str], clustering: SpeakerClustering, find_sentence_end: FindSentenceEnd
) -> TurnSegmenters:
    """For each source without a person of its own, what makes its segmenter; voices are shared among them."""
    unknown = [source for source, speaker in speakers.items() if speaker == UNKNOWN_SPEAKER]
    if not unknown or clustering.vector is None:
        return {}
    network = _load_segmentation()
    embed = clustering.vector

    def make(source: str) -> TurnSegmenter:
        diarizer = StreamingDiarizer(network, embed, clustering)
        return TurnSegmenter(source, options.endpointing, diarizer, find_sentence_end)

    return {source: partial(make, source) for source in unknown}


# Both keep nothing between calls, so the recordings of one run share them.
@functools.cache
def _load_speaker_vector() -> SpeakerVector:
    return SpeakerVector(model_folder("campplus"))


@functools.cache
def _load_segmentation() -> SpeakerSegmentation:
    return SpeakerSegmentation(model_folder("pyannote-segmentation"))
