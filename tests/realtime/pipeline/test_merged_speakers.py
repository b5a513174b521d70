"""Two voices that prove to be one person: what the feed, the journal and the people who look are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console
from support.feed_session import FeedSession, Subscriber
from support.sample_events import CREATED, FINAL, began, final, fold_snapshot
from support.scripted_pipeline import Scripted, Steady

from realtime.cli.terminal import Terminal
from realtime.dialogue.provisional import Provisional
from realtime.feed.publisher import EventPublisher
from realtime.feed.subscription import parse_query
from realtime.journal.event_log import Journal
from realtime.journal.session_list import list_sessions
from realtime.pipeline.call_inference import CallInference
from realtime.pipeline.inference_queue import InferenceQueue
from realtime.pipeline.inference_worker import InferenceWorker
from realtime.pipeline.load_shedding import LoadShedder
from realtime.pipeline.summary import Summary
from realtime.pipeline.work_item import WorkItem
from realtime.protocol import events
from realtime.protocol.commands import MarkMoment, OptOutSpeaker, RenameSpeaker, event_of
from realtime.protocol.session_state import TREND, SessionState
from realtime.review.conversation import fold_conversation
from realtime.segmentation.segments import Utterance

MERGED = events.SpeakerMerged(speaker="speaker2", into="speaker1")


def test_a_snapshot_has_them_as_one_speaker() -> None:
    """Utterances of both stand in one trend in order of time; what is open, said or corrected later is that one's."""
    snapshot = fold_snapshot(
        CREATED,
        *(final(n, "joy", f"speaker{1 + n % 2}") for n in range(1, 15)),
        began(15, "speaker2"),
        events.SpeakerRenamed(speaker="speaker2", name="Ann"),
        MERGED,
        final(16, "anger", "speaker2"),
        events.EmotionCorrected(utterance_id="u13", speaker="speaker2", from_="joy", to="neutral"),
    )
    (one,) = snapshot.speakers
    assert (one.speaker, one.name, one.utterances, one.merged, one.emotion) == (
        *("speaker1", "Ann", 15, ("speaker2",)),
        "anger",
    )
    assert [point.utterance_id for point in one.trend] == [*(f"u{n}" for n in range(15 - TREND + 1, 15)), "u16"]
    assert one.trend[-3].emotion == "neutral"
    assert [(o.utterance_id, o.speaker) for o in snapshot.open] == [("u15", "speaker1")]


def test_a_chain_of_merges_ends_at_the_last() -> None:
    """Three voices of one person are one speaker, whatever the order in which they were found to be."""
    snapshot = fold_snapshot(*(final(n, speaker=f"speaker{n}") for n in (1, 2, 3)), events.SpeakerMerged(
        speaker="speaker3", into="speaker2"), MERGED, final(4, speaker="speaker3"))
    (one,) = snapshot.speakers
    assert (one.speaker, one.utterances, set(one.merged)) == ("speaker1", 4, {"speaker2", "speaker3"})


def test_commands_about_the_vanished_one_reach_the_person() -> None:
    """A client that has not noticed yet renames and opts out the one that is left."""
    state = SessionState()
    for event in (CREATED, final(1, speaker="speaker1"), final(2, speaker="speaker2"), MERGED):
        state.apply(event)
    assert event_of(RenameSpeaker(speaker="speaker2", name="Ann"), state) == events.SpeakerRenamed(
        speaker="speaker1", name="Ann"
    )
    opted_out = event_of(OptOutSpeaker(speaker="speaker2"), state)
    assert opted_out == events.SpeakerOptedOut(speaker="speaker1", opted_out=True)
    assert state.judgement_of("u2") == ("speaker1", "joy")
    assert isinstance(event_of(MarkMoment(), state), events.MomentMarked)


def test_a_late_joiner_gets_it_in_the_snapshot(call: Callable[..., FeedSession]) -> None:
    """`history=snapshot` over the real feed says who was merged into whom."""
    it = call()
    for event in (CREATED, final(1, speaker="speaker1"), final(2, speaker="speaker2"), MERGED):
        it.publisher.append(event)
    with Subscriber(it.feed.url, "?history=snapshot") as late:
        (snapshot,) = late.wait_for(1)
    assert isinstance(snapshot, events.Snapshot)
    assert [(s.speaker, s.utterances, s.merged) for s in snapshot.speakers] == [("speaker1", 2, ("speaker2",))]


@pytest.mark.parametrize("wanted", ["speaker1", "speaker2"])
def test_who_filters_by_either_hears_of_the_merge(wanted: str) -> None:
    """`speakers=` admits the merge for both, so that a client can ask anew."""
    chosen = parse_query(f"speakers={wanted}").filter
    assert chosen is not None
    assert chosen.admits_event(events.encode(MERGED))
    other = parse_query("speakers=speaker9").filter
    assert other is not None
    assert not other.admits_event(events.encode(MERGED))


@pytest.mark.parametrize("reopened", [False, True])
def test_opting_out_takes_the_words_said_under_both_ids(tmp_path: Path, reopened: bool) -> None:
    """Whoever opts out after the merge has no word left in the journal, even where it was reopened since."""
    journal = Journal(tmp_path / "a.jsonl")
    publisher = EventPublisher("s", journal=journal)
    for n, speaker in enumerate(("speaker1", "speaker2", "speaker3")):
        said = msgspec.structs.replace(FINAL, utterance_id=f"u{n}", speaker=speaker, text=f"Words of {speaker}.")
        publisher.append(said)
    publisher.append(MERGED)
    if reopened:
        publisher.close()
        publisher = EventPublisher("s", journal=Journal.reopen(journal.path))
    publisher.append(events.SpeakerOptedOut(speaker="speaker1", opted_out=True))
    publisher.close()
    words = [json.loads(line).get("text") for line in journal.path.read_bytes().splitlines()]
    assert [one for one in words if one] == ["Words of speaker3."]


def test_exports_and_the_list_know_one_person(tmp_path: Path) -> None:
    """Utterances of both carry the speaker that is left, under the name that people gave; so does the list."""
    told = [CREATED, final(1, speaker="speaker2"), final(2, speaker="speaker1"), MERGED]
    renamed = events.SpeakerRenamed(speaker="speaker1", name="Ann")
    there = fold_conversation(CREATED, [*told[1:], renamed])
    assert [(one.speaker, one.name) for one in there.utterances] == [("speaker1", "Ann")] * 2
    publisher = EventPublisher("s", journal=Journal(tmp_path / "01JMERGED00000000000000000.jsonl"))
    for event in told:
        publisher.append(event)
    publisher.close()
    assert list_sessions(tmp_path)[0].speakers == ("speaker1",)


def test_the_terminal_says_so() -> None:
    """A line tells that past lines were somebody else's, by the names that are shown."""
    out = StringIO()
    terminal = Terminal(Console(file=out, width=200))
    terminal.show(events.SpeakerRenamed(speaker="speaker1", name="Ann"))
    terminal.show(MERGED)
    terminal.show(final(1, speaker="speaker1"))
    lines = out.getvalue().splitlines()
    assert lines[1] == "speaker2 is Ann: what is shown above as speaker2 was said by Ann."
    assert "Ann" in lines[2]


def test_who_opted_out_stays_so_as_the_person_that_they_prove_to_be() -> None:
    """The merge with somebody who opted out opts the person out, and the model forgets both voices."""
    told: list[events.Logged] = []
    tracker = Steady()
    summary = Summary()
    call = CallInference(
        Scripted(),  # type: ignore[arg-type]
        tracker,  # type: ignore[arg-type]
        told.append,
        summary,
        provisional=Provisional(every_ms=0),
    )
    queue = InferenceQueue(LoadShedder(["provisional"]), told.append, summary, live=False)
    call.set_opted_out("speaker2", True)
    said = Utterance("mic", 0, 1000, 1400, np.zeros(16_000, np.float32), 0, cut=False)
    queue.post(partial(call.merge_speakers, "speaker2", "speaker1"))
    queue.enqueue(WorkItem("u1", said, "speaker2", None))
    queue.end()
    InferenceWorker(queue, call).run()
    merged, opted_out, discarded = told
    assert merged == MERGED
    assert opted_out == events.SpeakerOptedOut(speaker="speaker1", opted_out=True)
    assert isinstance(discarded, events.UtteranceDiscarded)
    assert set(tracker.forgotten) == {"speaker1", "speaker2"}
