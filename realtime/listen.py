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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog
import torch
from jsonargparse import ArgumentParser, set_parsing_settings
from rich.console import Console

from core_models.errors import DiskError, Exit, TrackerError, UsageError
from core_models.features.recorded import FeatureRecorder, features_path
from core_models.features.spec import FeatureSpec
from core_models.labels import LABEL_SETS
from realtime import events
from realtime.feed import Feed
from realtime.journal import Journal, default_folder, journal_path, sweep
from realtime.judge import Summary
from realtime.ledger import Ledger
from realtime.models import Models, load_models
from realtime.pages import address
from realtime.perceive import Perceiver
from realtime.provisional import Provisional
from realtime.session import Session
from realtime.sides import analysed, browser_of, far_ends, sources_of, voices_of
from realtime.sources.browser import Browser
from realtime.sources.devices import device_table
from realtime.sources.media import SessionClock, Source
from realtime.terminal import Terminal, show_summary
from realtime.tracker import Tracker
from realtime.utterances import Endpointing

NOTICE = (
    "A program on this computer infers emotions from the voices, words and faces in this call. "
    "Everybody in it must be told (EU AI Act, Art. 50(3)); it is forbidden at work and in education "
    "(Art. 5(1)(f)). Nothing leaves this machine."
)


@dataclass(frozen=True)
class Listen:
    """Options of a live run."""

    file: Path | None = None
    """A recording instead of microphone and camera: any container with sound, with or without video."""
    pace: Literal["realtime", "fast"] = "realtime"
    """Play the recording at the pace of real time, or as fast as it can be judged."""
    channels: Literal["mix", "split"] = "mix"
    """Mix the recording's channels, or take each for a speaker of its own (call recorders write such files)."""
    speakers: Literal["auto"] | tuple[str, ...] = ()
    """Names of the speakers: one a channel with `split`, else of the microphone's side and of the system sound's.

    `auto` tells several people apart at one microphone, or in one channel, by their voices.
    """
    enrol: tuple[str, ...] = ()
    """With `--speakers auto`, people to be known by name, as NAME=FILE: ten seconds of one voice are enough."""
    voice_prints: Path | None = None
    """With `--speakers auto`, keep voices in this file and know them again in the next call; else none are kept."""
    source: Literal["devices", "browser"] = "devices"
    """Devices of this computer, or what a page at /capture sends: a browser's microphone, another tab and camera."""
    microphone: str | None = None
    """Microphone by number or part of its name; the system's default if not given (see --list-devices)."""
    system_sound: str = "auto"
    """What this computer plays, as the other side: `auto` where it can be heard, `off`, or a part of a name."""
    analyse: Literal["local", "remote", "both"] = "both"
    """Whose side to analyse: `local` is the microphone, or the first channel of a recording; the rest is `remote`."""
    camera: str | None = "0"
    """Camera by number, path or URL; `null` for none."""
    camera_speaker: str | None = None
    """Whose face the camera sees; the first speaker if not given."""
    video_fps: float = 6.0
    """Pictures a second that the face landmarker looks at."""
    checkpoint: str = "default"
    """Dialogue model: a name under core_models/weights, or a folder."""
    language: str = "auto"
    """Spoken language as a code such as `en`, or `auto` where the recogniser is multilingual."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where Whisper and the dialogue model run."""
    threads: int = 2
    """CPU threads of Whisper; the dialogue model always takes one."""
    endpointing: Endpointing = field(default_factory=Endpointing)
    """When an utterance begins and ends."""
    provisional: Provisional = field(default_factory=Provisional)
    """When an utterance is judged before it has ended; never with a recording at pace `fast`."""
    host: str = "127.0.0.1"
    """Address of the feed; beyond 127.0.0.1 only with a token."""
    port: int = 8765
    """Port of the feed; 0 takes any free one, -1 serves no feed."""
    token: str | None = None
    """What clients of the feed must show; may also come from EMOTION_TRACKER_TOKEN."""
    hold: bool = False
    """Keep feed and page up after a recording has ended, until Ctrl-C; what is wrong can then be corrected."""
    origins: tuple[str, ...] = ()
    """Web origins besides the feed's own that may subscribe, such as http://localhost:5173."""
    hosts: tuple[str, ...] = ()
    """Names besides `host` and addresses by which clients may call the feed, such as studio.lan."""
    certificate: Path | None = None
    """PEM certificate; with it the feed and the page speak TLS."""
    key: Path | None = None
    """PEM key of the certificate, where it does not hold it itself."""
    events: str | None = None
    """Write every event as a JSON line to this file, or with `-` to standard output."""
    journal: Path | None = None
    """Folder of the journal; the user's state folder if not given."""
    keep_journal: bool = True
    """Whether to write a journal at all."""
    retention_days: int = 30
    """Journals older than this are deleted at the start of a session."""
    words: bool = True
    """Whether the journal may hold what was said."""
    store_features: bool = False
    """Keep what was computed of words, voice and face beside the journal, for `realtime.replay --rescore` and to train
    on corrections; no sound or picture can be made of it again, but much of what was said can be guessed."""


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
    clock = SessionClock()
    browser = browser_of(options, clock)
    sources, speakers = sources_of(options, clock, console, browser)
    camera_speaker: str | None = options.camera_speaker or next(iter(speakers.values()))
    if camera_speaker not in speakers.values():
        raise UsageError(
            f"The camera cannot see {camera_speaker!r}, who is none of the speakers "
            f"({', '.join(speakers.values())}): name one of them with --camera_speaker."
        )
    speakers = analysed(options, speakers)
    if camera_speaker not in speakers.values():
        camera_speaker = None
        sources = [source for source in sources if source.hears]
    far = far_ends(sources)
    if browser is not None:
        browser.wanted = [s.name for s in sources if not s.hears or s.name in speakers or s.name in far.values()]
    with console.status("Loading the models"):
        voices = voices_of(options)
        models = load_models(options.checkpoint, device=options.device, threads=options.threads)
        torch.set_num_threads(1)
        tracker = Tracker(models.checkpoint)
        perceiver = Perceiver(
            models.transcriber(options.language), models.voice, models.text, models.face
        )
    live = options.file is None or options.pace == "realtime"
    with ExitStack() as stack:
        ledger, feed = _ledger(options, console, stack, browser, models.specs, text=text)
        session = Session(
            sources,
            perceiver,
            tracker,
            ledger.append if text else lambda event: ledger.append(events.without_words(event)),
            endpointing=options.endpointing,
            speakers=speakers,
            camera_speaker=camera_speaker,
            lossless=options.file is not None,
            provisional=options.provisional if live else Provisional(every_ms=0),
            speculate=live,
            voices=voices,
            keep=ledger.keep if options.store_features else None,
            far_ends=far,
        )
        ledger.watch(session.follow)
        if feed is not None:
            feed.metrics.watch_lag(lambda: session.overload.lag_ms)
            for queue, (depth, capacity) in session.queues.items():
                feed.metrics.watch(queue, depth, capacity)
        _end_on_signals(session)
        ledger.append(_created(models, sources))
        clock.start()
        try:
            summary = session.run()
        except TrackerError as error:
            ledger.append(events.Error(code="source", message=str(error), fatal=True))
            ledger.append(_closed("failed", session.summary))
            raise
        if voices is not None and options.voice_prints is not None:
            voices.save(options.voice_prints)
        show_summary(console, summary, tracker.labels)
        if options.hold and session.reason == "ended":
            _hold(console)
        ledger.append(_closed(session.reason, summary))
    return session.failure.exit_code if session.failure else Exit.OK


def _ledger(
    options: Listen,
    console: Console,
    stack: ExitStack,
    browser: Browser | None,
    specs: Mapping[str, FeatureSpec],
    *,
    text: bool,
) -> tuple[Ledger, Feed | None]:
    """The ledger of a new session with its journal, its feed and its outputs; `stack` closes them in order."""
    session = events.new_id()
    journal = None
    if options.keep_journal:
        folder = options.journal or default_folder()
        sweep(folder, options.retention_days)
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
        console.print(f"page: {address(feed.url, token)}", style="bold", markup=False, soft_wrap=True)
        if browser is not None:
            capture = address(f"{feed.url}capture", token)
            console.print(f"capture: {capture}", style="bold", markup=False, soft_wrap=True)
    ledger = Ledger(
        session,
        journal=journal,
        feed=feed,
        sinks=[_line_writer(options.events, stack)] if options.events else [],
        views=[Terminal(console).show],
        words=options.words and text,
        features=FeatureRecorder(features_path(journal.path), specs) if journal and options.store_features else None,
    )
    stack.callback(ledger.close)
    return ledger, feed


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


def _created(models: Models, sources: list[Source]) -> events.SessionCreated:
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
