"""A session wired from its options, inputs and models, and the events that it begins and ends with.

The command, the Python API and the analysis of many recordings all run the sessions that are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from core_models.feature_log import Keep
from core_models.labels import LABEL_SETS
from realtime.cli.listen_options import Listen
from realtime.cli.session_inputs import SessionInputs
from realtime.cli.several_people import build_turn_segmenters
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.diarization.speaker_clustering import SpeakerClustering
from realtime.perception.sentence_ends import SentenceEnds
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels
from realtime.pipeline.session import Session
from realtime.pipeline.summary import Summary
from realtime.protocol import events
from realtime.sources.source import Source

NOTICE = (
    "A program on this computer infers emotions from the voices, words and faces in this call. "
    "Everybody in it must be told (EU AI Act, Art. 50(3)); it is forbidden at work and in education "
    "(Art. 5(1)(f)). Nothing leaves this machine."
)


def build_session(
    options: Listen,
    inputs: SessionInputs,
    models: LoadedModels,
    append: Callable[[events.Logged], object],
    *,
    clustering: SpeakerClustering,
    keep: Keep | None = None,
    real_time: bool | None = None,
    extractor: FeatureExtractor | None = None,
) -> Session:
    """The session, nothing opened yet.

    It waits for its inputs where they are a recording; `real_time` false, by default for a recording at pace `fast`:
    inputs come faster than they were spoken. `extractor` is another than that of `models` alone. WeightsError.
    """
    live = options.file is None or options.pace == "realtime" if real_time is None else real_time
    return Session(
        inputs.sources,
        extractor or build_extractor(options, models),
        Tracker(models.checkpoint),
        append,
        endpointing=options.endpointing,
        speakers=inputs.speakers,
        camera_speaker=inputs.camera_speaker,
        lossless=options.file is not None or not live,
        provisional=options.provisional if live else Provisional(every_ms=0),
        real_time=live,
        speculate=live,
        turn_segmenters=build_turn_segmenters(
            options, inputs.speakers, clustering, SentenceEnds(models.whisper, options.language).find
        ),
        keep=keep,
        far_ends=inputs.far_ends,
    )


def build_extractor(options: Listen, models: LoadedModels) -> FeatureExtractor:
    """What takes features of a session's utterances; a transcriber is a session's own, the models may be shared."""
    return FeatureExtractor(models.transcriber(options.language), models.voice, models.text, models.face)


def describe_session(models: LoadedModels, sources: Sequence[Source]) -> events.SessionCreated:
    """The first event of a session that begins now."""
    checkpoint = models.checkpoint
    return events.SessionCreated(
        created_at=datetime.now(UTC),
        labels=events.Labels(
            name=checkpoint.sidecar.labels, labels=LABEL_SETS[checkpoint.sidecar.labels].labels
        ),
        checkpoint=events.CheckpointDescription(name=checkpoint.name, digest=checkpoint.digest),
        models=models.names(),
        features={modality: spec.describe() for modality, spec in models.specs.items()},
        sources=tuple(
            events.SourceDescription(source=s.name, kind=s.kind, detail=s.detail) for s in sources
        ),
        notice=NOTICE,
    )


def describe_end(reason: str, summary: Summary) -> events.SessionClosed:
    """The last event of a session, with what it amounted to."""
    totals = {
        "utterances": summary.utterances,
        "discarded": summary.discarded,
        "provisional": summary.provisional,
        "ready": summary.ready,
    }
    totals |= dict(summary.lost)
    return events.SessionClosed(reason=reason, totals=totals)
