"""One's own recordings, and the community's feature files: what they hold comes out, and errors say where."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core_models.checkpoint import Checkpoint, Sidecar
from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import FeatureSpec
from core_models.labels import EMORYNLP7, IEMOCAP6, MELD7
from train.corpora.folder import read_folder
from train.corpora.registry import CorpusConfig, read_corpus
from train.extraction.imported_features import read_imported

HEADER = "path,start,end,speaker,label,text,dialogue\n"


def write_csv(folder: Path, *rows: str, header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("a.wav", "b.mp4", "notes.txt"):
        (folder / name).touch()
    (folder / "lines.csv").write_text(header + "\n".join(rows), encoding="utf-8")
    return folder


def test_rows_are_spans_of_recordings(tmp_path: Path) -> None:
    """Seconds become spans of the file, a film has picture too, rows of one dialogue stand together."""
    rows = (
        'a.wav,0.5,2,me,joy,"Yes, really.",call',
        "a.wav,,,you,,,",
        "b.mp4,1,2.25,you,anger,,call",
        ",,,me,neutral,Well.,call",
    )
    corpus = read_corpus(CorpusConfig(corpus="folder", root=write_csv(tmp_path, *rows)))
    call, alone = corpus.dialogues
    yes, angry, well = call.utterances
    assert (call.id, alone.id, corpus.labels) == ("call", "a.wav", MELD7)
    assert (yes.text, yes.label, yes.audio, yes.audio_span) == ("Yes, really.", "joy", tmp_path / "a.wav", (500, 2000))
    assert (yes.video, angry.video, angry.video_span) == (None, tmp_path / "b.mp4", (1000, 2250))
    assert (alone.utterances[0].audio_span, alone.utterances[0].label) == (None, None)
    assert (well.audio, well.text) == (None, "Well.")


@pytest.mark.parametrize(
    ("delimiter", "encoding", "end"),
    [(";", "utf-8-sig", "\r\n"), ("\t", "utf-16", "\r\n"), (",", "utf-8", "\n"), (";", "utf-8", "\n")],
    ids=["semicolons and a mark", "unicode text", "as the README says", "semicolons"],
)
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    """Semicolons, tabs, marks at the beginning, line ends of Windows, commas in decimals: the same corpus."""
    (tmp_path / "a.wav").touch()
    decimal = "0,5" if delimiter == ";" else "0.5"
    rows = [
        ["path", "start", "end", "speaker", "label", "text"],
        ["a.wav", decimal, "2", "me", "joy", '"Yes; really, naïve."'],
    ]
    text = end.join(delimiter.join(row) for row in rows) + end
    (tmp_path / "own.csv").write_bytes(text.encode(encoding))
    (utterance,) = read_folder(tmp_path).dialogues[0].utterances
    assert (utterance.text, utterance.audio_span) == ("Yes; really, naïve.", (500, 2000))


def test_label_set_is_the_first_that_knows_all_labels(tmp_path: Path) -> None:
    """The set is found by its names, or given; names of several sets are refused."""
    root = write_csv(tmp_path, "a.wav,,,me,frustrated,,", "a.wav,,,me,neutral,,")
    assert read_folder(root).labels == IEMOCAP6
    root = write_csv(tmp_path, "a.wav,,,me,neutral,,")
    assert read_folder(root).labels == MELD7
    assert read_corpus(CorpusConfig(corpus="folder", root=root, labels="emorynlp7")).labels == EMORYNLP7
    with pytest.raises(UsageError, match="gloomy, joy.*meld7"):
        read_folder(write_csv(tmp_path, "a.wav,,,me,joy,,", "a.wav,,,me,gloomy,,"))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("c.wav,0,1,me,joy,,", "row 3 .*no .*c.wav"),
        ("notes.txt,0,1,me,joy,,", "row 3 .*neither a sound nor a film"),
        ("a.wav,2,1,me,joy,,", "row 3 .*no span of seconds"),
        ("a.wav,0,,me,joy,,", "row 3 .*no span"),
        ("a.wav,nan,inf,me,joy,,", "row 3 .*no span"),
        ("a.wav,-1,1,me,joy,,", "row 3 .*no span"),
        ("a.wav,0,1,,joy,,", "row 3 .*no speaker"),
        (",,,me,joy,,call", "row 3 .*neither a path nor text"),
        (",,,me,joy,Hm.,", "row 3 .*neither a path nor a dialogue"),
        ("a.wav,0,1,me,joy", "row 3 has another number of fields"),
        ('a.wav,0,1,me,joy,"open', "CSV"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: str, sentence: str) -> None:
    """One bad row ends reading with its number and what is wrong in it."""
    with pytest.raises(UsageError, match=sentence) as refusal:
        read_folder(write_csv(tmp_path, "a.wav,0,1,me,joy,,", row))
    assert "\n" not in str(refusal.value)


def test_a_folder_without_its_csv_is_one_sentence(tmp_path: Path) -> None:
    """No CSV, two of them, and one without the columns are named."""
    with pytest.raises(UsageError, match="holds 0 CSV files"):
        read_folder(tmp_path)
    with pytest.raises(UsageError, match="no column speaker"):
        read_folder(write_csv(tmp_path, "a.wav,0,1", header="path,start,end\n"))
    (tmp_path / "more.csv").touch()
    with pytest.raises(UsageError, match="holds 2 CSV files"):
        read_folder(tmp_path)


def features(name: str, voice: int) -> tuple[Any, ...]:
    """A feature file of two training dialogues and one of test, of 2 turns each, as Python 2 laid it out."""
    rng = np.random.default_rng(0)
    keys: list[Any] = ["Ses01F_impro01", "Ses02M_script01_1", "Ses05F_impro01"] if name == "iemocap" else [0, 1, 1153]
    speakers: list[Any] = ["F", "M"] if name == "iemocap" else np.eye(9, dtype=int)[:2].tolist()
    ids = {k: [f"{k}_F000", f"{k}_M000"] if name == "iemocap" else [0, 1] for k in keys}

    def vectors(width: int) -> dict[Any, list[Any]]:
        return {k: [rng.normal(size=width).astype(np.float32) for _ in range(2)] for k in keys}

    items: tuple[Any, ...] = (
        ids, dict.fromkeys(keys, speakers), {k: [4, np.int64(1)] for k in keys}, vectors(8), vectors(8), vectors(8),
        vectors(8), vectors(voice), {k: rng.normal(size=(2, 3)) for k in keys}, {k: ["Hm. ", "Ah."] for k in keys},
        set(keys[:2]), keys[2:],
    )  # fmt: skip
    return items if name == "iemocap" else (*items, {})


@pytest.mark.parametrize(("name", "labels"), [("iemocap", ["excited", "sad"]), ("meld", ["joy", "surprise"])])
def test_feature_files_hold_words_labels_and_vectors(tmp_path: Path, name: str, labels: list[str]) -> None:
    """The pickles of 12 and 13 items give dialogues by split, and vectors of each modality by line."""
    path, items = tmp_path / "f.pkl", features(name, 5)
    path.write_bytes(pickle.dumps(items, 2))
    train = read_corpus(CorpusConfig(corpus=name, root=path, split="train"))  # type: ignore[arg-type]
    test = read_corpus(CorpusConfig(corpus=name, root=path, split="test"))  # type: ignore[arg-type]
    assert (len(train.dialogues), len(test.dialogues)) == (2, 1)
    line = train.dialogues[1].utterances[0]
    assert [x.label for x in train.dialogues[1].utterances] == labels
    assert (line.text, line.speaker) == ("Hm.", "F" if name == "iemocap" else "speaker 0")
    key = items[-2 if name == "iemocap" else -3]
    key = sorted(key)[1]
    for modality, item, width in (("text", 3, 8), ("voice", 7, 5), ("face", 8, 3)):
        spec, vectors = read_imported(path, modality)
        assert (spec.dimension, spec.settings, len(vectors)) == (width, {"imported": True}, 6)
        np.testing.assert_allclose(vectors[line.id], np.asarray(items[item][key][0], np.float32))
    if name == "iemocap":
        assert (line.id, train.dialogues[1].group, train.dialogues[1].style) == (
            "Ses02M_script01_1_F000", "2", "scripted",
        )  # fmt: skip
        with pytest.raises(UsageError, match="features of iemocap"):
            read_corpus(CorpusConfig(corpus="meld", root=path))


@pytest.mark.parametrize("spoil", ["items", "lengths", "label", "keys"])
def test_feature_files_laid_out_otherwise_are_refused(tmp_path: Path, spoil: str) -> None:
    """A pickle of another layout ends in one sentence that says which was expected."""
    items = list(features("iemocap", 5))
    if spoil == "items":
        items = items[:9]
    elif spoil == "lengths":
        items[9]["Ses01F_impro01"] = ["Only one."]
    elif spoil == "label":
        items[2]["Ses01F_impro01"] = [6, 0]
    else:
        del items[7]["Ses05F_impro01"]
    path = tmp_path / "f.pkl"
    path.write_bytes(pickle.dumps(items, 2))
    with pytest.raises(UsageError, match="not laid out as the community's .*12 items"):
        read_corpus(CorpusConfig(corpus="iemocap", root=path))


def test_imported_features_are_named_after_their_file(tmp_path: Path) -> None:
    """An npz gives float32 vectors by line; other lines of the same feature have the same spec."""
    for folder, ids in (("a", ["x", "y"]), ("b", ["z", "w"])):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "gemaps47.npz", utt_id=np.array(ids), feat=np.arange(6.0).reshape(2, 3))
    spec, vectors = read_imported(tmp_path / "a" / "gemaps47.npz", "voice")
    assert (spec.name, spec.modality, spec.dimension, spec.settings["imported"]) == ("gemaps47", "voice", 3, True)
    assert vectors["y"].dtype == np.float32
    np.testing.assert_array_equal(vectors["y"], [3, 4, 5])
    assert read_imported(tmp_path / "b" / "gemaps47.npz", "voice")[0] == spec


@pytest.mark.parametrize(
    "arrays",
    [
        {"utt_id": np.array(["a"])},
        {"utt_id": np.array(["a", "b"]), "feat": np.ones((1, 3))},
        {"utt_id": np.array(["a", "a"]), "feat": np.ones((2, 3))},
        {"utt_id": np.array(["a"]), "feat": np.full((1, 3), np.nan)},
        {"utt_id": np.array([1]), "feat": np.ones((1, 3))},
        {"utt_id": np.array(["a"], dtype=object), "feat": np.ones((1, 3))},
        {"utt_id": np.array(["a"]), "feat": np.array([["x"]])},
    ],
)
def test_imported_features_that_cannot_be_used_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    """A file without names, rows or finite numbers is named in one sentence."""
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(UsageError, match=r"f\.npz") as refusal:
        read_imported(tmp_path / "f.npz", "voice")
    assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match="cannot be read as features"):
        read_imported(tmp_path / "none.npz", "voice")


def test_live_features_are_refused_by_a_checkpoint_of_imported_ones(tmp_path: Path) -> None:
    """A live run on such a checkpoint ends in one sentence that names both features."""
    np.savez(tmp_path / "gemaps47.npz", utt_id=np.array(["x"]), feat=np.ones((1, 47)))
    spec, _ = read_imported(tmp_path / "gemaps47.npz", "voice")
    sidecar = Sidecar(model="sdt", config={}, labels="iemocap6", features={"voice": spec}, window=1)
    checkpoint = Checkpoint("iemocap-gemaps", None, sidecar, "")  # type: ignore[arg-type]
    live = FeatureSpec(modality="voice", name="whisper-base-statistics", version=1, dimension=1024, digest="ab" * 32)
    with pytest.raises(CheckpointError, match=r"gemaps47 v1 47-d .*imported=True.*whisper-base-statistics") as refusal:
        checkpoint.require({"voice": live})
    assert "\n" not in str(refusal.value)
    checkpoint.require({"voice": read_imported(tmp_path / "gemaps47.npz", "voice")[0]})


@pytest.mark.corpora
def test_gemaps_has_a_vector_of_every_turn_of_iemocap(corpora: Path) -> None:
    """The file of 47 descriptors names its vectors as the corpus names its turns."""
    spec, vectors = read_imported(corpora / "iemocap" / "gemaps47.npz", "voice")
    corpus = read_corpus(CorpusConfig(corpus="iemocap", root=corpora / "iemocap" / "IEMOCAP_full_release"))
    assert spec.dimension == 47
    assert {line.id for line in corpus.utterances()} <= vectors.keys()
