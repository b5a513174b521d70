"""Consent: whatever a session keeps of people answers `forget`, and what refuses is owed until it is done."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from support.feed_session import Subscriber
from support.sample_events import CREATED, began, final
from websockets.sync.client import connect

from core_models.feature_log import FeatureRecorder, features_path
from core_models.feature_spec import FeatureSpec
from realtime.cli.event_file import open_event_file
from realtime.diarization.voice_prints import VoicePrintFile
from realtime.export import load
from realtime.exports.tables import render_jsonl
from realtime.feed.publisher import EventPublisher
from realtime.feed.server import Feed
from realtime.journal.event_log import Journal
from realtime.protocol import commands, events

SPEC = FeatureSpec(modality="voice", name="v", version=1, dimension=2, digest="d")
SECRETS = (b"Well.", b"Annabel", b"quotes her", b"ann.npy")
"""Words of Ann's, her name, a note about her, and her voice print's place in its archive."""


class Call:
    """A session that keeps everything that a session can keep, with Ann and Ben in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self.prints = VoicePrintFile(folder / "prints")
        ann, ben = np.eye(2, 192, dtype=np.float32)
        self.prints.write({"ann": ann, "ben": ben})  # of an earlier session
        self.path = folder / "call.jsonl"
        self.events = open_event_file(str(folder / "events.jsonl"), self._stack)
        journal = Journal(self.path)
        self.feed = Feed("s", history=journal, port=0, memory_bytes=2000)
        self.feed.start()
        self.publisher = EventPublisher(
            "s",
            journal=journal,
            feed=self.feed,
            sinks=[self.events.write_line],
            stores=[self.events, self.prints],
            features=FeatureRecorder(features_path(self.path), {"voice": SPEC}),
            retry_s=0.1,
        )
        for event in (
            CREATED,
            began(1),
            final(1),
            final(2, speaker="ben"),
            events.SpeakerRenamed(speaker="ann", name="Annabel"),
            events.MomentMarked(at_ms=1, note="Ben quotes her"),
            *(final(n) for n in range(3, 12)),
        ):
            self.publisher.append(event)
        for number, speaker in ((1, "ann"), (2, "ben")):
            self.publisher.keep_features(f"u{number}", speaker, {"voice": np.ones(2, np.float32)})

    def opt_out(self) -> events.CommandResult:
        """The answer to a client's command."""
        with connect(self.feed.url) as client:
            client.send(commands.encode(commands.OptOutSpeaker(id="1", speaker="ann")).decode())
            while not isinstance(answer := events.decode(client.recv()), events.CommandResult):
                pass
        return answer

    def left(self) -> dict[str, list[bytes]]:
        """What is left of Ann, by file and in what the feed answers."""
        seen = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        with Subscriber(self.feed.url, "?from=0") as late:
            seen["feed from=0"] = b"".join(late.lines(15))
        with Subscriber(self.feed.url, "?history=snapshot") as late:
            seen["feed snapshot"] = b"".join(late.lines(1))
        found = {name: [secret for secret in SECRETS if secret in said] for name, said in seen.items()}
        found["call.features.jsonl"] = [b"ann"] if b'"ann"' in seen.get("call.features.jsonl", b"") else []
        # Ben says the same words: only what is Ann's counts.
        for name, said in seen.items():
            if b"Well." in found[name] and said.count(b"Well.") == said.count(b'"speaker":"ben"'):
                found[name].remove(b"Well.")
        return {name: secrets for name, secrets in found.items() if secrets}

    def close(self) -> None:
        self.feed.stop(grace=0.2)
        self.publisher.close()
        self._stack.close()


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    it = Call(tmp_path)
    yield it
    it.close()


def test_whoever_opts_out_is_in_no_file_and_no_answer(call: Call) -> None:
    """Every file that a session writes, and what the feed tells afterwards, holds them before and not after."""
    before = call.left()
    assert set(before) == {
        "call.jsonl", "events.jsonl", "prints", "call.features.jsonl", "feed from=0", "feed snapshot"
    }
    assert call.opt_out().ok
    assert call.left() == {}
    assert set(call.prints.read()) == {"ben"}
    assert b"Well." in call.path.read_bytes()  # Ben's


def test_a_name_given_after_the_opt_out_is_refused(call: Call) -> None:
    """Nobody may write down what was withdrawn; after coming back they may be named again."""
    assert call.opt_out().ok
    with pytest.raises(commands.CommandRefused, match="has opted out"):
        call.publisher.execute(events.SpeakerRenamed(speaker="ann", name="Annabel"))
    assert call.left() == {}
    call.publisher.append(events.SpeakerOptedOut(speaker="ann", opted_out=False))
    call.publisher.execute(events.SpeakerRenamed(speaker="ann", name="Annabel"))


STORES = ["journal", "features", "events", "prints"]


@pytest.mark.parametrize("store", STORES)
def test_a_store_that_refuses_is_owed_until_it_is_done(
    call: Call, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at any one store: the opt-out stands at once, the answer is not ok and says where, every other
    store has forgotten, and as soon as the disk takes writes again so has this one, and that is told."""
    full = threading.Event()
    full.set()
    owed = {one.holds: one for one in call.publisher._erasures._stores}
    broken = owed[
        next(name for name in owed if {"features": "features", "prints": "prints"}.get(store, store) in name)
    ]
    real = broken.forget

    def forget(people: Collection[str]) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        real(people)

    monkeypatch.setattr(broken, "forget", forget)
    settled = threading.Event()
    told: list[events.Logged] = []

    def see(event: events.Logged) -> None:
        told.append(event)
        if isinstance(event, events.StreamDegraded):
            settled.set()

    call.publisher.add_view(see)
    answer = call.opt_out()
    assert (answer.ok, answer.code) == (False, "redaction")
    assert broken.holds in answer.message
    assert "No space left" in answer.message
    assert call.publisher.speakers.has_opted_out("ann")
    assert call.publisher.owed == (broken.holds,)
    assert len({name for name in call.left() if not name.startswith("feed")}) == 1
    full.clear()
    settled.wait()
    assert call.left() == {}
    assert call.publisher.owed == ()
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["Error", "SpeakerOptedOut", "StreamDegraded"]


def test_what_could_not_be_taken_out_is_not_exported_and_goes_when_the_journal_is_reopened(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk refuses until the end: no export has the words, and the next program that writes the journal
    takes them out."""
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "rewrite_lines", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        assert not call.opt_out().ok
        call.publisher.close()
    assert call.path.read_bytes().count(b"Well.") > 1
    exported = render_jsonl(load(call.path))
    assert exported.count(b"Well.") == 1
    assert b"Annabel" not in exported
    EventPublisher("s", journal=Journal.reopen(call.path)).close()
    assert call.path.read_bytes().count(b"Well.") == 1
    assert b"Annabel" not in call.path.read_bytes()


def test_an_events_file_is_its_owners_and_forgets_in_place(tmp_path: Path) -> None:
    """One that others could read is made 0600; what follows after a redaction stands behind what was there."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"old\n")
    path.chmod(0o644)
    with ExitStack() as stack:
        file = open_event_file(str(path), stack)
        assert path.stat().st_mode & 0o777 == 0o600
        for event in (final(1), final(2, speaker="ben")):
            file.write_line(events.encode(event))
        size = path.stat().st_size
        file.forget({"ann"})
        assert path.stat().st_size == size
        file.write_line(events.encode(final(3, speaker="ben")))
    assert [events.decode(line).text for line in path.read_bytes().splitlines()] == [None, "Well.", "Well."]
