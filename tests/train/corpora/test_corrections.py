"""Calls in which people corrected emotions, as material to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.miniature_corpora import LINES
from support.miniature_corrections import SESSIONS, SPEC, record

from core_models.checkpoint import load
from core_models.errors import UsageError
from core_models.labels import MELD7
from realtime.feed.publisher import EventPublisher
from realtime.journal.event_log import Journal
from realtime.protocol import events
from train.__main__ import main
from train.corpora.dialogues import Corpus
from train.corpora.registry import CorpusConfig, read_corpus
from train.data.config import DataConfig
from train.data.corpus_parts import read_corpora, split_dialogues
from train.extraction.extract import extract
from train.extraction.extractors import open_extractor


def corrections(root: Path, **options: str) -> Corpus:
    return read_corpus(CorpusConfig(corpus="corrections", root=root, **options))  # type: ignore[arg-type]


def test_corrected_utterances_have_a_label_and_the_others_are_context(tmp_path: Path) -> None:
    """One dialogue a session, in order, with words, times, speakers and the voices that were kept."""
    record(tmp_path, SESSIONS[0])
    record(tmp_path, SESSIONS[1], corrected=False)
    corpus = corrections(tmp_path)
    assert corpus.labels == MELD7
    (dialogue,) = corpus.dialogues
    assert dialogue.id == SESSIONS[0]
    expected = [emotion if n % 2 == 0 else None for n, emotion in enumerate(LINES)]
    assert [line.label for line in dialogue.utterances] == expected
    assert [line.text for line in dialogue.utterances] == [lines[0] for lines in LINES.values()]
    assert (dialogue.utterances[1].speaker, dialogue.utterances[1].start_ms, dialogue.utterances[1].end_ms) == (
        "ben",
        2000,
        3500,
    )
    vector = np.random.default_rng(0).normal(size=4).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(dialogue.utterances[0].recorded["voice"].vector, vector)


def test_merged_speakers_are_one_and_who_opted_out_is_not_there(tmp_path: Path) -> None:
    """The past of a merged voice is the person's; nothing of who opted out is trained on, whatever it was called."""
    path = record(tmp_path, SESSIONS[0])
    publisher = EventPublisher(SESSIONS[0], journal=Journal.reopen(path))
    publisher.append(events.SpeakerMerged(speaker="carol", into="ann"))
    publisher.close()
    assert {line.speaker for line in corrections(tmp_path).utterances()} == {"ann", "ben"}
    publisher = EventPublisher(SESSIONS[0], journal=Journal.reopen(path))
    publisher.append(events.SpeakerOptedOut(speaker="ann", opted_out=True))
    publisher.append(events.EmotionCorrected(utterance_id="u1", speaker="ben", from_="neutral", to="joy"))
    publisher.close()
    left = [(line.speaker, line.label) for line in corrections(tmp_path).utterances()]
    assert left == [("ben", "joy"), ("ben", "surprise")]


def test_sessions_of_other_labels_are_mapped(tmp_path: Path) -> None:
    """The latest session's set is the corpus's, or the one that is asked for; the map is the project's."""
    record(tmp_path, SESSIONS[0], labels="iemocap6")
    record(tmp_path, SESSIONS[1])
    assert [d.utterances[0].label for d in corrections(tmp_path).dialogues] == ["joy", "neutral"]
    assert corrections(tmp_path, labels="iemocap6").labels.name == "iemocap6"


def test_a_folder_without_corrections_says_what_to_do(tmp_path: Path) -> None:
    """Nothing to learn from is refused in one sentence."""
    record(tmp_path, SESSIONS[0], corrected=False)
    with pytest.raises(UsageError, match="Nothing was corrected"):
        corrections(tmp_path)


def test_one_session_cannot_be_validated_on_itself(tmp_path: Path) -> None:
    """A single dialogue is refused rather than left without anything to train on."""
    record(tmp_path, SESSIONS[0])
    data = DataConfig(train=CorpusConfig(corpus="corrections", root=tmp_path))
    with pytest.raises(UsageError, match="one dialogue alone"):
        split_dialogues(read_corpora(data), data)


@pytest.mark.weights
def test_features_of_another_kind_are_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A voice that was kept under another spec is no voice of this run (contract 1)."""
    record(tmp_path, SESSIONS[0])
    extractor = open_extractor("voice", "whisper-tiny.en", None)
    extracted = extract(corrections(tmp_path), extractor, tmp_path / "store")
    assert extracted.vectors == {}
    assert len(extracted.broken) == len(LINES)
    assert SPEC.describe().split("{")[0] in " ".join(capsys.readouterr().err.split())


@pytest.mark.weights
def test_corrections_train_a_model(tmp_path: Path) -> None:
    """`train fit` takes the words of the journals and the voices that the sessions kept, and writes a checkpoint."""
    voice = open_extractor("voice", "whisper-tiny.en", None)
    for session in SESSIONS:
        record(tmp_path / "calls", session, voice.spec)
    arguments = ["--data.train.corpus=corrections", f"--data.train.root={tmp_path / 'calls'}"]
    arguments += ["--features.voice=whisper-tiny.en", "--features.face=null", f"--data.store={tmp_path / 'store'}"]
    small = ["--model.width=16", "--model.heads=2", "--model.feed-forward=16", "--threads=1", "--device=cpu"]
    runs = [f"--runs={tmp_path}", f"--export={tmp_path / 'out'}", "--epochs=2", "--batch=2"]
    assert main(["fit", *arguments, *small, *runs]) == 0
    checkpoint = load(tmp_path / "out")
    assert checkpoint.sidecar.features["voice"] == voice.spec
    (counts,) = (part for key, part in checkpoint.sidecar.record["data"].items() if key == "corrections")
    assert counts["with voice"] == len(LINES) * len(SESSIONS)
