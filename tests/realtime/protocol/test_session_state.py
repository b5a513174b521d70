from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.feed_session import FeedSession, Subscriber
from support.sample_events import CREATED, LABELS, began, final, fold_snapshot

from realtime.feed.history import EventHistory
from realtime.journal.event_log import Journal, Record
from realtime.protocol import events
from realtime.protocol.session_state import TREND


def test_a_snapshot_says_who_speaks_and_how_they_feel() -> None:
    """Speakers stand in order of appearance with their latest emotions; what was begun and not judged is open."""
    snapshot = fold_snapshot(CREATED, began(1), began(2, "ben"), final(1, "joy"), began(3), final(3, "anger"))
    ann, ben = snapshot.speakers
    assert (ann.speaker, ann.utterances, ann.emotion, ann.confidence) == ("ann", 2, "anger", 0.8)
    assert [point.emotion for point in ann.trend] == ["joy", "anger"]
    assert (ben.speaker, ben.utterances, ben.emotion, ben.trend) == ("ben", 0, None, ())
    assert [one.utterance_id for one in snapshot.open] == ["u2"]
    assert (snapshot.created, snapshot.seq) == (CREATED, 6)


def test_a_snapshot_tells_who_has_finished_and_is_being_judged() -> None:
    """An open utterance has its end from `speech.ended` on."""
    ended = events.SpeechEnded(utterance_id="u1", source="mic", speaker="ann", start_ms=1_000, end_ms=1_900)
    snapshot = fold_snapshot(CREATED, began(1), began(2, "ben"), ended)
    assert [(one.utterance_id, one.end_ms) for one in snapshot.open] == [("u1", 1_900), ("u2", None)]


def test_a_trend_is_the_latest_utterances() -> None:
    """A speaker's trend holds the last few utterances, oldest first, however many there were."""
    snapshot = fold_snapshot(*(final(number) for number in range(1, 31)))
    assert [point.utterance_id for point in snapshot.speakers[0].trend] == [f"u{n}" for n in range(31 - TREND, 31)]
    assert snapshot.speakers[0].utterances == 30


def test_a_snapshot_follows_what_is_changed_later() -> None:
    """Corrections, revisions, names and opt-outs show; provisional results mark what is open; discards close it."""
    provisional = events.EmotionProvisional(
        utterance_id="u3",
        revision=1,
        speaker="ann",
        start_ms=3000,
        end_ms=3500,
        emotion="anger",
        confidence=0.5,
        probabilities={"anger": 0.5, "joy": 0.5},
        modalities={},
    )
    discarded = events.UtteranceDiscarded(
        utterance_id="u4", source="mic", start_ms=0, end_ms=1, reason="noise", detail="Noise."
    )
    snapshot = fold_snapshot(
        final(1),
        final(2),
        final(2, "neutral", revision=2),
        events.EmotionCorrected(utterance_id="u1", speaker="ann", from_="joy", to="anger"),
        events.SpeakerOptedOut(speaker="ann", opted_out=True),
        events.SpeakerRenamed(speaker="ann", name="Ann B."),
        began(3),
        provisional,
        began(4),
        discarded,
    )
    (ann,) = snapshot.speakers
    assert [point.emotion for point in ann.trend] == ["anger", "neutral"]
    assert (ann.name, ann.opted_out, ann.utterances) == ("Ann B.", True, 2)
    assert [(one.utterance_id, one.emotion) for one in snapshot.open] == [("u3", "anger")]


def test_a_snapshot_tells_the_health_of_the_session() -> None:
    """The latest status of each source and modality, and what is degraded now, stand in it; what recovered does not."""
    lost = events.SourceStatus(source="mic", kind="microphone", status="lost")
    off = events.ModalityStatus(modality="face", status="absent", speaker="ann")
    full = events.StreamDegraded(what="journal")
    late = events.StreamDegraded(what="partials", count=3)
    snapshot = fold_snapshot(
        events.SourceStatus(source="mic", kind="microphone", status="opened"),
        lost,
        off,
        full,
        late,
        events.StreamDegraded(what="journal", recovered=True),
    )
    assert (snapshot.sources, snapshot.modalities, snapshot.degraded) == ((lost,), (off,), (late,))


told = st.lists(
    st.one_of(
        st.integers(1, 6).map(began),
        st.builds(final, st.integers(1, 6), st.sampled_from(LABELS), st.sampled_from(["ann", "ben"])),
        st.builds(events.SpeakerRenamed, speaker=st.sampled_from(["ann", "ben"]), name=st.sampled_from(["A", "B"])),
        st.builds(events.MomentMarked, at_ms=st.integers(0, 9)),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)  # it writes files
@given(told=told, memory=st.integers(1, 4000), at=st.integers(0, 29), kept=st.booleans())
def test_a_snapshot_of_any_place_is_what_the_events_before_it_amount_to(
    tmp_path_factory: pytest.TempPathFactory, told: list[events.Logged], memory: int, at: int, kept: bool
) -> None:
    """Wherever in the session, and however little memory holds, a snapshot equals folding all events before it."""
    journal = Journal(tmp_path_factory.mktemp("history") / "a.jsonl") if kept else None
    history = EventHistory("s", journal, memory)
    stamped = []
    for seq, event in enumerate(told, 1):
        epoch = "e1" if seq <= 10 else "e2"
        number = seq if seq <= 10 else seq - 10
        line = events.encode(event).replace(b'",', f'","seq":{number},"epoch":"{epoch}","session":"s",'.encode(), 1)
        record = Record(epoch, number, line)
        if journal is not None:
            journal.append([record])
        stamped.append(history.append(record))
    position = min(at, len(told) - 1)
    if not kept:
        position = max(position, history.buffer.first)
    if journal is not None:
        journal.close()
    epoch, number = history.buffer.id_at(position)
    found = msgspec.structs.replace(history.snapshot_before(position, epoch, number), durable_seq=None)
    expected = fold_snapshot(*(event for event in stamped[:position] if event is not None))
    assert events.encode(found) == events.encode(expected).replace(
        b'"epoch":"e","seq":%d' % position, f'"epoch":"{epoch}","seq":{number - 1}'.encode(), 1
    )
    end, now = history.take_snapshot()
    assert end == len(told)
    assert now.speakers == fold_snapshot(*stamped).speakers


def test_a_continued_session_stands_as_its_journal_left_it(tmp_path: Path) -> None:
    """A feed over a reopened journal knows the speakers of the process before it."""
    journal = Journal(tmp_path / "a.jsonl")
    for seq, event in enumerate((CREATED, began(1), final(1)), 1):
        line = events.encode(event)
        wire = json.loads(line) | {"seq": seq, "epoch": "e", "session": "s"}
        journal.append([Record("e", seq, json.dumps(wire).encode())])
    journal.close()
    history = EventHistory("s", Journal.reopen(journal.path), 1000)
    assert history.latest.has_speaker("ann")
    assert history.latest.judgement_of("u1") == ("ann", "joy")
    assert history.take_snapshot()[1].seq == 3


def test_who_comes_late_may_have_a_snapshot_or_everything(call: Callable[..., FeedSession]) -> None:
    """`history=snapshot` gives how things stand and what follows; `full` all; `none` only what follows."""
    it = call()
    for event in (CREATED, began(1), final(1)):
        it.publisher.append(event)
    with (
        Subscriber(it.feed.url, "?history=snapshot") as brief,
        Subscriber(it.feed.url, "?history=full") as full,
        Subscriber(it.feed.url, "?history=none") as none,
    ):
        (snapshot,) = brief.wait_for(1)
        assert isinstance(snapshot, events.Snapshot)
        assert (snapshot.seq, snapshot.epoch, snapshot.speakers[0].emotion) == (3, it.epoch, "joy")
        assert snapshot.created is not None
        full.wait_for(3)
        it.publisher.append(began(2))
        assert [getattr(one, "seq", None) for one in brief.wait_for(2)] == [3, 4]
        assert [getattr(one, "seq", None) for one in full.wait_for(4)] == [1, 2, 3, 4]
        assert [getattr(one, "seq", None) for one in none.wait_for(1)] == [4]


def test_one_that_does_not_read_is_told_where_it_stands(call: Callable[..., FeedSession]) -> None:
    """Who is cut off finds behind what it got a gap to the present and a snapshot, and with its number resumes."""
    it = call(queue_limit=10, patience_s=0.0)
    it.publisher.append(final(1))
    client = Subscriber(it.feed.url, "?from=0", reading=False)
    while not it.feed._fanout.clients:  # the handshake is answered before the feed serves the client
        time.sleep(0.001)
    while it.feed._fanout.clients:
        it.say(5, size=50_000)
    client.start()
    *got, gap, snapshot = client.finish()
    assert client.code == 1013
    assert isinstance(gap, events.StreamGap)
    assert isinstance(snapshot, events.Snapshot)
    assert [one.seq for one in got] == list(range(1, len(got) + 1))  # type: ignore[union-attr]
    assert (gap.from_, gap.reason, gap.to) == (len(got), "too_slow", snapshot.seq + 1)
    assert snapshot.speakers[0].emotion == "joy"
    it.say(1)
    with Subscriber(it.feed.url, f"?from={snapshot.seq}&epoch={snapshot.epoch}") as again:
        assert again.wait_for(1)[0].seq == snapshot.seq + 1  # type: ignore[union-attr]
