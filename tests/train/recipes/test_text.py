"""Training of the text adapter: what is drawn, what resumes, what is written."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from safetensors.torch import load_file
from support.run_endings import interrupt_after_save
from support.tiny_encoder import tiny_encoder

import train.recipes.text.fit
from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import PastTurn, TextFeature, load_encoder
from core_models.labels import MELD7
from core_models.text_adapter import load_adapter
from train.data.class_balance import class_weights
from train.data.length_buckets import bucket_by_length
from train.loop.accelerator import open_fabric
from train.recipes.text.asr_errors import WordErrors, vocabulary
from train.recipes.text.config import FineTuningStage, TextConfig
from train.recipes.text.fit import fit_text
from train.recipes.text.labelled_lines import Lines, TextLine, draw_balanced
from train.recipes.text.lora_classifier import EmotionClassifier, top_layers
from train.recipes.text.low_rank import truncate_rank
from train.recipes.text.training import FineTuning

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
TEXTS = ["You had your hands full.", "What?!", "I'm so happy for you, this is the best day of my life!"]
PHRASES = {"joy": "so happy for you !", "anger": "what ? ! ?", "neutral": "you had your hands full ."}
STAGES = [
    FineTuningStage("goemotions", epochs=1, lr=1e-2, lines=30, class_weight=0.5),
    FineTuningStage("meld", epochs=2, lr=1e-2, smoothing=0.05),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextConfig:
    """A run on a tiny encoder and on small corpora in their owners' layouts."""
    base = tiny_encoder(tmp_path / "tiny")
    monkeypatch.setattr(train.recipes.text.fit, "model_folder_of", lambda name: base.parent / name)
    names = list(PHRASES)
    meld, goemotions = tmp_path / "meld", tmp_path / "goemotions"
    meld.mkdir()
    goemotions.mkdir()
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    rows = [
        f'{PHRASES[names[n % 3]]},Al,{names[n % 3]},{n // 3},{n % 3},1,1,"00:00:01,000","00:00:02,000"'
        for n in range(90)
    ]
    for split in ("train", "dev"):
        (meld / f"{split}_sent_emo.csv").write_text("\n".join((header, *rows)))
    labels = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    (goemotions / "labels.txt").write_text("\n".join(labels))
    comments = [f"{PHRASES[names[n % 3]]}\t{labels.index(names[n % 3])}\tid{n}" for n in range(60)]
    (goemotions / "train.tsv").write_text("\n".join(comments))
    return TextConfig(
        stages=STAGES,
        data={"meld": meld, "goemotions": goemotions},
        out=tmp_path / "adapter",
        run=tmp_path / "run",
        base="tiny",
        rank=2,
        alpha=4.0,
        batch=8,
        checkpoint_every=2,
        device="cpu",
        threads=1,
    )


def test_training_learns_and_writes_what_the_feature_loads(config: TextConfig, tmp_path: Path) -> None:
    """A separable corpus is learnt, and the feature under the written adapter is the trained encoder's."""
    config = dataclasses.replace(config, stages=[STAGES[0], dataclasses.replace(STAGES[1], epochs=12)])
    record = fit_text(config)
    assert record["validation"]["accuracy"] == record["dev"]["accuracy"] == 100
    assert record["lines"] == {"goemotions": 30, "meld": 81}
    feature = TextFeature(tmp_path / "tiny", adapter=config.out)

    trained = EmotionClassifier(load_encoder(tmp_path / "tiny"), config, [MELD7])
    trained.load_state_dict(load_file(config.run / "2-meld" / "best.safetensors"), strict=False)
    trained.eval()
    with torch.no_grad():
        expected = trained.encoder.pool(trained.encoder.tokenize(TEXTS, 64)).numpy()
    np.testing.assert_allclose(feature(TEXTS), expected, atol=5e-3)  # the file holds half precision
    assert np.abs(feature(TEXTS) - TextFeature(tmp_path / "tiny")(TEXTS)).max() > 0.1


@pytest.mark.parametrize("killed_at", [1, 3, 6, 10])
def test_killed_run_ends_with_the_same_weights(
    config: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """A run that dies after any checkpoint and is started again ends bit-equal to one that never died."""
    whole = dataclasses.replace(config, run=tmp_path / "whole", out=tmp_path / "whole-adapter")
    fit_text(whole)

    with monkeypatch.context() as patch:
        interrupt_after_save(killed_at, patch)
        with pytest.raises(KeyboardInterrupt):
            fit_text(config)
    assert not config.out.exists()
    fit_text(config)
    one, other = (load_file(folder / "adapter.safetensors") for folder in (whole.out, config.out))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_run_with_other_settings_is_not_resumed(config: TextConfig) -> None:
    """A run folder of other settings is refused rather than mixed in."""
    fit_text(config)
    with pytest.raises(UsageError, match="other settings"):
        fit_text(dataclasses.replace(config, seed=1))


def test_dev_decides_nothing(config: TextConfig, tmp_path: Path) -> None:
    """Whatever the dev split says, the same adapter is written: dev is only reported."""
    record = fit_text(config)
    dev = config.data["meld"] / "dev_sent_emo.csv"
    dev.write_text(dev.read_text().replace(",joy,", ",fear,").replace(",anger,", ",joy,"))
    again = dataclasses.replace(config, run=tmp_path / "again", out=tmp_path / "again-adapter")
    assert fit_text(again)["epochs"] == record["epochs"]
    assert (again.out / "adapter.safetensors").read_bytes() == (config.out / "adapter.safetensors").read_bytes()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("text_*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_read(path: Path, tmp_path: Path) -> None:
    """Every text config fits the program's signature, once it is told where the corpora are."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TextConfig)
    folders = [f"--data.{name}={tmp_path}" for name in ("goemotions", "emorynlp", "iemocap", "meld")]
    config = parser.instantiate(parser.parse_args([f"--config={path}", *folders]))
    header = path.read_text().splitlines()[0]
    assert all(f"--data.{stage.corpus} FOLDER" in header for stage in config.stages)
    assert path.name in header


def test_context_reaches_training_and_feature(config: TextConfig, tmp_path: Path) -> None:
    """An adapter that was taught the past reads it, the same way in training and in the feature."""
    config = dataclasses.replace(config, context=12)
    fit_text(config)
    feature = TextFeature(tmp_path / "tiny", adapter=config.out)
    assert feature.context == feature.spec.settings["context"] == 12
    pasts = [[PastTurn(True, TEXTS[1])], [], [PastTurn(False, TEXTS[0]), PastTurn(True, TEXTS[1])]]
    trained = EmotionClassifier(load_encoder(tmp_path / "tiny"), config, [MELD7]).eval()
    trained.load_state_dict(load_file(config.run / "2-meld" / "best.safetensors"), strict=False)
    with torch.no_grad():
        expected = trained.encoder.pool(trained.encoder.tokenize(TEXTS, 64, pasts, 12)).numpy()
    np.testing.assert_allclose(feature(TEXTS, pasts), expected, atol=5e-3)
    assert np.abs(feature(TEXTS, pasts)[0] - feature(TEXTS)[0]).max() > 1e-3


def test_a_run_goes_on_from_another_adapter(config: TextConfig, tmp_path: Path) -> None:
    """`start` gives the factors of a finished adapter, and one of another rank is refused in a sentence."""
    fit_text(config)
    later = dataclasses.replace(config, start=config.out, run=tmp_path / "later", out=tmp_path / "later-adapter")
    fabric = open_fabric("cpu", "32", 1)
    run = FineTuning(later, load_encoder(tmp_path / "tiny"), [MELD7], fabric, Console(quiet=True))
    given, taken = load_file(config.out / "adapter.safetensors"), run.model.trained()
    assert all(torch.equal(taken[name], given[name].float()) for name in given if ".lora_" in name)
    with pytest.raises(UsageError, match="another base, rank"):
        fit_text(dataclasses.replace(later, rank=3, run=tmp_path / "third"))


def test_only_the_top_layers_change_where_told(config: TextConfig, tmp_path: Path) -> None:
    """With `layers: 1` no factor belongs to a lower layer."""
    fit_text(dataclasses.replace(config, layers=1))
    names = {n for n in load_file(config.out / "adapter.safetensors") if ".lora_" in n}
    assert names
    assert all("layer.1." in name for name in names)
    every = ["encoder.layer.0.a", "encoder.layer.1.a", "b"]
    assert top_layers(every, None) == every


def test_a_change_is_cut_to_its_largest_directions(config: TextConfig, tmp_path: Path) -> None:
    """The cut factors are the best of their rank, and a run writes and scores them as they are."""
    torch.manual_seed(0)
    down, up = torch.randn(6, 9), torch.randn(7, 6)
    exact, rough = truncate_rank(down, up, 6), truncate_rank(down, up, 2)
    torch.testing.assert_close(exact[1] @ exact[0], up @ down, rtol=1e-4, atol=1e-4)
    values = torch.linalg.svdvals(up @ down)
    assert float(torch.dist(rough[1] @ rough[0], up @ down)) == pytest.approx(float(values[2:].norm()), rel=1e-4)
    assert not rough[0][2:].any()
    fit_text(dataclasses.replace(config, written_rank=1))
    tensors, sidecar = load_file(config.out / "adapter.safetensors"), load_adapter(config.out)[0]
    assert {len(value) for name, value in tensors.items() if name.endswith("lora_A")} == {1} == {sidecar.rank}
    assert sidecar.alpha == config.alpha / config.rank
    assert np.isfinite(TextFeature(tmp_path / "tiny", adapter=config.out)(TEXTS)).all()


def test_word_errors_have_the_rate_that_they_are_given() -> None:
    """About `rate` of the words differ in disturbed lines, marks that no recogniser writes are gone, none is empty."""
    text = "well , that is the best day of all the days we had !"
    errors = WordErrors(vocabulary(["other"]), share=1.0, rate=0.12)
    chance = random.Random(0)
    heard = [errors(text, chance).split() for _ in range(4000)]
    assert not any("!" in words for words in heard)
    count = len(text.split())
    lost = sum(count - sum(word != "other" for word in words) for words in heard) / (4000 * count)
    added = sum(word == "other" for words in heard for word in words) / (4000 * count)
    assert lost == pytest.approx(0.12 * 5 / 6, abs=0.01)  # substituted or deleted
    assert added == pytest.approx(0.12 * 4 / 6, abs=0.01)  # substituted or inserted
    assert all(WordErrors(("x",), share=1.0, rate=1.0)("Hm.", chance) for _ in range(100))
    assert WordErrors(("x",), share=0.0)(text, chance) == text


def test_corpus_without_a_folder_is_named(config: TextConfig) -> None:
    """A stage whose corpus has no folder in the config ends in a sentence that names the key."""
    with pytest.raises(UsageError, match=r"data\.goemotions"):
        fit_text(dataclasses.replace(config, data={"meld": config.data["meld"]}))


def test_draw_takes_rare_classes_whole() -> None:
    """A class with few lines is kept whole and the common ones share the rest equally."""
    classes = [0] * 1 + [1] * 10 + [2] * 50 + [3] * 50
    lines = Lines(MELD7, tuple(TextLine(str(i), (), label) for i, label in enumerate(classes)))
    drawn = draw_balanced(lines, 51, seed=0)
    assert [drawn.classes.count(label) for label in range(4)] == [1, 10, 20, 20]
    assert draw_balanced(lines, 51, seed=0) == drawn != draw_balanced(lines, 51, seed=1)
    assert draw_balanced(lines, 500, seed=0) is lines


def test_batches_hold_every_line_once_and_like_lengths_together() -> None:
    """An epoch sees each line once; a batch pads little; another epoch comes in another order."""
    chance = np.random.default_rng(0)
    lengths = [int(n) for n in chance.integers(1, 60, 1000)]
    batches = bucket_by_length(lengths, 32, seed=(0, 0, 0))
    assert sorted(index for batch in batches for index in batch) == list(range(1000))
    padding = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert np.mean(padding) < 4
    assert batches == bucket_by_length(lengths, 32, seed=(0, 0, 0)) != bucket_by_length(lengths, 32, seed=(0, 0, 1))


def test_class_weights_keep_the_scale_of_the_loss() -> None:
    """Weights follow frequency to minus the power, and their mean over the lines is 1."""
    classes = [0] * 64 + [1] * 16 + [2] * 4
    weights = class_weights(classes, 7, 0.5)
    assert float(weights[1] / weights[0]) == pytest.approx(2)
    assert float(weights[2] / weights[0]) == pytest.approx(4)
    assert float(weights[classes].mean()) == pytest.approx(1)
    assert class_weights(classes, 7, 0.0).tolist() == pytest.approx([1] * 7)
