"""One live session from its options to its end: inputs, models, journal, feed and terminal, wired and run."""

from __future__ import annotations

import signal
import tempfile
import threading
from contextlib import ExitStack
from datetime import UTC, datetime

import torch
from rich.console import Console

from core_models.errors import DiskError, Exit, TrackerError, UsageError
from core_models.feature_log import FeatureRecorder, features_path
from core_models.labels import LABEL_SETS
from realtime.cli.event_file import open_event_file
from realtime.cli.feed_options import build_feed, start_feed
from realtime.cli.listen_options import Listen
from realtime.cli.session_inputs import build_inputs
from realtime.cli.several_people import build_speaker_clustering, build_turn_segmenters
from realtime.cli.terminal import Terminal, show_summary
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.diarization.voice_prints import VoicePrintFile
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.journal.session_files import default_folder, delete_older_than, journal_path
from realtime.perception.sentence_ends import SentenceEnds
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels, load_models
from realtime.pipeline.session import Session
from realtime.pipeline.summary import Summary
from realtime.protocol import events
from realtime.sources.source import MediaClock, Source

NOTICE = (
    "A program on this computer infers emotions from the voices, words and faces in this call. "
    "Everybody in it must be told (EU AI Act, Art. 50(3)); it is forbidden at work and in education "
    "(Art. 5(1)(f)). Nothing leaves this machine."
)


def run_session(options: Listen, console: Console, *, text: bool) -> int:
    """Run one session to its end and return its exit code; without `text` no words are kept or shown.

    What cannot work is refused before the models load: options, sources, port, journal and event file. TrackerError.
    """
    _check_options(options)
    clock = MediaClock()
    inputs = build_inputs(options, clock, console)
    with ExitStack() as stack:
        identifier = events.new_id()
        journal = _open_journal(options, identifier)
        feed = build_feed(options, identifier, history=journal, browser=inputs.browser)
        event_file = open_event_file(options.events, stack) if options.events else None
        prints = VoicePrintFile(options.voice_prints) if options.voice_prints is not None else None
        with console.status("Loading the models"):
            clustering = build_speaker_clustering(options)
            models = load_models(options.checkpoint, device=options.device, threads=options.threads)
            torch.set_num_threads(1)  # a step of the dialogue model is too short to be shared among threads
            tracker = Tracker(models.checkpoint)
            extractor = FeatureExtractor(
                models.transcriber(options.language), models.voice, models.text, models.face
            )
        if journal is not None:
            console.print(f"journal: {journal.path}", style="dim", markup=False, soft_wrap=True)
        if feed is not None:
            start_feed(feed, options, console, stack, capture=inputs.browser is not None)
        features = None
        if journal is not None and options.store_features:
            features = FeatureRecorder(features_path(journal.path), models.specs)
        publisher = EventPublisher(
            identifier,
            journal=journal,
            feed=feed,
            sinks=[event_file.write_line] if event_file is not None else [],
            stores=[store for store in (event_file, prints) if store is not None],
            views=[Terminal(console).show],
            words=options.words and text,
            features=features,
        )
        stack.callback(publisher.close)
        live = options.file is None or options.pace == "realtime"
        session = Session(
            inputs.sources,
            extractor,
            tracker,
            publisher.append if text else lambda event: publisher.append(events.without_words(event)),
            endpointing=options.endpointing,
            speakers=inputs.speakers,
            camera_speaker=inputs.camera_speaker,
            lossless=options.file is not None,
            provisional=options.provisional if live else Provisional(every_ms=0),
            real_time=live,
            speculate=live,
            turn_segmenters=build_turn_segmenters(
                options, inputs.speakers, clustering, SentenceEnds(models.whisper, options.language).find
            ),
            keep=publisher.keep_features if features is not None else None,
            far_ends=inputs.far_ends,
        )
        publisher.add_view(session.follow)
        if feed is not None:
            _watch_queues(feed, session)
        _end_on_signals(session)
        publisher.append(_describe_session(models, inputs.sources))
        clock.start()
        try:
            summary = session.run()
        except TrackerError as error:
            publisher.append(events.Error(code="source", message=str(error), fatal=True))
            publisher.append(_describe_end("failed", session.summary))
            raise
        if prints is not None:
            known = clustering.prints().items()
            prints.write({name: one for name, one in known if not publisher.speakers.has_opted_out(name)})
        show_summary(console, summary, tracker.labels)
        if options.hold and session.reason == "ended":
            _hold_page(console)
        publisher.append(_describe_end(session.reason, summary))
    return session.failure.exit_code if session.failure else Exit.OK


def _check_options(options: Listen) -> None:
    if options.retention_days < 0 or options.video_fps < 0 or options.threads < 0:
        raise UsageError("--retention-days, --video-fps and --threads cannot be negative: give 0 or more.")
    if options.store_features and not options.keep_journal:
        raise UsageError(
            "--store-features keeps features beside the journal: leave --keep-journal true, or turn it off."
        )


def _open_journal(options: Listen, session: str) -> Journal | None:
    """The journal of a new session, old ones deleted; None where none is kept. DiskError where it cannot be written."""
    if not options.keep_journal:
        return None
    folder = options.journal or default_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"{}")
            probe.flush()
    except OSError as error:
        raise DiskError(
            f"The journal's folder {folder} cannot be written ({error.strerror}): name another with --journal FOLDER, "
            "or give --keep-journal false."
        ) from None
    delete_older_than(folder, options.retention_days)
    return Journal(journal_path(folder, session))


def _watch_queues(feed: Feed, session: Session) -> None:
    """Put the session's lag and queues among the feed's metrics."""
    feed.metrics.watch_lag(lambda: session.overload.lag_ms)
    for queue, (depth, capacity) in session.queues.items():
        feed.metrics.watch_queue(queue, depth, capacity)


def _describe_session(models: LoadedModels, sources: list[Source]) -> events.SessionCreated:
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


def _describe_end(reason: str, summary: Summary) -> events.SessionClosed:
    totals = {
        "utterances": summary.utterances,
        "discarded": summary.discarded,
        "provisional": summary.provisional,
        "ready": summary.ready,
    }
    totals |= dict(summary.lost)
    return events.SessionClosed(reason=reason, totals=totals)


def _end_on_signals(session: Session) -> None:
    """The first Ctrl-C or SIGTERM ends the session in order; a second one ends the program there and then."""

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # an exception could be stuck behind a thread or native code
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        session.stop("terminated" if number == signal.SIGTERM else "interrupted")

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


def _hold_page(console: Console) -> None:
    """Wait for Ctrl-C or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    console.print("The recording has ended; its page stays up until Ctrl-C.", style="bold")
    while not over.wait(0.5):  # a bounded wait lets the handlers run on every system
        pass
