"""Features that a session keeps, and another model's opinion of them."""

from __future__ import annotations

import os
import stat
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from rich.console import Console
from support.sample_events import CREATED, final

from core_models.checkpoint import Sidecar, load, save, sidecar_config
from core_models.errors import CheckpointError, UsageError
from core_models.feature_log import FeatureRecorder, features_path, read
from core_models.feature_spec import FeatureSpec
from core_models.networks.sdt import SDT, SDTConfig
from realtime.cli.terminal import Terminal
from realtime.dialogue.tracker import Tracker
from realtime.export import export
from realtime.export import load as load_conversation
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.journal.reader import read_events as events_of
from realtime.journal.session_files import delete_older_than, delete_session
from realtime.protocol import events
from realtime.protocol.probabilities import validate
from realtime.review.rescoring import build_rescorer

SESSION = "01JRESCRE00000000000000000"
VOICE = FeatureSpec(modality="voice", name="made-up", version=1, dimension=6, digest="ab" * 32)
OTHER = msgspec.structs.replace(VOICE, digest="cd" * 32)
SAID = [(f"u{n}", ("ann", "ben")[n % 2], np.random.default_rng(n).normal(size=6).astype(np.float32)) for n in range(6)]


def checkpoint(folder: Path, spec: FeatureSpec) -> Path:
    """A small, untrained dialogue model that takes `spec`."""
    torch.manual_seed(0)
    config = SDTConfig(dimensions={"voice": 6}, classes=7, width=16, heads=2, feed_forward=16, window=8)
    save(
        folder,
        SDT(config),
        Sidecar(
            model="sdt", config=sidecar_config(config), labels="meld7", features={"voice": spec}, window=8
        ),
    )
    return folder


@pytest.fixture
def publisher(tmp_path: Path) -> EventPublisher:
    """A session of six utterances that keeps its features."""
    journal = Journal(tmp_path / f"{SESSION}.jsonl")
    features = FeatureRecorder(features_path(journal.path), {"voice": VOICE})
    made = EventPublisher(SESSION, journal=journal, features=features)
    made.append(CREATED)
    for number, (name, speaker, vector) in enumerate(SAID):
        made.keep_features(name, speaker, {"voice": vector})
        made.append(msgspec.structs.replace(final(number + 1, speaker=speaker), utterance_id=name))
    return made


def test_features_lie_beside_the_journal_for_its_owner_alone(publisher: EventPublisher, tmp_path: Path) -> None:
    """A file of mode 0600 gives back what was kept, in float16, with its specs; a torn last line costs that line."""
    path = features_path(tmp_path / f"{SESSION}.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = read(path)
    assert kept is not None
    assert kept.specs == {"voice": VOICE}
    for name, _, vector in SAID:
        np.testing.assert_array_equal(kept.utterances[name]["voice"], vector.astype(np.float16).astype(np.float32))
    os.truncate(path, path.stat().st_size - 3)
    torn = read(path)
    assert torn is not None
    assert list(torn.utterances) == [name for name, *_ in SAID[:-1]]


def test_who_opts_out_leaves_no_features(publisher: EventPublisher, tmp_path: Path) -> None:
    """Theirs are taken out, also those under an id that proved to be theirs; none is kept until they come back."""
    publisher.append(events.SpeakerMerged(speaker="carol", into="ben"))
    publisher.keep_features("u7", "carol", {"voice": SAID[0][2]})
    publisher.append(events.SpeakerOptedOut(speaker="ben", opted_out=True))
    publisher.keep_features("u8", "ben", {"voice": SAID[0][2]})
    kept = read(features_path(tmp_path / f"{SESSION}.jsonl"))
    assert kept is not None
    assert list(kept.utterances) == [name for name, speaker, _ in SAID if speaker == "ann"]
    publisher.append(events.SpeakerOptedOut(speaker="ben", opted_out=False))
    publisher.keep_features("u9", "ben", {"voice": SAID[0][2]})
    again = read(features_path(tmp_path / f"{SESSION}.jsonl"))
    assert again is not None
    assert "u9" in again.utterances


def test_words_that_are_not_kept_leave_no_features_either(tmp_path: Path) -> None:
    """With `words` false the vectors of words are not stored, the voice's are."""
    path = tmp_path / "a.features.jsonl"
    publisher = EventPublisher("s", words=False, features=FeatureRecorder(path, {"voice": VOICE}))
    publisher.keep_features("u1", "ann", {"voice": SAID[0][2], "text": SAID[1][2]})
    kept = read(path)
    assert kept is not None
    assert list(kept.utterances["u1"]) == ["voice"]


@pytest.mark.parametrize("way", ["delete", "sweep"])
def test_features_go_with_their_journal(publisher: EventPublisher, tmp_path: Path, way: str) -> None:
    """`journal delete` and the retention time leave nothing of a session."""
    publisher.close()
    assert len(list(tmp_path.iterdir())) == 2
    if way == "delete":
        delete_session(tmp_path, SESSION)
    else:
        os.utime(tmp_path / f"{SESSION}.jsonl", (0, 0))
        delete_older_than(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_second_opinion_is_what_the_model_would_have_said_live(publisher: EventPublisher, tmp_path: Path) -> None:
    """Each final carries, beside what was said then, a step of the other model over the stored features, in order."""
    publisher.close()
    folder = checkpoint(tmp_path / "other", VOICE)
    journal = tmp_path / f"{SESSION}.jsonl"
    told = list(map(build_rescorer(journal, str(folder)), events_of(journal)))
    finals = [event for event in told if isinstance(event, events.EmotionFinal)]
    tracker = Tracker(load(folder))
    for event, (_, speaker, vector) in zip(finals, SAID, strict=True):
        expected = tracker.step(speaker, {"voice": vector.astype(np.float16).astype(np.float32)})
        assert event.rescored is not None
        assert (event.emotion, event.rescored.emotion, event.rescored.checkpoint) == ("joy", expected.emotion, "other")
        assert event.rescored.probabilities == pytest.approx(expected.probabilities)
    out = StringIO()
    Terminal(Console(file=out, width=200)).show(finals[0])
    assert finals[0].rescored is not None
    assert f"other: {finals[0].rescored.emotion}" in out.getvalue()
    rows = export(load_conversation(tmp_path / f"{SESSION}.jsonl", str(folder)), "csv").decode().splitlines()
    assert "rescored,rescored_confidence" in rows[0]
    assert f",{finals[0].rescored.emotion},{finals[0].rescored.confidence}" in rows[1]
    assert b"<small>other: " in export(load_conversation(tmp_path / f"{SESSION}.jsonl", str(folder)), "html")


def test_the_wire_rounds_a_second_opinion_like_the_first(publisher: EventPublisher, tmp_path: Path) -> None:
    """Its probabilities have four decimals and sum to 1, its confidence is that of its emotion."""
    opinion = events.Opinion(
        checkpoint="other", emotion="joy", confidence=2 / 3, probabilities={"joy": 2 / 3, "anger": 1 / 3}
    )
    told: list[events.Logged] = []
    publisher.add_view(told.append)
    publisher.append(msgspec.structs.replace(final(1), rescored=opinion))
    (event,) = told
    assert isinstance(event, events.EmotionFinal)
    assert event.rescored == events.Opinion(
        checkpoint="other", emotion="joy", confidence=0.6667, probabilities={"joy": 0.6667, "anger": 0.3333}
    )
    validate(event)


def test_other_features_than_those_of_training_are_refused(publisher: EventPublisher, tmp_path: Path) -> None:
    """One sentence names both specs (contract 1)."""
    publisher.close()
    folder = checkpoint(tmp_path / "other", OTHER)
    with pytest.raises(CheckpointError) as refused:
        build_rescorer(tmp_path / f"{SESSION}.jsonl", str(folder))
    assert VOICE.describe() in str(refused.value)
    assert OTHER.describe() in str(refused.value)


def test_a_session_without_features_says_what_to_do(tmp_path: Path) -> None:
    """Where none were kept the sentence names the option that keeps them."""
    with pytest.raises(UsageError, match="--store-features"):
        build_rescorer(tmp_path / f"{SESSION}.jsonl", "default")


def test_a_disk_that_takes_no_features_does_not_end_the_call(tmp_path: Path) -> None:
    """Nothing half written is left; the error is the caller's to announce."""
    recorder = FeatureRecorder(tmp_path / "nowhere" / "a.features.jsonl", {"voice": VOICE})
    with pytest.raises(OSError, match="No such file"):
        recorder.keep("u1", "ann", {"voice": SAID[0][2]})
