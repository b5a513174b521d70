"""Evaluation and the card: what is counted, under whose prior, and only for the weights that were measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch
from miniature import Miniature

from core_models.checkpoint import WEIGHTS, Sidecar, load, save
from core_models.errors import CheckpointError, UsageError
from train.__main__ import configuration, main
from train.card import CardConfig, write_card
from train.corpora.meld import read_meld
from train.dialogues_in_tensors import TensorDialogue, to_tensors
from train.evaluate import Result, evaluate, temperatures
from train.extract import extract
from train.extractors import extractor_of
from train.fit import predict

LIVE = Path(__file__).parents[2] / "configs" / "train" / "sdt_live.yaml"

pytestmark = pytest.mark.weights


@pytest.fixture(scope="session")
def checkpoint(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the shipped config, after a few steps on the miniature corpora."""
    root = tmp_path_factory.mktemp("run")
    given = [*miniature.options("meld", "ravdess", "fer2013"), f"--runs={root}", f"--export={root / 'out'}"]
    assert main(["fit", f"--config={LIVE}", *given, "--epochs=1", "--steps=4", "--threads=1", "--device=cpu"]) == 0
    return root / "out"


def measured(miniature: Miniature, checkpoint: Path, corpus: str, *options: str) -> Result:
    places = [f"--checkpoint={checkpoint}", f"--root={getattr(miniature, corpus)}", f"--store={miniature.store}"]
    _, config = configuration(["eval", f"--corpus={corpus}", *places, *options])
    return evaluate(config)


def test_json_says_what_was_measured(
    miniature: Miniature, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json -` puts one object on standard output and nothing else, with every score and how it came about."""
    options = ["--corpus=meld", f"--root={miniature.meld}", "--split=dev", f"--store={miniature.store}"]
    assert main(["eval", f"--checkpoint={checkpoint}", *options, "--json=-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"corpus", "split", "n", "weighted_f1", "macro_f1", "accuracy", "uar", "ece"} <= set(result)
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


def test_temperature_is_that_of_each_pattern(miniature: Miniature, checkpoint: Path) -> None:
    """An utterance's logits are divided by the temperature of the modalities that it has itself."""
    trained = load(checkpoint)
    sidecar = msgspec.structs.replace(trained.sidecar, temperature={"text": 2.0, "text+voice": 3.0})
    present = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.bool)
    features = {m: torch.zeros(4, d) for m, d in trained.model.config.dimensions.items()}
    zeros = torch.zeros(4, dtype=torch.long)
    dialogue = TensorDialogue("x", features, present, zeros, zeros, torch.zeros(7))
    assert temperatures(replace(trained, sidecar=sidecar), [dialogue]).tolist() == [2.0, 3.0, 1.0]
    assert len(predict(trained.model, [dialogue])[0]) == 3


def test_evaluation_follows_the_live_step(miniature: Miniature, checkpoint: Path) -> None:
    """The logits that are scored are those that `step` gives utterance by utterance."""
    trained = load(checkpoint)
    corpus = read_meld(miniature.meld, "dev")
    vectors = {"text": extract(corpus, extractor_of(trained.sidecar.features["text"]), miniature.store).vectors}
    dialogues = to_tensors(corpus, vectors, trained.model.config.dimensions, 9)
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


def test_card_holds_what_was_measured(miniature: Miniature, checkpoint: Path) -> None:
    """The card tells features, licences, limits and every result in `record`, with its confusion matrix."""
    record = checkpoint / "record"
    for name, options in (("meld", ["--split=dev"]), ("ravdess", ["--modalities=voice", "--prior=uniform"])):
        result = measured(miniature, checkpoint, name, *options)
        (record / f"eval_{name}.json").write_bytes(msgspec.json.encode(result))
    assert main(["card", f"--checkpoint={checkpoint}"]) == 0
    card = (checkpoint / "CARD.md").read_text(encoding="utf-8")
    for told in (
        "CC BY-NC-SA 4.0",
        "GPL-3.0",
        "FER-2013",
        "Art. 5(1)(f)",
        "sanity",
        "| uniform | 32 |",
        "whisper-base",
    ):
        assert told in card
    for line in card.splitlines():
        if line.startswith("!["):
            assert (checkpoint / line.split("(")[1].rstrip(")")).stat().st_size > 1000


def test_card_refuses_numbers_of_other_weights(miniature: Miniature, checkpoint: Path, tmp_path: Path) -> None:
    """A result that measured other weights does not get into the card."""
    trained = load(checkpoint)
    folder = tmp_path / "moved"
    result = measured(miniature, checkpoint, "meld", "--split=dev")
    trained.model.classifier.bias.add_(1)
    save(folder, trained.model, trained.sidecar)
    (folder / "record").mkdir()
    (folder / "record" / "eval_meld.json").write_bytes(msgspec.json.encode(result))
    with pytest.raises(CheckpointError, match="run that evaluation again"):
        write_card(CardConfig(str(folder)))
    assert not (folder / "CARD.md").exists()


def test_shipped_card_is_that_of_the_shipped_weights() -> None:
    """Every number in the shipped default's record was measured on the weights that ship."""
    digest = load("default").digest
    results = sorted((WEIGHTS / "default" / "record").glob("eval_*.json"))
    assert results
    assert all(msgspec.json.decode(path.read_bytes(), type=Result).digest == digest for path in results)
    assert digest[:12] in (WEIGHTS / "default" / "CARD.md").read_text(encoding="utf-8")
    assert isinstance(load("default").sidecar, Sidecar)
