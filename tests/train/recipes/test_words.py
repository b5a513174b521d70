"""Training of the words' encoder over many corpora: partial labels, draws, priors, leaks, and what is written."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_encoder import tiny_encoder

import train.recipes.words.fit
from core_models.errors import CheckpointError, UsageError
from core_models.features.text.sentence_encoder import TextFeature, load_encoder
from core_models.labels import IEMOCAP6, MELD7
from core_models.text_adapter import load_adapter
from train.__main__ import configuration
from train.corpora.detokenization import normalize
from train.corpora.dialogues import Corpus, Dialogue, Utterance
from train.corpora.everyday import read_everyday
from train.loop.schedule import Schedule
from train.recipes.words.config import Part, Source, WordsConfig
from train.recipes.words.emotion_encoder import EmotionEncoder
from train.recipes.words.fit import fit_words, read_sources
from train.recipes.words.partial_labels import (
    PartialLine,
    admission_matrix,
    draw_lines,
    log_prior,
    partial_lines,
    without_lines,
)

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
PHRASES = {"joy": "so happy for you !", "anger": "what ? ! ?", "neutral": "you had your hands full ."}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WordsConfig:
    """A run on a tiny encoder, on MELD and XED in their owners' layouts."""
    base = tiny_encoder(tmp_path / "tiny")
    monkeypatch.setattr(train.recipes.words.fit, "model_folder_of", lambda name: base)
    names = list(PHRASES)
    (tmp_path / "meld").mkdir()
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    rows = [
        f'{PHRASES[names[n % 3]]},Al,{names[n % 3]},{n // 3},{n % 3},1,1,"00:00:01,000","00:00:02,000"'
        for n in range(60)
    ]
    (tmp_path / "meld" / "train_sent_emo.csv").write_text("\n".join((header, *rows)))
    xed = tmp_path / "xed" / "AnnotatedData"
    xed.mkdir(parents=True)
    annotated = [f"{PHRASES['joy']} {n}\t5" if n % 2 else f"{PHRASES['anger']} {n}\t1, 3" for n in range(60)]
    (xed / "en-annotated.tsv").write_text("\n".join(annotated))
    (xed / "neu_en.txt").write_text("\n".join(f"9\t{PHRASES['neutral']} {n}" for n in range(30)))
    return WordsConfig(
        sources=[Source("meld", split="train", share=2, validation=0.2), Source("xed", share=1)],
        data={"meld": tmp_path / "meld", "xed": tmp_path / "xed"},
        out=tmp_path / "adapter",
        run=tmp_path / "run",
        base="tiny",
        lines=160,
        rank=16,
        schedule=Schedule(
            epochs=3, lr=3e-3, warm_up=0.06, batch=8, keep="last", checkpoint_every=5, device="cpu", threads=1
        ),
        shared_words=40,
    )


def test_many_corpora_are_learnt_and_the_feature_is_the_encoders(config: WordsConfig) -> None:
    """Separable corpora are learnt, and the feature under the written adapter is the tuned encoder's."""
    record = fit_words(config)
    assert record["epochs"][-1]["meld"] > 0.4
    assert record["distinct lines drawn"]["xed"] > 40
    assert record["prior"] == [round(1 / 7, 6)] * 7
    sidecar, tensors = load_adapter(config.out)
    assert "embeddings.word_embeddings" in sidecar.targets
    assert any(name.endswith("LayerNorm.weight") for name in sidecar.deltas)
    assert not any(str(path) in str(record) for path in config.data.values())
    feature = TextFeature(config.run.parent / "tiny", adapter=config.out)
    vectors = torch.from_numpy(feature(list(PHRASES.values())))
    logits = vectors @ tensors["classifier.weight"].float().T + tensors["classifier.bias"].float()
    assert [MELD7.labels[row] for row in logits.argmax(dim=1)] == list(PHRASES)


def test_a_full_rank_change_is_the_tuned_encoder(tmp_path: Path) -> None:
    """Cut to no lower rank than a matrix has, the written change gives every tuned tensor back, to float16."""
    encoder = load_encoder(tiny_encoder(tmp_path / "tiny"))
    model = EmotionEncoder(encoder, MELD7, 0.0, 20.0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    _, tensors = model.low_rank_change(32)
    for name, value in model.network.named_parameters():
        module = name.removesuffix(".weight")
        if f"{module}.lora_A" in tensors:
            change = tensors[f"{module}.lora_B"].float() @ tensors[f"{module}.lora_A"].float()
        elif f"{name}.delta" in tensors:
            change = tensors[f"{name}.delta"].float()
        else:
            continue
        assert torch.allclose(model.base[name] + change, value, atol=2e-4), name


def test_a_delta_that_is_missing_is_refused(config: WordsConfig) -> None:
    """An adapter whose sidecar names a vector that its file lacks is damaged, and says so."""
    fit_words(dataclasses.replace(config, lines=16))
    sidecar = (config.out / "sidecar.json").read_text()
    (config.out / "sidecar.json").write_text(sidecar.replace('"deltas": [', '"deltas": ["pooler.bias",', 1))
    with pytest.raises(CheckpointError, match=r"disagree about pooler\.bias"):
        load_adapter(config.out)


def test_a_label_without_a_twin_admits_what_it_may_be() -> None:
    """Frustration is anger, sadness or disgust; candidates all count; what may be nothing of the seven is left out."""
    labels = ("happy", "frustrated", None)
    utterances = tuple(Utterance(f"a{n}", "Al", "Hm.", label) for n, label in enumerate(labels))
    several = Utterance("b", "Al", "Hm.", candidates=("sad", "angry"))
    corpus = Corpus("iemocap", IEMOCAP6, (Dialogue("a", (*utterances, several)),))
    named = [tuple(MELD7.labels[i] for i in line.admitted) for line in partial_lines(corpus, context=False)]
    assert named == [("joy",), ("sadness", "anger", "disgust"), ("sadness", "anger")]


def test_given_sentences_of_mspimprov_are_not_learnt() -> None:
    """A sentence that is read or worked in is the same under every emotion; talk and improvisation are kept."""
    ids = ("S01A-F01-T-FM01", "S01A-F01-R-FF01", "S01A-F01-S-FM01", "S01A-F01-P-FM01")
    utterances = tuple(Utterance(f"MSP-IMPROV-{name}", "F01", name, "joy") for name in ids)
    kept = partial_lines(Corpus("mspimprov", MELD7, (Dialogue("a", utterances),)), context=False)
    assert [line.text for line in kept] == list(ids[2:])


def test_a_draw_prefers_rare_classes_and_repeats_as_little_as_it_can() -> None:
    """Weight is frequency^-power of the rarest class; as many different lines come as the weights allow."""
    lines = [PartialLine("a", (), (0,))] * 900 + [PartialLine("b", (), (0, 1))] * 100
    admission = admission_matrix(lines)
    drawn = draw_lines(admission, 500, 0.5, np.random.default_rng(0))
    share = float((drawn >= 900).mean())
    # Weights 1000^-1/2 and 100^-1/2: 100 x 0.1 to 900 x 0.0316.
    assert share == pytest.approx(10 / (10 + 900 * 1000**-0.5), abs=0.03)
    counts = np.bincount(drawn, minlength=1000)
    assert counts[900:].max() - counts[900:].min() <= 1
    assert np.array_equal(drawn, draw_lines(admission, 500, 0.5, np.random.default_rng(0)))


def test_a_prior_takes_out_what_a_corpus_lacks() -> None:
    """A partial label counts for all that it admits alike; a class that none admits cannot win."""
    prior = np.exp(log_prior(admission_matrix([PartialLine("a", (), (0, 1)), PartialLine("b", (), (0,))])))
    assert prior[:2] == pytest.approx([0.75, 0.25])
    assert (prior[2:] < 1e-8).all()


def test_lines_that_are_evaluated_are_not_learnt(config: WordsConfig) -> None:
    """A line of enough words that stands in an evaluated part, or is held out, is not learnt; a short one is."""
    lines = [PartialLine(text, (), (0,)) for text in ("Thank you!", "I said: so happy, for you!", "Not there at all.")]
    kept = without_lines(lines, {normalize("thank you"), normalize("I said so happy for you")}, 4)
    assert [line.text for line in kept] == ["Thank you!", "Not there at all."]
    sources, left_out = read_sources(dataclasses.replace(config, shared_words=4, apart=[Part("everyday")]))
    assert left_out["meld"] == 32  # "so happy for you", of 16 training dialogues twice
    assert {line.text for line in sources[0].lines} == {PHRASES["anger"]}


def test_a_corpus_without_its_folder_is_refused(config: WordsConfig) -> None:
    """The config names what it lacks before anything is read."""
    with pytest.raises(UsageError, match=r"set data\.isear"):
        dataclasses.replace(config, sources=[Source("isear")])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("words_*.yaml")), ids=lambda path: path.stem)
def test_shipped_words_configs_are_read(path: Path, tmp_path: Path) -> None:
    """Every words config fits the program's options, and its first line names a folder for each corpus."""
    header = path.read_text().splitlines()[0].removeprefix("# python -m train ").replace("FOLDER", str(tmp_path))
    name, config = configuration(shlex.split(header.replace(f"configs/train/{path.name}", str(path))))
    assert name == "words"
    assert {source.corpus for source in config.sources} == set(config.data)


def test_everyday_sentences_are_balanced_and_their_own() -> None:
    """200 sentences, none twice, 28 or 29 of each emotion, over half of those with an emotion without a word for it."""
    corpus = read_everyday()
    utterances = list(corpus.utterances())
    assert len({normalize(u.text or "") for u in utterances}) == len(utterances) == 200
    counts = [sum(u.label == label for u in utterances) for label in MELD7.labels]
    assert set(counts) == {28, 29}
    styles = [dialogue.style for dialogue in corpus.dialogues]
    assert styles.count("unworded") > styles.count("worded")
    assert len({dialogue.group for dialogue in corpus.dialogues}) == 5
