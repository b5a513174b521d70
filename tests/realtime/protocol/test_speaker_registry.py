"""Who the speakers of a session are, by the same rules wherever somebody asks: the kinds of answer side by side."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.sample_events import CREATED, FINAL, final, fold_snapshot

from realtime.cli.terminal import Terminal
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.journal.session_list import list_sessions
from realtime.protocol import events
from realtime.protocol.speaker_registry import SpeakerRegistry
from realtime.review.conversation import fold_conversation

SESSION = "01JSPEAKERS000000000000000"

# Three ids of one person, of which only the first was ever judged, and a name given under an id that was merged away.
CHAIN: list[events.Logged] = [
    CREATED,
    final(1, speaker="speaker3"),
    events.SpeakerMerged(speaker="speaker3", into="speaker2"),
    events.SpeakerMerged(speaker="speaker2", into="speaker1"),
    events.SpeakerRenamed(speaker="speaker3", name="Ann"),
]


def record(folder: Path, told: list[events.Logged]) -> Path:
    journal = Journal(folder / f"{SESSION}.jsonl")
    publisher = EventPublisher(SESSION, journal=journal)
    for event in told:
        publisher.append(event)
    publisher.close()
    return journal.path


def test_snapshot_export_list_and_terminal_name_one_person(tmp_path: Path) -> None:
    """A chain of merges, and a name given under an id that has gone, lead every view to the same speaker."""
    record(tmp_path, CHAIN)
    snapshot = fold_snapshot(*CHAIN)
    assert [(one.speaker, one.name, one.utterances) for one in snapshot.speakers] == [("speaker1", "Ann", 1)]
    (utterance,) = fold_conversation(CREATED, CHAIN[1:]).utterances
    assert (utterance.speaker, utterance.name) == ("speaker1", "Ann")
    assert list_sessions(tmp_path)[0].speakers == ("Ann",)
    out = StringIO()
    terminal = Terminal(Console(file=out, width=200))
    for event in [*CHAIN, final(2, speaker="speaker1")]:
        terminal.show(event)
    assert "Ann" in out.getvalue().splitlines()[-2]


def test_a_circle_of_merges_is_one_speaker() -> None:
    """A journal that merges two speakers into each other is read, and has one of them."""
    circle = [events.SpeakerMerged(speaker=a, into=b) for a, b in (("speaker1", "speaker2"), ("speaker2", "speaker1"))]
    (utterance,) = fold_conversation(CREATED, [final(1, speaker="speaker1"), *circle]).utterances
    assert utterance.speaker == "speaker2"


def test_a_correction_stands_whatever_the_model_says_later() -> None:
    """A later revision of a corrected utterance replaces its words, not what a person said of it, in every view."""
    told = [
        final(1, "joy"),
        events.EmotionCorrected(utterance_id="u1", speaker="ann", from_="joy", to="anger"),
        final(1, "neutral", revision=2),
    ]
    assert fold_snapshot(*told).speakers[0].trend[0].emotion == "anger"
    (utterance,) = fold_conversation(CREATED, told).utterances
    assert (utterance.emotion, utterance.judged) == ("anger", "neutral")


@pytest.mark.parametrize("merged", [False, True])
def test_who_opted_out_stays_so_when_the_journal_is_reopened(tmp_path: Path, merged: bool) -> None:
    """A process that goes on with a journal writes no words of those who had opted out before, by whatever id."""
    opted_out = events.SpeakerOptedOut(speaker="speaker1", opted_out=True)
    told: list[events.Logged] = [final(1, speaker="speaker1"), opted_out]
    if merged:
        told.append(events.SpeakerMerged(speaker="speaker1", into="speaker2"))
    path = record(tmp_path, told)
    publisher = EventPublisher(SESSION, journal=Journal.reopen(path))
    later = msgspec.structs.replace(FINAL, speaker="speaker2" if merged else "speaker1", text="Hush now.")
    publisher.append(later)
    publisher.close()
    assert b"Hush now." not in path.read_bytes()


people = st.sampled_from(["a", "b", "c", "d"])
changes = st.lists(
    st.one_of(
        st.builds(events.SpeakerMerged, speaker=people, into=people),
        st.builds(events.SpeakerRenamed, speaker=people, name=st.sampled_from(["A", "B"])),
        st.builds(events.SpeakerOptedOut, speaker=people, opted_out=st.booleans()),
        st.builds(final, st.integers(1, 6), speaker=people),
    ),
    max_size=25,
)


@given(changes=changes)
def test_ids_that_were_merged_are_one_for_good(changes: list[events.Logged]) -> None:
    """Merged ids answer alike ever after, every id leads to a speaker that is left, and a fork goes its own way."""
    registry, pairs = SpeakerRegistry(), []
    for event in changes:
        registry.apply(event)
        if isinstance(event, events.SpeakerMerged):
            pairs.append((event.speaker, event.into))
        for one, other in pairs:
            assert registry.resolve_speaker(one) == registry.resolve_speaker(other)
            assert registry.shown_name(one) == registry.shown_name(other)
            assert registry.has_opted_out(one) == registry.has_opted_out(other)
    for speaker in registry.speakers:
        assert registry.resolve_speaker(speaker) == speaker
        assert all(registry.resolve_speaker(gone) == speaker for gone in registry.merged_ids(speaker))
    fork = registry.fork()
    fork.apply(events.SpeakerRenamed(speaker="a", name="C"))
    assert registry.given_name("a") != "C"
