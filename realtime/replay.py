"""`python -m realtime.replay SESSION`: play a session's journal into the same feed and page, at any speed.

The events are those of the journal, in its order and at the pace of its media time, under a new epoch, since a
number is never used twice. A `source.status` of kind `replay` says what they are. A correction that somebody makes
while it plays is written to the journal too. With `--rescore` every `emotion.final` also says what another dialogue
model makes of the same features.
"""

from __future__ import annotations

import functools
import itertools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from jsonargparse import ArgumentParser, set_parsing_settings
from rich.console import Console

from core_models.errors import DiskError, Exit, TrackerError, UsageError
from realtime.cli.terminal import Terminal
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.feed.static_files import page_address
from realtime.journal.event_log import Journal
from realtime.journal.reader import find_journal, read_events
from realtime.protocol import events
from realtime.protocol.media_time import media_time_of


@dataclass(frozen=True)
class Replay:
    """Options of a replay."""

    session: str
    """A session's id, the path of a journal, or `latest`."""
    speed: float | Literal["max"] = 1.0
    """How many times faster than it was; `max` waits for nothing."""
    rescore: str | None = None
    """A checkpoint, by name or folder: what it says of each utterance is shown beside what was said then, from the
    features that the session kept (`realtime.listen --store_features true`)."""
    hold: bool = True
    """Keep serving when all is played, until Ctrl-C."""
    journal: Path | None = None
    """Folder of the journals; the user's state folder if not given."""
    host: str = "127.0.0.1"
    """Address of the feed; beyond 127.0.0.1 only with a token."""
    port: int = 8765
    """Port of the feed; 0 takes any free one."""
    token: str | None = None
    """What clients of the feed must show."""
    origins: tuple[str, ...] = ()
    """Web origins besides the feed's own that may subscribe."""


def play(
    recorded: Iterator[events.Logged],
    append: Callable[[events.Logged], object],
    *,
    speed: float | Literal["max"],
    wait: Callable[[float], bool],
) -> events.SessionClosed | None:
    """Append every event at its time but the last; returns that, or None where the session was cut off.

    `wait` sleeps so many seconds and says whether to stop.
    """
    now, closed = 0, None
    for event in recorded:
        if isinstance(event, events.SessionClosed):
            closed = event
            continue
        at = media_time_of(event)
        if at is not None and at > now:
            if speed != "max" and wait((at - now) / 1000 / speed):
                break
            now = at
        append(event)
    return closed


def main(arguments: list[str] | None = None) -> int:
    """Replay one session and return the exit code."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog="python -m realtime.replay", description=__doc__)
    parser.add_argument("--config", action="config", help="a YAML file of these options")
    parser.add_class_arguments(Replay, as_positional=True)
    try:
        given = parser.instantiate(parser.parse_args(arguments))
        return _replay(Replay(**{name: given[name] for name in Replay.__dataclass_fields__}))
    except TrackerError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), style="red", markup=False)
        return error.exit_code


def _replay(options: Replay) -> int:
    if options.speed != "max" and options.speed <= 0:
        raise UsageError(f"A speed of {options.speed} goes nowhere: give a number above 0, or max.")
    console = Console(highlight=False)
    path = find_journal(options.session, options.journal)
    recorded = read_events(path)
    first = next(recorded, None)
    if not isinstance(first, events.SessionCreated):
        raise DiskError(f"The journal {path} does not begin with session.created: it cannot be replayed.")
    if options.rescore:
        from realtime.review.rescoring import build_rescorer  # it brings torch, which a replay has no need of

        recorded = map(build_rescorer(path, options.rescore), recorded)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with ExitStack() as stack:
        feed = Feed(
            first.session,
            host=options.host,
            port=options.port,
            token=options.token,
            origins=options.origins,
            memory_bytes=sys.maxsize,
        )
        publisher = EventPublisher(first.session, feed=feed, views=[Terminal(console).show])
        feed.on_command(_kept(publisher, first.session, path, stack))
        feed.start()
        stack.callback(feed.stop)
        console.print(f"page: {page_address(feed.url, options.token)}", style="dim", markup=False, soft_wrap=True)
        pace = "as fast as can be" if options.speed == "max" else f"at {options.speed:g} times its pace"
        status = events.SourceStatus(
            source="journal", kind="replay", status="opened", detail=f"A recorded session, {pace}."
        )
        closed = play(itertools.chain([first, status], recorded), publisher.append, speed=options.speed, wait=over.wait)
        if not over.is_set():
            publisher.append(msgspec.structs.replace(status, status="ended", detail="All of it has been played."))
            if options.hold:
                over.wait()
        publisher.append(closed or events.SessionClosed(reason="cut_off", totals={}))
    return Exit.OK


def _kept(
    publisher: EventPublisher, session: str, path: Path, stack: ExitStack
) -> Callable[[events.Logged], tuple[str, int]]:
    """Takes what commands become into the replay and, for good, into the journal."""

    @functools.cache
    def journaling() -> EventPublisher:
        kept = EventPublisher(session, journal=Journal.reopen(path))
        stack.callback(kept.close)
        return kept

    def append(event: events.Logged) -> tuple[str, int]:
        journaling().append(event)
        seq = publisher.append(event)
        return publisher.epoch, seq

    return append


if __name__ == "__main__":
    raise SystemExit(main())
