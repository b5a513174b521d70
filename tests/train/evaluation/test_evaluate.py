"""Evaluation: what is counted, under whose prior, against what, and under which names."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from support.miniature_corpora import Miniature

from core_models.checkpoint import load, save
from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import FeatureSpec
from train.__main__ import configuration, main
from train.corpora.meld import read_meld
from train.corpora.ravdess import read_ravdess
from train.data.dialogue_layout import DialogueLayout
from train.data.dialogue_tensors import TensorDialogue, to_tensors
from train.evaluation.evaluate import evaluate
from train.evaluation.inference import predict
from train.evaluation.predictions import temperatures_of
from train.evaluation.results import Result, Summary
from train.evaluation.unimodal_classifiers import open_checkpoint
from train.extraction.extract import extract
from train.extraction.extractors import extractor_of
from train.extraction.imported_features import read_imported

pytestmark = pytest.mark.weights


def measured(miniature: Miniature, checkpoint: Path | str, corpus: str, *options: str) -> Result:
    places = [f"--checkpoint={checkpoint}", f"--root={getattr(miniature, corpus)}", f"--store={miniature.store}"]
    _, config = configuration(["eval", f"--corpus={corpus}", *places, *options])
    result = evaluate(config)
    assert isinstance(result, Result)
    return result


def test_json_says_what_was_measured(
    miniature: Miniature, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json -` puts one object on standard output and nothing else, with every score and how it came about."""
    options = ["--corpus=meld", f"--root={miniature.meld}", "--split=dev", f"--store={miniature.store}"]
    assert main(["eval", f"--checkpoint={checkpoint}", *options, "--json=-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {
        *("corpus", "split", "n", "weighted_f1", "macro_f1", "accuracy", "uar", "ece"),
        *("label_map", "left_out", "modalities_used", "per_class_f1", "confusion", "breakdown"),
    }
    assert result["n"] == sum(sum(row) for row in result["confusion"]) == 34
    assert result["modalities_used"] == ["text"]
    assert result["left_out"] == {}
    assert result["context"] == "causal, window 32"
    assert result["digest"] == load(checkpoint).digest


def test_only_the_modalities_named_are_used(miniature: Miniature, checkpoint: Path) -> None:
    """RAVDESS has words and sound; asked for the voice, the words are masked, and the scores differ."""
    both = measured(miniature, checkpoint, "ravdess", "--subset=actors=5")
    voice = measured(miniature, checkpoint, "ravdess", "--subset=actors=5", "--modalities=voice")
    assert both.modalities_used == ("text", "voice")
    assert voice.modalities_used == ("voice",)
    assert both.n == voice.n == 8
    assert not {"modalities", "missing"} & set(both.breakdown)
    assert both.ece != voice.ece
    with pytest.raises(UsageError, match="smell"):
        measured(miniature, checkpoint, "ravdess", "--modalities=smell")


def test_uniform_prior_takes_out_the_learnt_one(miniature: Miniature, checkpoint: Path) -> None:
    """A model that says only what its prior says finds every class alike under the uniform prior."""
    trained = load(checkpoint)
    prior = torch.tensor(trained.sidecar.record["prior"])
    for parameter in trained.model.classifier.parameters():
        parameter.zero_()
    trained.model.classifier.bias.copy_(prior.log())
    folder = checkpoint.parent / "prior"
    save(folder, trained.model, msgspec.structs.replace(trained.sidecar, temperature={}))
    kept, taken = (
        measured(miniature, folder, "ravdess", "--modalities=voice", f"--prior={name}")
        for name in ("checkpoint", "uniform")
    )
    shares = torch.tensor([sum(row) for row in kept.confusion]) / kept.n
    assert kept.confusion[0][0] == sum(kept.confusion[0])  # neutral is MELD's most frequent
    assert kept.ece == pytest.approx(abs(float(prior.max() - shares[0])), abs=2e-3)
    assert taken.ece == pytest.approx(abs(1 / 7 - taken.accuracy), abs=2e-3)


def test_train_prior_is_that_of_the_corpus(miniature: Miniature, checkpoint: Path) -> None:
    """A model that knows nothing says under the prior of the training part how frequent the classes are in it."""
    trained = load(checkpoint)
    for parameter in trained.model.classifier.parameters():
        parameter.zero_()
    folder = checkpoint.parent / "unknowing"
    record = trained.sidecar.record | {"prior": [1 / 7] * 7}
    save(folder, trained.model, msgspec.structs.replace(trained.sidecar, temperature={}, record=record))
    counts = Counter(line.label for line in read_meld(miniature.meld, "train").utterances())
    ((most, often),) = counts.most_common(1)
    said = measured(miniature, folder, "meld", "--split=dev", "--prior=train")
    assert all(row[said.labels.index(str(most))] == sum(row) for row in said.confusion)
    assert said.ece == pytest.approx(abs(often / counts.total() - said.accuracy), abs=2e-3)
    with pytest.raises(UsageError, match="training part"):
        measured(miniature, folder, "ravdess", "--modalities=voice", "--prior=train")
    rest = measured(miniature, folder, "ravdess", "--subset=actors=5", "--modalities=voice", "--prior=train")
    counts = Counter(line.label for line in read_ravdess(miniature.ravdess, {1, 2, 17}).utterances())
    ((most, often),) = counts.most_common(1)
    assert rest.ece == pytest.approx(abs(often / counts.total() - rest.accuracy), abs=2e-3)
    plan = ["--plan=lopo", "--fold=without actor 5"]
    fold = measured(miniature, folder, "ravdess", *plan, "--modalities=voice", "--prior=train")
    assert fold.ece == rest.ece


def test_temperature_is_that_of_each_pattern(miniature: Miniature, checkpoint: Path) -> None:
    """An utterance's logits are divided by the temperature of the modalities that it has itself."""
    trained = load(checkpoint)
    sidecar = msgspec.structs.replace(trained.sidecar, temperature={"text": 2.0, "text+voice": 3.0})
    present = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.bool)
    features = {m: torch.zeros(4, d) for m, d in trained.model.config.dimensions.items()}
    zeros = torch.zeros(4, dtype=torch.long)
    dialogue = TensorDialogue("x", features, present, zeros, zeros, torch.zeros(7))
    assert temperatures_of(replace(trained, sidecar=sidecar), [dialogue]).tolist() == [2.0, 3.0, 1.0]
    assert len(predict(trained.model, [dialogue])[0]) == 3


def test_evaluation_follows_the_live_step(miniature: Miniature, checkpoint: Path) -> None:
    """The logits that are scored are those that `step` gives utterance by utterance."""
    trained = load(checkpoint)
    corpus = read_meld(miniature.meld, "dev")
    vectors = {"text": extract(corpus, extractor_of(trained.sidecar.features["text"]), miniature.store).vectors}
    layout = DialogueLayout.of(trained.sidecar.record)
    dialogues = to_tensors(layout.arrange_corpus(corpus), vectors, trained.model.config.dimensions, 9, layout)
    logits, _ = predict(trained.model, dialogues)
    stepped = []
    for dialogue in dialogues:
        state = trained.model.initial_state(1)
        for row in range(len(dialogue)):
            features = {m: x[row : row + 1] for m, x in dialogue.features.items()}
            output, state = trained.model.step(
                features, dialogue.present[row : row + 1], dialogue.speakers[row : row + 1], state
            )
            stepped.append(output.logits)
    torch.testing.assert_close(logits, torch.cat(stepped), atol=1e-5, rtol=0)


def test_features_of_another_spec_are_refused(miniature: Miniature, checkpoint: Path) -> None:
    """A checkpoint whose text feature is not the one that the weights at hand make is not scored."""
    trained = load(checkpoint)
    text = msgspec.structs.replace(trained.sidecar.features["text"], digest="0" * 64)
    sidecar = msgspec.structs.replace(trained.sidecar, features=trained.sidecar.features | {"text": text})
    folder = checkpoint.parent / "foreign"
    save(folder, trained.model, sidecar)
    with pytest.raises(CheckpointError, match="00000000"):
        measured(miniature, folder, "meld", "--split=dev")


@pytest.mark.parametrize(
    ("corpus", "options", "told"),
    [
        ("meld", [], "--split"),
        ("meld", ["--split=half"], "half"),
        ("meld", ["--split=dev", "--subset=actors=1"], "--subset"),
        ("ravdess", ["--split=dev"], "no split"),
        ("meld", ["--split=dev", "--modalities=voice"], "other --modalities"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    miniature: Miniature, checkpoint: Path, corpus: str, options: list[str], told: str
) -> None:
    """A split, subset or modality that the corpus does not have is refused by a sentence that names it."""
    with pytest.raises(UsageError, match=told):
        measured(miniature, checkpoint, corpus, *options)


def test_shift_and_length_stand_in_every_result(miniature: Miniature, checkpoint: Path) -> None:
    """Parts of the same predictions: with those that are in neither they are all, and nothing more."""
    result = measured(miniature, checkpoint, "meld", "--split=dev")
    lengths = result.breakdown["length"].parts if "length" in result.breakdown else {}
    assert not lengths  # six dialogues of four to eight lines are all of one length
    speakers = sum(len({line.speaker for line in d.utterances}) for d in read_meld(miniature.meld, "dev").dialogues)
    assert sum(part.n for part in result.breakdown["shift"].parts.values()) == result.n - speakers


def test_missing_modalities_and_subsets_are_asked_for(miniature: Miniature, checkpoint: Path) -> None:
    """`--subsets` and `--missing` add their parts, of which the untouched one is the result itself."""
    result = measured(miniature, checkpoint, "ravdess", "--subset=actors=5", "--subsets=true", "--missing=true")
    assert set(result.breakdown["modalities"].parts) == {"text", "voice", "text+voice"}
    for part in (result.breakdown["modalities"].parts["text+voice"], result.breakdown["missing"].parts["0.0"]):
        assert (part.n, part.weighted_f1, part.ece) == (result.n, result.weighted_f1, result.ece)
    assert result.breakdown["missing"].parts["0.5"].dropped == 0.5


def test_encoder_alone_is_its_own_classifier(miniature: Miniature) -> None:
    """A text adapter's folder is scored by the classifier that taught it, under its own name and context."""
    result = measured(miniature, "text-minilm-emotion", "meld", "--split=dev")
    assert (result.model, result.run, result.context) == ("text", "text-minilm-emotion", "its own words")
    adapter = open_checkpoint("text-minilm-emotion")
    corpus = read_meld(miniature.meld, "dev")
    vectors = extract(corpus, extractor_of(adapter.sidecar.features["text"]), miniature.store).vectors
    weight, bias = adapter.model.classifier.weight, adapter.model.classifier.bias
    said = [int((torch.from_numpy(vectors[line.id]) @ weight.T + bias).argmax()) for line in corpus.utterances()]
    truth = [corpus.labels.index(line.label or "") for line in corpus.utterances()]
    assert result.accuracy == pytest.approx(
        sum(s == t for s, t in zip(said, truth, strict=True)) / len(truth), abs=1e-4
    )


def test_two_checkpoints_side_by_side(miniature: Miniature, checkpoint: Path) -> None:
    """`--against` tells the other's scores on the same lines, and the difference is this one's minus its."""
    alone = measured(miniature, "text-minilm-emotion", "meld", "--split=dev")
    result = measured(miniature, checkpoint, "meld", "--split=dev", "--against=text-minilm-emotion")
    assert result.against is not None
    assert result.against.there.weighted_f1 == alone.weighted_f1
    assert result.against.difference["weighted_f1"] == pytest.approx(result.weighted_f1 - alone.weighted_f1, abs=1e-4)
    with pytest.raises(UsageError, match="give pairs"):
        measured(miniature, checkpoint, "meld", "--split=dev", "--against", "default", "default")


def test_several_checkpoints_have_a_mean(miniature: Miniature, checkpoint: Path) -> None:
    """Several checkpoints give one object with the keys of a result, their mean and deviation, and each run."""
    trained = load(checkpoint)
    trained.model.classifier.bias.add_(torch.linspace(-3, 3, 7))
    other = checkpoint.parent / "other"
    save(other, trained.model, trained.sidecar)
    places = [f"--root={miniature.meld}", f"--store={miniature.store}", "--split=dev"]
    _, config = configuration(["eval", "--corpus=meld", "--checkpoint", str(checkpoint), str(other), *places])
    summary = evaluate(config)
    assert isinstance(summary, Summary)
    scores = [run.weighted_f1 for run in summary.runs]
    assert scores[0] != scores[1]
    assert summary.weighted_f1 == pytest.approx(sum(scores) / 2, abs=1e-4)
    assert summary.deviation["weighted_f1"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5, abs=1e-4)


def test_corpus_of_other_labels_is_mapped_and_counted(miniature: Miniature, checkpoint: Path) -> None:
    """RAVDESS read in its own eight labels is scored in the checkpoint's seven, and the map is told."""
    own = measured(miniature, checkpoint, "ravdess", "--labels=ravdess8", "--modalities=voice")
    seven = measured(miniature, checkpoint, "ravdess", "--modalities=voice")
    assert own.confusion == seven.confusion
    assert "ravdess8->meld7" in own.label_map
    assert "calm as neutral" in own.label_map


def test_imported_features_are_named_or_found_beside(miniature: Miniature, checkpoint: Path, tmp_path: Path) -> None:
    """A checkpoint of imported voices is scored on the file it was trained on, and on no other."""
    trained = load(checkpoint)
    ids = np.array([line.id for line in read_meld(miniature.meld, "dev").utterances()])
    width = trained.model.config.dimensions["voice"]
    for name, scale in (("ours", 1.0), ("theirs", 2.0)):
        np.savez(tmp_path / f"{name}.npz", utt_id=ids, feat=np.full((len(ids), width), scale, np.float32))
    spec: FeatureSpec = read_imported(tmp_path / "ours.npz", "voice")[0]
    sidecar = msgspec.structs.replace(trained.sidecar, features=trained.sidecar.features | {"voice": spec})
    save(tmp_path / "imported", trained.model, sidecar)
    where = (miniature, tmp_path / "imported", "meld", "--split=dev")
    result = measured(*where, f"--imported.voice={tmp_path / 'ours.npz'}")
    assert result.modalities_used == ("text", "voice")
    with pytest.raises(CheckpointError, match="trained on"):
        measured(*where, f"--imported.voice={tmp_path / 'theirs.npz'}")
    with pytest.raises(UsageError, match="--imported.voice"):
        measured(*where)
    beside = miniature.meld / "ours.npz"
    beside.write_bytes((tmp_path / "ours.npz").read_bytes())
    try:
        assert measured(*where).ece == result.ece
    finally:
        beside.unlink()


def test_a_fold_is_scored_on_its_test_part(miniature: Miniature, checkpoint: Path) -> None:
    """`--plan loso --fold NAME` scores that group alone, and says which fold it was."""
    names = sorted({f"{actor:02}" for actor in (1, 2, 5, 17)})
    with pytest.raises(UsageError, match="has no fold") as refused:
        measured(miniature, checkpoint, "ravdess", "--plan=loso", "--fold=none")
    assert all(name in str(refused.value) for name in names)
    fold = next(name for name in str(refused.value).split("choose from ")[1].rstrip(".").split(", ") if "05" in name)
    one = measured(miniature, checkpoint, "ravdess", "--modalities=voice", "--plan=loso", f"--fold={fold}")
    assert one.fold == fold
    assert one.n == 8
    assert (
        one.confusion == measured(miniature, checkpoint, "ravdess", "--modalities=voice", "--subset=actors=5").confusion
    )
    with pytest.raises(UsageError, match="go together"):
        measured(miniature, checkpoint, "ravdess", "--plan=loso")
