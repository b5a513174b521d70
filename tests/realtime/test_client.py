from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.feed_session import FeedSession, numbers
from support.sample_events import CREATED, began, final

from core_models.errors import FeedError
from realtime.client import Client
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.protocol import commands, events

CLOSED = events.SessionClosed(reason="ended", totals={})


async def all_of(client: Client, into: list[events.Message] | None = None) -> list[events.Message]:
    got = [] if into is None else into
    async for message in client:
        got.append(message)
    return got


def quick(url: str, **options: Any) -> Client:
    return Client(url, **{"first_pause_s": 0.01, "longest_pause_s": 0.1, **options})


def test_a_client_gets_everything_until_the_session_ends(call: Callable[..., FeedSession]) -> None:
    """From `history="full"` on come all events, and with session.closed the iteration ends."""
    it = call()
    it.say(20)
    it.publisher.append(CLOSED)
    *said, last = asyncio.run(all_of(Client(it.feed.url, history="full")))
    assert numbers(said) == list(range(1, 21))
    assert isinstance(last, events.SessionClosed)


def test_a_client_that_is_cut_again_and_again_misses_nothing(call: Callable[..., FeedSession]) -> None:
    """Connections that are reset at random moments cost no event, and none comes twice."""
    it = call(memory_bytes=20_000)

    async def run() -> list[events.Message]:
        got: list[events.Message] = []
        task = asyncio.create_task(all_of(quick(it.feed.url, history="full"), got))
        for _ in range(30):
            await asyncio.to_thread(it.say, 40)
            await asyncio.sleep(random.uniform(0, 0.02))
            for connection in list(it.feed._connections):
                it.feed._loop.call_soon_threadsafe(connection.transport.abort)
        await asyncio.to_thread(it.publisher.append, CLOSED)
        await task
        return got

    *said, _ = asyncio.run(run())
    assert numbers(said) == list(range(1, 1201))


def test_a_client_goes_on_when_the_server_is_back(tmp_path: Path) -> None:
    """After a crash of the server the client connects again, gets what the journal holds and then a new epoch."""
    path, session = tmp_path / "a.jsonl", events.new_id()

    def serve(journal: Journal, port: int) -> tuple[Feed, EventPublisher]:
        feed = Feed(session, history=journal, port=port)
        feed.start()
        return feed, EventPublisher(session, journal=journal, feed=feed)

    async def run() -> list[events.Message]:
        feed, publisher = serve(Journal(path), 0)
        port = urlsplit(feed.url).port or 0
        publisher.append(events.Error(code="1", message="", fatal=False))
        got: list[events.Message] = []
        task = asyncio.create_task(all_of(quick(feed.url, history="full", first_pause_s=0.5), got))
        while not got:
            await asyncio.sleep(0.01)
        for connection in list(feed._connections):  # as a crash ends them: no close frame
            feed._loop.call_soon_threadsafe(connection.transport.abort)  # type: ignore[union-attr]
        await asyncio.to_thread(feed.stop, 0.0)
        publisher.append(events.Error(code="2", message="", fatal=False))
        publisher.close()
        feed, publisher = serve(Journal.reopen(path), port)
        publisher.append(events.Error(code="3", message="", fatal=False))
        publisher.append(CLOSED)
        await task
        await asyncio.to_thread(feed.stop, 0.0)
        return got

    *said, _ = asyncio.run(run())
    assert numbers(said) == [1, 2, 3]
    assert [one.seq for one in said] == [1, 2, 1]  # type: ignore[union-attr]


def test_a_client_wants_what_it_asked_for(call: Callable[..., FeedSession]) -> None:
    """Types, speakers, the least confidence, the token and the place to go on from reach the feed."""
    it = call(token="open sesame")
    for number in range(1, 6):
        it.publisher.append(final(number, speaker="ann" if number % 2 else "ben"))
        it.publisher.append(began(number + 10))
    options: dict[str, Any] = {"token": "open sesame", "types": ["emotion.final"], "speakers": ["ann"]}

    async def three() -> list[events.Message]:
        client, got = Client(it.feed.url, after=(it.epoch, 2), min_confidence=0.5, **options), []
        async for message in client:
            got.append(message)
            if len(got) == 2:
                break
        assert client.place == (it.epoch, 9)
        return got

    assert [one.utterance_id for one in asyncio.run(three())] == ["u3", "u5"]  # type: ignore[union-attr]


def test_a_client_begins_with_a_snapshot_where_it_wants_one(call: Callable[..., FeedSession]) -> None:
    """`history="snapshot"` gives how things stand, then what follows."""
    it = call()
    it.publisher.append(CREATED)
    it.publisher.append(final(1))

    async def run() -> list[events.Message]:
        got: list[events.Message] = []
        task = asyncio.create_task(all_of(quick(it.feed.url, history="snapshot"), got))
        while not got:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(it.publisher.append, CLOSED)
        await task
        return got

    snapshot, closed = asyncio.run(run())
    assert isinstance(snapshot, events.Snapshot)
    assert (snapshot.seq, closed.seq) == (2, 3)  # type: ignore[union-attr]


def test_a_client_gives_commands(call: Callable[..., FeedSession]) -> None:
    """`ask` returns the answer, and the event that the command became comes like any other."""
    it = call()
    it.publisher.append(CREATED)
    it.publisher.append(final(1))

    async def run() -> tuple[events.CommandResult, list[events.Message]]:
        client, got = Client(it.feed.url, history="full"), []
        task = asyncio.create_task(all_of(client, got))
        with pytest.raises(FeedError, match="no connection"):
            await client.ask(commands.MarkMoment())
        while len(got) < 2:
            await asyncio.sleep(0.01)
        answer = await client.ask(commands.CorrectEmotion(utterance_id="u1", emotion="anger"))
        await asyncio.to_thread(it.publisher.append, CLOSED)
        await task
        return answer, got

    answer, got = asyncio.run(run())
    assert answer.ok
    assert isinstance(got[2], events.EmotionCorrected)
    assert (got[2].epoch, got[2].seq) == (answer.event_epoch, answer.event_seq)


def test_what_cannot_work_is_one_sentence(call: Callable[..., FeedSession]) -> None:
    """No server, a wrong token and a filter that makes no sense raise FeedError instead of trying for ever."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"ws://127.0.0.1:{free.getsockname()[1]}/"
    guarded, it = call(token="open sesame"), call()
    for client, sentence in (
        (quick(nowhere), "there is no feed at"),
        (quick(guarded.feed.url, token="wrong"), "401: this feed asks for its token"),
        (quick(it.feed.url, min_confidence=7), "400: expected min_confidence"),
    ):
        with pytest.raises(FeedError, match=sentence):
            asyncio.run(all_of(client))


def test_events_of_a_later_version_are_passed_over(call: Callable[..., FeedSession]) -> None:
    """A type that is not known is no error, and the client resumes after it."""
    it = call(keep=False)
    it.feed.publish(1, "e", b'{"type":"emotion.guessed","seq":1,"epoch":"e","session":"s"}')
    it.feed.publish(2, "e", events.encode(began(1)).replace(b'",', b'","seq":2,"epoch":"e","session":"s",', 1))

    async def first() -> tuple[events.Message, Any]:
        client = Client(it.feed.url, history="full")
        with contextlib.suppress(StopAsyncIteration):
            async for message in client:
                return message, client.place
        raise AssertionError

    message, place = asyncio.run(first())
    assert isinstance(message, events.SpeechStarted)
    assert place == ("e", 2)
