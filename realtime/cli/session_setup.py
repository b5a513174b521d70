"""One live session from its options to its end: inputs, models, journal, feed and terminal, wired and run."""

from __future__ import annotations

import signal
import tempfile
import threading
from contextlib import ExitStack, suppress

import torch
from rich.console import Console

from core_models.errors import DiskError, Exit, TrackerError, UsageError
from core_models.feature_log import FeatureRecorder, features_path
from realtime.cli.ending_signals import catch_ending_signals
from realtime.cli.event_file import open_event_file
from realtime.cli.feed_options import build_feed, start_feed
from realtime.cli.listen_options import Listen
from realtime.cli.session_assembly import build_session, describe_end, describe_session
from realtime.cli.session_inputs import build_inputs
from realtime.cli.several_people import build_speaker_clustering
from realtime.cli.terminal import Terminal, show_summary
from realtime.diarization.voice_prints import VoicePrintFile
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.journal.session_files import default_folder, journal_path, sweep_sessions
from realtime.pipeline.models import load_models
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.sources.source import MediaClock


def run_session(options: Listen, console: Console, *, text: bool) -> int:
    """Run one session to its end and return its exit code; without `text` no words are kept or shown.

    What cannot work is refused before the models load: options, sources, port, journal and event file. TrackerError.
    """
    _check_options(options)
    clock = MediaClock()
    inputs = build_inputs(options, clock, console)
    with ExitStack() as stack:
        identifier = events.new_id()
        journal = _open_journal(options, identifier, console)
        feed = build_feed(options, identifier, history=journal, browser=inputs.browser)
        event_file = open_event_file(options.events, stack) if options.events else None
        prints = VoicePrintFile(options.voice_prints) if options.voice_prints is not None else None
        with console.status("Loading the models"):
            clustering = build_speaker_clustering(options, inputs.speakers.values())
            models = load_models(options.checkpoint, device=options.device, threads=options.threads)
            torch.set_num_threads(1)  # a step of the dialogue model is too short to be shared among threads
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
        session = build_session(
            options,
            inputs,
            models,
            publisher.append if text else lambda event: publisher.append(events.without_words(event)),
            clustering=clustering,
            keep=publisher.keep_features if features is not None else None,
        )
        publisher.add_view(session.follow)
        if feed is not None:
            _watch_queues(feed, session)
        _end_on_signals(session)
        publisher.append(describe_session(models, inputs.sources))
        clock.start()
        try:
            summary = session.run()
        except TrackerError as error:
            publisher.append(events.Error(code="source", message=str(error), fatal=True))
            publisher.append(describe_end("failed", session.summary))
            raise
        if prints is not None:
            known = clustering.prints().items()
            prints.write({name: one for name, one in known if not publisher.speakers.has_opted_out(name)})
        # The terminal may have gone, with a SIGHUP: the session still ends in order.
        with suppress(OSError):
            show_summary(console, summary, models.labels)
        if options.hold and session.reason == "ended":
            _hold_page(console)
        publisher.append(describe_end(session.reason, summary))
        publisher.close()
        with suppress(OSError):
            _show_losses(console, publisher)
    return session.failure.exit_code if session.failure else Exit.OK


def _show_losses(console: Console, publisher: EventPublisher) -> None:
    """Say once more, at the end, what is not as it should be on the disk."""
    if publisher.unwritten:
        sentence = f"The journal could not be written to the end: {publisher.unwritten} events are missing in it."
        console.print(sentence, style="bold red", markup=False, soft_wrap=True)
    if publisher.owed:
        sentence = f"Somebody who has opted out is still in {', '.join(publisher.owed)}: delete that by hand."
        console.print(sentence, style="bold red", markup=False, soft_wrap=True)


def _check_options(options: Listen) -> None:
    if options.retention_days < 0 or options.video_fps < 0 or options.threads < 0:
        raise UsageError("--retention-days, --video-fps and --threads cannot be negative: give 0 or more.")
    if options.store_features and not options.keep_journal:
        raise UsageError(
            "--store-features keeps features beside the journal: leave --keep-journal true, or turn it off."
        )


def _open_journal(options: Listen, session: str, console: Console) -> Journal | None:
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
    for gone in sweep_sessions(folder, options.retention_days):
        sentence = f"deleted {gone}, which was older than {options.retention_days} days"
        console.print(sentence, style="dim", markup=False, soft_wrap=True)
    return Journal(journal_path(folder, session))


def _watch_queues(feed: Feed, session: Session) -> None:
    """Put the session's lag and queues among the feed's metrics."""
    feed.metrics.watch_lag(lambda: session.overload.lag_ms)
    for queue, (depth, capacity) in session.queues.items():
        feed.metrics.watch_queue(queue, depth, capacity)


def _end_on_signals(session: Session) -> None:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the session in order; a second one ends the program there and then."""

    def end(number: int) -> None:
        session.stop("interrupted" if number == signal.SIGINT else "terminated")

    catch_ending_signals(end, once=True)


def _hold_page(console: Console) -> None:
    """Wait for Ctrl-C or another signal that ends it."""
    over = threading.Event()
    catch_ending_signals(lambda number: over.set())
    console.print("The recording has ended; its page stays up until Ctrl-C.", style="bold")
    while not over.wait(0.5):  # a bounded wait lets the handlers run on every system
        pass
