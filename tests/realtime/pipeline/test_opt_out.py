"""Whoever does not want to be judged is not, and nothing of theirs is kept."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import msgspec
import pytest
from support.feed_session import Subscriber
from support.sample_events import FINAL
from support.scripted_pipeline import THREE, Lockstep, Scripted, Steady, Tape, finals
from websockets.sync.client import connect

from core_models.errors import UsageError
from realtime.cli.listen_options import Listen
from realtime.cli.session_inputs import select_speakers
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.pipeline.session import Session
from realtime.protocol import events
from realtime.segmentation.endpointing import Endpointing
from realtime.sources.media import AudioChunk
from realtime.sources.source import Sink, SourceStatus

OTHER = msgspec.structs.replace(FINAL, utterance_id="u58", speaker="local", text="Not in the least, dear.")


def test_the_words_of_who_opts_out_leave_the_journal_in_place(tmp_path: Path) -> None:
    """No byte of them is left in the file, the others' words stay, and numbers and readers are as they were."""
    journal = Journal(tmp_path / "a.jsonl")
    publisher = EventPublisher("s", journal=journal)
    for final in (FINAL, OTHER, FINAL):
        publisher.append(final)
    before, size = journal.read_after(publisher.epoch, 0), journal.path.stat().st_size
    publisher.append(events.SpeakerOptedOut(speaker="remote", opted_out=True))
    assert journal.path.read_bytes()[:size].count(b"\n") == 3
    publisher.append(FINAL)  # was on its way
    publisher.append(OTHER)
    kept = (tmp_path / "a.jsonl").read_bytes()
    assert b"hands full" not in kept
    assert kept.count(b"Not in the least") == 2
    after = journal.read_after(publisher.epoch, 0)
    assert [record.seq for record in after] == list(range(1, 7))
    assert events.decode(after[0].line) == events.without_words(events.decode(before[0].line))
    publisher.append(events.SpeakerOptedOut(speaker="remote", opted_out=False))
    publisher.append(FINAL)
    assert b"hands full" in (tmp_path / "a.jsonl").read_bytes()
    assert [event.seq for event in map(events.decode, (tmp_path / "a.jsonl").read_bytes().splitlines())][-1] == 8
    publisher.close()
    assert Journal.reopen(tmp_path / "a.jsonl").epochs == [(publisher.epoch, 1, 8)]


def test_clients_that_come_later_do_not_hear_the_words_either(tmp_path: Path) -> None:
    """What the feed keeps in memory for them is without the words."""
    feed = Feed("s", port=0)
    feed.start()
    publisher = EventPublisher("s", feed=feed)
    for event in (FINAL, OTHER, events.SpeakerOptedOut(speaker="remote", opted_out=True)):
        publisher.append(event)
    with Subscriber(feed.url, "?from=0") as late:
        said = [e.text for e in late.wait_for(3) if isinstance(e, events.EmotionFinal)]
    feed.stop(grace=0.2)
    assert said == [None, OTHER.text]


class Waiting(Tape):
    """Two voices, of which the second half is delivered when `go` is set."""

    def __init__(self) -> None:
        super().__init__(THREE)
        self.go = threading.Event()

    def _play(self, sink: Sink) -> None:
        for start in range(0, 2 * len(THREE), 1600):
            if start >= len(THREE):
                self.go.wait()
            for name in ("a", "b"):
                piece = THREE[start % len(THREE) : start % len(THREE) + 1600]
                sink.audio(AudioChunk(name, start, piece[: max(0, 2 * len(THREE) - start)]))
        sink.status(SourceStatus(self.name, self.kind, "ended"))


def test_who_opts_out_by_the_feed_is_neither_heard_nor_remembered(tmp_path: Path) -> None:
    """A client's command: from then on no utterance of theirs is announced, and the model forgets the past ones."""
    feed, tape, tracker = Feed("s", port=0), Waiting(), Steady()
    feed.start()
    told: list[events.Logged] = []
    publisher = EventPublisher("s", feed=feed, views=[told.append])
    session = Session(
        [tape],
        Scripted(),  # type: ignore[arg-type]
        tracker,  # type: ignore[arg-type]
        publisher.append,
        endpointing=Endpointing(),
        speakers={"a": "anna", "b": "ben"},
        camera_speaker=None,
        lossless=True,
    )
    publisher.add_view(session.follow)
    running = threading.Thread(target=session.run)
    with Subscriber(feed.url) as client:
        running.start()
        awaited = 0
        while len(finals(client.wait_for(awaited))) < 6:  # all of the first half, so that none of it comes later
            awaited += 1
        with connect(feed.url) as command:
            command.send(json.dumps({"type": "speaker.opt_out", "id": "1", "speaker": "ben"}))
            while json.loads(command.recv())["type"] != "command.result":
                pass
        tape.go.set()
        running.join()
    feed.stop(grace=0.2)
    out = next(n for n, e in enumerate(told) if isinstance(e, events.SpeakerOptedOut))
    later = told[out + 1 :]
    assert {e.speaker for e in later if isinstance(e, events.SpeechStarted)} == {"anna"}
    assert {e.speaker for e in finals(later)} == {"anna"}
    assert tracker.forgotten == ["ben"]
    announced = {e.utterance_id for e in told if isinstance(e, events.SpeechStarted)}
    ended = {e.utterance_id for e in told if isinstance(e, events.EmotionFinal | events.UtteranceDiscarded)}
    assert announced == ended


def test_an_utterance_that_is_open_when_its_speaker_opts_out_is_discarded() -> None:
    """It is dropped unheard, and said as discarded with the reason."""
    told: list[events.Logged] = []
    scripted = Scripted()

    class Objecting(Lockstep):
        def _play(self, sink: Sink) -> None:
            for start in range(0, len(THREE), 1600):
                sink.audio(AudioChunk("a", start, THREE[start : start + 1600]))
                if start == 16_000:  # half a second into the first turn
                    while not any(isinstance(e, events.SpeechStarted) for e in told):
                        pass
                    session.opt_out("anna")
            sink.status(SourceStatus(self.name, self.kind, "ended"))

    session = Session(
        [Objecting({"a": THREE}, 0)],
        scripted,  # type: ignore[arg-type]
        Steady(),  # type: ignore[arg-type]
        told.append,
        endpointing=Endpointing(),
        speakers={"a": "anna"},
        camera_speaker=None,
        lossless=True,
    )
    session.run()
    assert scripted.heard == []
    assert [e.reason for e in told if isinstance(e, events.UtteranceDiscarded)] == ["opted_out"]


@pytest.mark.parametrize(("analyse", "who"), [("local", {"f.1": "a"}), ("remote", {"f.2": "b", "f.3": "c"})])
def test_only_the_side_that_was_asked_for_isanalysed(analyse: str, who: dict[str, str]) -> None:
    """The first channel is the local side, the others are the remote one."""
    options = Listen(file=Path("call.wav"), channels="split", analyse=analyse)  # type: ignore[arg-type]
    assert select_speakers(options, {"f.1": "a", "f.2": "b", "f.3": "c"}) == who


def test_sides_that_cannot_be_told_apart_are_refused() -> None:
    """A mix of both sides, and a microphone alone, have no remote side to choose."""
    with pytest.raises(UsageError, match="split"):
        select_speakers(Listen(file=Path("call.wav"), analyse="local"), {"f": "a"})
    with pytest.raises(UsageError, match="microphone"):
        select_speakers(Listen(analyse="remote"), {"m": "local"})
