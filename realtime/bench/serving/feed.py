"""What the feed costs and what it keeps: encoding, fan-out beside a plain broadcast, mass resumption, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import multiprocessing
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import psutil
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from realtime.bench.workloads.feed_clients import allow_many_files
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.protocol import events
from realtime.protocol.probabilities import round_probabilities

_LABELS = ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
_WEIGHTS = dict(zip(_LABELS, (0.121212, 0.7, 0.03, 0.05, 0.048788, 0.03, 0.02), strict=True))
_FINAL = events.EmotionFinal(
    utterance_id="u57",
    revision=3,
    speaker="remote",
    start_ms=183220,
    end_ms=185910,
    text="You had your hands full.",
    language="en",
    emotion="joy",
    confidence=0.7,
    probabilities=_WEIGHTS,
    modalities={
        "text": events.Modality(status="ok", gate=0.551234, probabilities=_WEIGHTS),
        "voice": events.Modality(status="ok", gate=0.448766, probabilities=_WEIGHTS),
        "face": events.Modality(status="absent"),
    },
    shift=events.Shift(from_="neutral", to="joy"),
    latency_ms=events.Latency(endpoint=400, queue=0, asr=240, features=15, fusion=4, total=659),
)


def feed(
    subscribers: tuple[int, ...] = (10, 100, 1_000),
    messages: int = 40,
    resumed: int = 500,
    resumed_events: int = 1_500,
    kills: int = 100,
) -> dict[str, Any]:
    """Events a second; one event to many subscribers beside websockets' broadcast; 500 cut at once; 100 kill -9.

    Args:
        subscribers: how many clients get each event; one more is there that never reads
        messages: events sent by each way, in turn
        resumed: clients that are cut and come back at once, three times
        resumed_events: events that each of them gets meanwhile
        kills: lives of a server that end by kill -9 at random moments
    """
    allow_many_files()
    gc.collect()
    gc.freeze()  # as a live run does
    result: dict[str, Any] = {"benchmark": "feed", **_measure_encoding()}
    for count in subscribers:
        result[f"{count}_subscribers"] = _fan_out(count, messages)
    if resumed:
        result["resumed"] = _measure_resumption(resumed, resumed_events)
    if kills:
        result["killed"] = _measure_kills(kills)
    return result


def _measure_encoding() -> dict[str, float]:
    stamped = msgspec.structs.replace(_FINAL, seq=412, epoch=events.new_id(), session=events.new_id())
    wire = round_probabilities(stamped)

    def measure_rate(work: Any) -> float:
        begun, done = time.perf_counter(), 0
        while time.perf_counter() - begun < 1:
            for _ in range(100):
                work()
            done += 100
        return done / (time.perf_counter() - begun)

    with tempfile.TemporaryDirectory() as folder:
        session = events.new_id()
        journal = Journal(Path(folder) / "a.jsonl")
        server = Feed(session, history=journal, port=0)
        server.start()
        publisher = EventPublisher(session, journal=journal, feed=server)
        rates = {
            "event_bytes": float(len(events.encode(wire))),
            "encoded_per_s": measure_rate(lambda: events.encode(wire)),
            "rounded_and_encoded_per_s": measure_rate(lambda: events.encode(round_probabilities(stamped))),
            "journaled_and_published_per_s": measure_rate(lambda: publisher.append(_FINAL)),
        }
        server.stop()
        publisher.close()
    return rates


@contextlib.contextmanager
def _serve_broadcast() -> Iterator[tuple[int, Any]]:
    """(port, send) of a server that does nothing but websockets' own `broadcast`, on a thread of its own."""
    bound: Future[tuple[asyncio.AbstractEventLoop, int]] = Future()
    over = asyncio.Event()
    connections: set[Any] = set()

    async def handle(connection: Any) -> None:
        connections.add(connection)
        await connection.wait_closed()
        connections.discard(connection)

    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0, compression=None, backlog=1024) as server:
            bound.set_result((asyncio.get_running_loop(), server.sockets[0].getsockname()[1]))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    loop, port = bound.result()
    yield port, lambda line: loop.call_soon_threadsafe(broadcast, connections, line.decode())
    loop.call_soon_threadsafe(over.set)
    thread.join()


def _connect_sleeper(url: str) -> socket.socket:
    """A client that never reads."""
    address = urlsplit(url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((address.hostname, address.port))
    raw.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    raw.recv(12)
    return raw


def _start_clients(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "realtime.bench.workloads.feed_clients", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _fan_out(count: int, messages: int) -> dict[str, Any]:
    session = events.new_id()
    ours = Feed(session, port=0, max_clients=count + 10, queue_limit=10**9, send_timeout_s=1e9)
    ours.start()
    publisher = EventPublisher(session, feed=ours)
    process = psutil.Process()
    with _serve_broadcast() as (port, send), _connect_sleeper(ours.url):
        # More than the sleeper's socket takes.
        for _ in range(300):
            publisher.append(events.Error(code="filler", message="m" * 20_000, fatal=False))
        memory = [process.memory_info().rss]
        with _start_clients("fanout", count, urlsplit(ours.url).port, port) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None

            def wait_for(line: str) -> None:
                said = clients.stdout.readline()  # type: ignore[union-attr]
                if said.strip() != line:
                    raise RuntimeError(f"the clients said {said!r} instead of {line!r}")

            for _ in range(2):
                wait_for("ready")
                memory.append(process.memory_info().rss)
                print(file=clients.stdin, flush=True)
            for number in range(2 * messages):
                time.sleep(0.01)
                event = msgspec.structs.replace(_FINAL, text=str(time.monotonic_ns()))
                if number % 2:
                    publisher.append(event)
                else:
                    send(events.encode(event))
                wait_for("all")
            never_reading = len(ours._fanout.clients) - count
            clients.stdin.close()
            arrivals = [np.array(one) / 1e6 for one in json.loads(clients.stdout.readline())]
        ours.stop(grace=0.0)
    figures: dict[str, Any] = {}
    for name, one in zip(("feed", "broadcast"), arrivals, strict=True):
        figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = (float(p) for p in np.percentile(one, [50, 99]))
    figures["p99_over_broadcast"] = figures["feed_p99_ms"] / figures["broadcast_p99_ms"]
    figures["kib_a_client"] = (memory[1] - memory[0]) / count / 1024
    figures["broadcast_kib_a_client"] = (memory[2] - memory[1]) / count / 1024
    figures["never_reading"] = never_reading
    return figures


def _measure_resumption(count: int, total: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        session = events.new_id()
        journal = Journal(Path(folder) / "a.jsonl")
        server = Feed(session, history=journal, port=0, max_clients=2 * count, memory_bytes=256 * 1024)
        server.start()
        publisher = EventPublisher(session, journal=journal, feed=server)
        publisher.append(_FINAL)
        with _start_clients("resume", count, urlsplit(server.url).port, total) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            clients.stdout.readline()
            for number in range(2, total + 1):
                publisher.append(_FINAL)
                if number % (total // 4) == 0 and number < total:
                    print("cut", file=clients.stdin, flush=True)
                time.sleep(0.002)
            outcome = json.loads(clients.stdout.readline())
        server.stop(grace=0.0)
        publisher.close()
    return {
        "clients": count,
        "events": total,
        "missing": outcome["wrong"].get("missing", 0),
        "twice": outcome["wrong"].get("twice", 0),
        "gaps": outcome["wrong"].get("gap", 0),
        "closed": {reason: count for reason, count in outcome["wrong"].items() if reason.startswith("closed")},
        "last_cut_to_all_caught_up_s": max(outcome["seconds"], default=float("nan")),
    }


def _continue_session(path: Path, session: str, tell: Connection) -> None:
    """One life of a server: continue the session of the journal at `path` until somebody kills this process."""
    journal = Journal.reopen(path) if path.exists() else Journal(path)
    server = Feed(session, history=journal, port=0)
    server.start()
    publisher = EventPublisher(session, journal=journal, feed=server)
    tell.send(server.url)
    while True:
        publisher.append(_FINAL)
        time.sleep(0.0005)


def _measure_kills(count: int) -> dict[str, Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["realtime.bench.serving.feed"])
    chance, session = random.Random(0), events.new_id()
    seen: list[bytes] = []
    gaps = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        for _ in range(count):
            ear, mouth = context.Pipe(duplex=False)
            life = context.Process(target=_continue_session, args=(path, session, mouth), daemon=True)
            life.start()
            url = ear.recv()
            last = events.decode(seen[-1]) if seen else None
            query = f"?from={last.seq}&epoch={last.epoch}" if isinstance(last, events.EmotionFinal) else "?from=0"
            end = time.monotonic() + chance.uniform(0.005, 0.2)
            with contextlib.suppress(ConnectionClosed, OSError), connect(url + query, compression=None) as client:
                killer = threading.Timer(max(0.0, end - time.monotonic()), life.kill)
                killer.start()
                while True:
                    line = client.recv(decode=False)
                    if line.startswith((b'{"type":"stream.gap"', b'{"type":"snapshot"')):
                        gaps += 1
                    else:
                        seen.append(line)
            life.join()
            assert life.exitcode == -signal.SIGKILL
        journal = Journal.reopen(path)
        kept = [record.line for record in journal.read_all()]
        epochs = [epoch for epoch, _, _ in journal.epochs]
        following = EventPublisher(session, journal=journal)
        following.append(_FINAL)
        following.close()
        fresh = journal.epochs[-1][0] not in epochs
    in_order = set(kept)
    return {
        "lives": count,
        "epochs": len(epochs),
        "events_seen": len(seen),
        "seen_but_not_in_the_journal": sum(line not in in_order for line in seen),
        "seen_twice": len(seen) - len(set(seen)),
        "missing_between": _count_missing(seen, kept),
        "gaps": gaps,
        "then_a_new_epoch": fresh,
    }


def _count_missing(seen: list[bytes], kept: list[bytes]) -> int:
    """Journaled events before the last one seen that the client did not get."""
    return kept.index(seen[-1]) + 1 - len(seen) if seen and seen[-1] in kept else len(kept)
