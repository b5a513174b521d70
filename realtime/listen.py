"""`python -m realtime.listen`: hear, see and follow a conversation, and say what each speaker feels.

Exit codes are those of core_models/errors.py (README, "Exit codes").
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # Ctrl-C while the libraries load, which takes seconds, is no error to show
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Spinning OpenMP threads turn a 28 ms step into 390 ms beside any competitor; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import io
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

import structlog
import torch
from jsonargparse import ArgumentParser, set_parsing_settings
from rich.console import Console

from core_models.errors import DiskError, Exit, TrackerError, UsageError
from core_models.feature_log import FeatureRecorder, features_path
from core_models.feature_spec import FeatureSpec
from core_models.labels import LABEL_SETS
from realtime.cli.listen_options import Listen
from realtime.cli.session_inputs import analysed, build_browser, build_sources, build_speaker_clustering, far_ends
from realtime.cli.terminal import Terminal, show_summary
from realtime.dialogue.provisional import Provisional
from realtime.dialogue.tracker import Tracker
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.feed.static_files import page_address
from realtime.journal.event_log import Journal
from realtime.journal.session_files import default_folder, delete_older_than, journal_path
from realtime.perception.utterance_features import FeatureExtractor
from realtime.pipeline.models import LoadedModels, load_models
from realtime.pipeline.session import Session
from realtime.pipeline.summary import Summary
from realtime.protocol import events
from realtime.sources.browser.capture import Browser
from realtime.sources.devices import device_table
from realtime.sources.source import MediaClock, Source

NOTICE = (
    "A program on this computer infers emotions from the voices, words and faces in this call. "
    "Everybody in it must be told (EU AI Act, Art. 50(3)); it is forbidden at work and in education "
    "(Art. 5(1)(f)). Nothing leaves this machine."
)


def main(arguments: list[str] | None = None) -> int:
    """Run one session and return its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="python -m realtime.listen", description=__doc__)
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_argument("--list-devices", action="store_true", help="show microphones and cameras, and end")
    parser.add_argument("--no-text", action="store_true", help="keep and show no words, neither here nor in the feed")
    parser.add_class_arguments(Listen)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter must not end the call
    try:
        given = parser.instantiate(parser.parse_args(arguments))
        options = Listen(**{name: given[name] for name in Listen.__dataclass_fields__})
        # Standard output belongs to the events when they go there.
        console = _Console(stderr=options.events == "-", highlight=False)
        if given.list_devices:
            console.print(device_table())
            return Exit.OK
        return _listen(options, console, text=not given.no_text)
    except TrackerError as error:
        _Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), style="red", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


class _Console(Console):
    """Falls silent when nobody reads any more (`| head`): the call goes on for the journal and the feed."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())  # or the flush at exit fails again


def _listen(options: Listen, console: Console, *, text: bool) -> int:
    if options.retention_days < 0 or options.video_fps < 0 or options.threads < 0:
        raise UsageError("retention_days, video_fps and threads cannot be negative: give 0 or more.")
    if options.store_features and not options.keep_journal:
        raise UsageError("store_features keeps features beside the journal: leave keep_journal true, or turn it off.")
    clock = MediaClock()
    browser = build_browser(options, clock)
    sources, speakers = build_sources(options, clock, console, browser)
    camera_speaker: str | None = options.camera_speaker or next(iter(speakers.values()))
    if camera_speaker not in speakers.values():
        raise UsageError(
            f"The camera cannot see {camera_speaker!r}, who is none of the speakers "
            f"({', '.join(speakers.values())}): name one of them with --camera_speaker."
        )
    speakers = analysed(options, speakers)
    if camera_speaker not in speakers.values():
        camera_speaker = None
        sources = [source for source in sources if source.has_audio]
    far = far_ends(sources)
    if browser is not None:
        browser.wanted = [s.name for s in sources if not s.has_audio or s.name in speakers or s.name in far.values()]
    with console.status("Loading the models"):
        voices = build_speaker_clustering(options)
        models = load_models(options.checkpoint, device=options.device, threads=options.threads)
        torch.set_num_threads(1)
        tracker = Tracker(models.checkpoint)
        perceiver = FeatureExtractor(
            models.transcriber(options.language), models.voice, models.text, models.face
        )
    live = options.file is None or options.pace == "realtime"
    with ExitStack() as stack:
        publisher, feed = _publisher(options, console, stack, browser, models.specs, text=text)
        session = Session(
            sources,
            perceiver,
            tracker,
            publisher.append if text else lambda event: publisher.append(events.without_words(event)),
            endpointing=options.endpointing,
            speakers=speakers,
            camera_speaker=camera_speaker,
            lossless=options.file is not None,
            real_time=live,
            provisional=options.provisional if live else Provisional(every_ms=0),
            speculate=live,
            voices=voices,
            keep=publisher.keep_features if options.store_features else None,
            far_ends=far,
        )
        publisher.add_view(session.follow)
        if feed is not None:
            feed.metrics.watch_lag(lambda: session.overload.lag_ms)
            for queue, (depth, capacity) in session.queues.items():
                feed.metrics.watch_queue(queue, depth, capacity)
        _end_on_signals(session)
        publisher.append(_created(models, sources))
        clock.start()
        try:
            summary = session.run()
        except TrackerError as error:
            publisher.append(events.Error(code="source", message=str(error), fatal=True))
            publisher.append(_closed("failed", session.summary))
            raise
        if voices is not None and options.voice_prints is not None:
            voices.save(options.voice_prints)
        show_summary(console, summary, tracker.labels)
        if options.hold and session.reason == "ended":
            _hold(console)
        publisher.append(_closed(session.reason, summary))
    return session.failure.exit_code if session.failure else Exit.OK


def _publisher(
    options: Listen,
    console: Console,
    stack: ExitStack,
    browser: Browser | None,
    specs: Mapping[str, FeatureSpec],
    *,
    text: bool,
) -> tuple[EventPublisher, Feed | None]:
    """The ledger of a new session with its journal, its feed and its outputs; `stack` closes them in order."""
    session = events.new_id()
    journal = None
    if options.keep_journal:
        folder = options.journal or default_folder()
        delete_older_than(folder, options.retention_days)
        journal = Journal(journal_path(folder, session))
        console.print(f"journal: {journal.path}", style="dim", markup=False, soft_wrap=True)
    feed = None
    if options.port >= 0:
        token = options.token or os.environ.get("EMOTION_TRACKER_TOKEN")
        feed = Feed(
            session,
            history=journal,
            host=options.host,
            port=options.port,
            token=token,
            origins=options.origins,
            hosts=options.hosts,
            certificate=options.certificate,
            key=options.key,
            browser=browser,
        )
        feed.start()
        stack.callback(feed.stop)
        console.print(f"feed: {feed.url}", style="dim", markup=False, soft_wrap=True)
        console.print(f"page: {page_address(feed.url, token)}", style="bold", markup=False, soft_wrap=True)
        if browser is not None:
            capture = page_address(f"{feed.url}capture", token)
            console.print(f"capture: {capture}", style="bold", markup=False, soft_wrap=True)
    publisher = EventPublisher(
        session,
        journal=journal,
        feed=feed,
        sinks=[_line_writer(options.events, stack)] if options.events else [],
        views=[Terminal(console).show],
        words=options.words and text,
        features=FeatureRecorder(features_path(journal.path), specs) if journal and options.store_features else None,
    )
    stack.callback(publisher.close)
    return publisher, feed


def _line_writer(target: str, stack: ExitStack) -> Callable[[bytes], None]:
    """Writes each line at once to a file, or to standard output for `-`."""
    # Unbuffered: what a full disk or a closed pipe refused must not be tried again, and fail again, on closing.
    try:
        if target == "-":
            out = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115
        else:
            out = stack.enter_context(open(target, "wb", buffering=0))  # noqa: SIM115 (the stack closes it)
    except OSError as error:
        raise DiskError(
            f"Events cannot be written to {target} ({error.strerror}): give a file in a folder that can be written."
        ) from None

    def write(line: bytes) -> None:
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[out.write(rest) :]

    return write


def _created(models: LoadedModels, sources: list[Source]) -> events.SessionCreated:
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


def _closed(reason: str, summary: Summary) -> events.SessionClosed:
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


def _hold(console: Console) -> None:
    """Wait for Ctrl-C or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    console.print("The recording has ended; its page stays up until Ctrl-C.", style="bold")
    while not over.wait(0.5):  # a bounded wait lets the handlers run on every system
        pass


if __name__ == "__main__":
    code = main()
    with suppress(OSError):  # whoever read it may have gone
        sys.stdout.flush()
    os._exit(code)  # everything is closed; taking native libraries down takes seconds and changes nothing
