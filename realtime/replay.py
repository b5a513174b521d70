"""`python -m realtime.replay SESSION`: play a session's journal into the same feed and page, at any speed.

The events are those of the journal, in its order and at the pace of its media time, under a new epoch, since a
number is never used twice. A `source.status` of kind `replay` says what they are. A correction that somebody makes
while it plays is written to the journal too, by one replay at a time; a call that still runs cannot be replayed. With
`--rescore` every `emotion.final` also has the output of another dialogue model for the same features.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from core_models.command_line.options import build_parser, collect_fields, read_options
from core_models.command_line.run import TerminalConsole, run_cli
from core_models.errors import Exit, TrackerError, UsageError
from realtime.cli.ending_signals import catch_ending_signals
from realtime.cli.feed_options import FeedOptions, build_feed, start_feed
from realtime.cli.terminal import Terminal
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.journal.reader import Damage, find_journal, open_recording
from realtime.journal.writer_lock import require_unlocked
from realtime.protocol import events
from realtime.protocol.commands import CommandRefused
from realtime.review.playback import play_events


@dataclass(frozen=True)
class Replay(FeedOptions):
    """Options of a replay."""

    session: str
    """A session's id, the path of a journal, or `latest`."""
    speed: float | Literal["max"] = 1.0
    """How many times faster than it was; `max` waits for nothing."""
    rescore: str | None = None
    """A checkpoint, by name or folder: its result for each utterance is shown beside that of the session, from the
    features that the session kept (`realtime.listen --store-features true`)."""
    hold: bool = True
    """Keep serving when all is played, until Ctrl-C."""
    journal: Path | None = None
    """Folder of the journals; the user's state folder if not given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay one session and return the exit code."""
    return run_cli(lambda: _run_replay(sys.argv[1:] if arguments is None else arguments))


def _run_replay(arguments: Sequence[str]) -> int:
    parser = build_parser("python -m realtime.replay", __doc__)
    parser.add_class_arguments(Replay, as_positional=True)
    options = collect_fields(Replay, read_options(parser, arguments))
    if options.speed != "max" and options.speed <= 0:
        raise UsageError(f"A speed of {options.speed} goes nowhere: give a number above 0, or max.")
    console = TerminalConsole(highlight=False)
    path = find_journal(options.session, options.journal)
    require_unlocked(path)
    first, recorded = open_recording(path)
    if options.rescore:
        # It brings torch, which a replay has no need of.
        from realtime.review.rescoring import build_rescorer

        rescore = build_rescorer(path, options.rescore)
        recorded = (one if isinstance(one, Damage) else rescore(one) for one in recorded)
    over = threading.Event()
    catch_ending_signals(lambda number: over.set())
    with ExitStack() as stack:
        # All of it stays in memory: the journal on disk has the numbers of another epoch.
        feed = build_feed(options, first.session, memory_bytes=sys.maxsize)
        publisher = EventPublisher(first.session, feed=feed, views=[Terminal(console).show])
        if feed is not None:
            feed.on_command(_journal_commands(publisher, first.session, path, stack))
            start_feed(feed, options, console, stack)
        pace = "as fast as can be" if options.speed == "max" else f"at {options.speed:g} times its pace"
        status = events.SourceStatus(
            source="journal", kind="replay", status="opened", detail=f"A recorded session, {pace}."
        )
        replayed: Iterator[events.Logged | Damage] = itertools.chain([first, status], recorded)

        def skip_damage(damage: Damage) -> None:
            console.print(str(damage), style="yellow", markup=False, soft_wrap=True)
            publisher.leave_gap(damage.missing)

        closed = play_events(replayed, publisher.append, skip=skip_damage, speed=options.speed, wait=over.wait)
        if not over.is_set():
            publisher.append(msgspec.structs.replace(status, status="ended", detail="All of it has been played."))
            if options.hold:
                over.wait()
        publisher.append(closed or events.SessionClosed(reason="cut_off", totals={}))
    return Exit.OK


def _journal_commands(
    publisher: EventPublisher, session: str, path: Path, stack: ExitStack
) -> Callable[[events.Logged], tuple[str, int]]:
    """Takes what commands become into the replay and, for good, into the journal."""

    @functools.cache
    def journaling() -> EventPublisher:
        kept = EventPublisher(session, journal=Journal.reopen(path))
        stack.callback(kept.close)
        return kept

    def append(event: events.Logged) -> tuple[str, int]:
        try:
            kept = journaling()
        except TrackerError as error:  # another replay takes corrections, or the file has gone: asked anew next time
            raise CommandRefused("journal", str(error)) from None
        try:
            kept.execute(event)
        except CommandRefused as refused:
            if refused.code == "redaction":  # the opt-out stands, here too
                publisher.append(event)
            raise
        return publisher.execute(event)

    return append


if __name__ == "__main__":
    raise SystemExit(main())
