from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.feed_session import FeedSession
from support.sample_events import CREATED, began, final
from websockets.sync.client import ClientConnection, connect

from realtime.feed.server import Feed
from realtime.journal.stored_lines import seal_line
from realtime.protocol import commands, events


@contextmanager
def conversation(call: Callable[..., FeedSession], **options: Any) -> Iterator[tuple[FeedSession, ClientConnection]]:
    """A session in which Ann has been heard with joy, and a client that comes late."""
    it = call(**options)
    for event in (CREATED, began(1), final(1)):
        it.publisher.append(event)
    with connect(it.feed.url) as client:
        yield it, client


def ask(client: ClientConnection, command: commands.Command | str) -> tuple[events.CommandResult, list[events.Logged]]:
    """The answer to a command, and the events that came before and with it."""
    client.send(command if isinstance(command, str) else commands.encode(command), text=True)
    told: list[events.Logged] = []
    answer = None
    while answer is None or (answer.ok and not told):
        message = events.decode(client.recv())
        if isinstance(message, events.CommandResult):
            answer = message
        else:
            assert not isinstance(message, events.StreamGap | events.Snapshot)
            told.append(message)
    return answer, told


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (
            commands.RenameSpeaker(id="c1", speaker="ann", name="Ann B."),
            events.SpeakerRenamed(speaker="ann", name="Ann B."),
        ),
        (commands.OptOutSpeaker(id="c1", speaker="ann"), events.SpeakerOptedOut(speaker="ann", opted_out=True)),
        (
            commands.CorrectEmotion(id="c1", utterance_id="u1", emotion="anger"),
            events.EmotionCorrected(utterance_id="u1", speaker="ann", from_="joy", to="anger"),
        ),
        (commands.MarkMoment(id="c1", at_ms=5, note="Here."), events.MomentMarked(at_ms=5, note="Here.")),
        (commands.MarkMoment(id="c1"), events.MomentMarked(at_ms=1900)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_command_becomes_an_event(
    call: Callable[..., FeedSession], command: commands.Command, event: events.Logged
) -> None:
    """Each command is answered with its id and the number of what it became, which everybody gets and the journal
    keeps."""
    with conversation(call) as (it, client), connect(it.feed.url) as other:
        answer, (told,) = ask(client, command)
        assert answer == events.CommandResult(
            session=it.session, id="c1", ok=True, event_epoch=it.epoch, event_seq=told.seq
        )
        line = events.encode(told)
        assert other.recv(decode=False) == line
        assert it.journal.path.read_bytes().splitlines()[-1] == seal_line(line)
        stamps = {"seq": 4, "epoch": it.epoch, "session": it.session}
        assert json.loads(events.encode(told)) == json.loads(events.encode(event)) | stamps


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (commands.RenameSpeaker(id="c1", speaker="eve", name="Eve"), "unknown_speaker"),
        (commands.OptOutSpeaker(id="c1", speaker="eve"), "unknown_speaker"),
        (commands.CorrectEmotion(id="c1", utterance_id="u9", emotion="joy"), "unknown_utterance"),
        (commands.CorrectEmotion(id="c1", utterance_id="u1", emotion="hunger"), "unknown_emotion"),
        ('{"type":"session.end","id":"c1"}', "malformed"),
        ('{"type":"moment.mark","at_ms":"now","id":"c1"}', "malformed"),
        ('{"type":"moment.mark","at_ms":1000000000000,"id":"c1"}', "malformed"),
        ('{"type":"moment.mark","at_ms":9223372036854775808,"id":"c1"}', "malformed"),
        ('{"type":"moment.mark","at_ms":-1,"id":"c1"}', "malformed"),
        ("{", "malformed"),
        ("[" * 4000, "malformed"),
        ("null", "malformed"),
        ("", "malformed"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(
    call: Callable[..., FeedSession], command: commands.Command | str, code: str
) -> None:
    """What cannot be done is answered with a code and a sentence, changes nothing, and the client stays."""
    with conversation(call) as (_, client):
        answer, told = ask(client, command)
        assert (answer.ok, answer.code, told) == (False, code, [])
        assert answer.message
        assert answer.id in ("c1", "")
        assert ask(client, commands.MarkMoment())[0].ok


def test_a_correction_can_be_corrected(call: Callable[..., FeedSession]) -> None:
    """A second correction says what it replaces."""
    with conversation(call) as (_, client):
        ask(client, commands.CorrectEmotion(utterance_id="u1", emotion="anger"))
        _, (second,) = ask(client, commands.CorrectEmotion(utterance_id="u1", emotion="neutral"))
        assert isinstance(second, events.EmotionCorrected)
        assert (second.from_, second.to) == ("anger", "neutral")


@pytest.mark.parametrize("shown", [True, False])
def test_pages_of_other_origins_only_read(call: Callable[..., FeedSession], shown: bool) -> None:
    """A page that `origins` lets in may command where it shows the token, and otherwise only reads."""
    options = {"token": "open sesame"} if shown else {}
    it = call(origins=("https://show.example",), **options)
    it.publisher.append(final(1))
    headers = {"Authorization": "Bearer open sesame"} if shown else {}
    with connect(it.feed.url, origin="https://show.example", additional_headers=headers) as client:
        answer, _ = ask(client, commands.MarkMoment())
    assert (answer.ok, answer.code) == ((True, "") if shown else (False, "forbidden"))


def test_a_session_that_is_over_takes_no_commands(call: Callable[..., FeedSession]) -> None:
    """After session.closed a command is refused: that event stays the last."""
    with conversation(call) as (it, client):
        it.publisher.append(events.SessionClosed(reason="ended", totals={}))
        client.recv()
        assert ask(client, commands.MarkMoment())[0].code == "closed"
        with pytest.raises(commands.CommandRefused):
            it.publisher.execute(events.MomentMarked(at_ms=1))


def test_a_feed_without_a_session_takes_no_commands() -> None:
    """Where nobody numbers events a command is answered, and refused."""
    feed = Feed("s", port=0)
    feed.start()
    with connect(feed.url) as client:
        assert ask(client, commands.MarkMoment())[0].code == "unavailable"
    feed.stop()


def test_who_watches_the_ledger_hears_of_commands(call: Callable[..., FeedSession]) -> None:
    """A view that is added while the session runs gets what commands became, stamped."""
    heard: list[events.Logged] = []
    came = threading.Event()
    with conversation(call) as (it, client):
        it.publisher.add_view(lambda event: (heard.append(event), came.set())[0])
        _, told = ask(client, commands.OptOutSpeaker(speaker="ann"))
        came.wait()
    assert heard == told
