"""SDT's two presets, and what every `_paper` config of a dialogue model stands for: optimiser, clipping, speakers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from rich.console import Console

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from core_models.labels import MELD7
from core_models.networks.sdt import SDT
from train.__main__ import configuration
from train.data.data_module import DataModule
from train.data.dialogue_layout import DialogueLayout
from train.data.dialogue_sampler import DialogueSampler
from train.data.dialogue_tensors import TensorDialogue, modality_patterns
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.training import DialogueTraining

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
PAPERS = sorted(path for kind in ("sdt", "cmath") for path in CONFIGS.glob(f"{kind}_*_paper.yaml"))
SMALL = ["--model.width=16", "--model.heads=2", "--model.feed-forward=16", "--threads=1", "--device=cpu", "--seeds=[]"]


def read_config(path: Path, *options: str) -> FitConfig:
    given = ["--data.train.root=CORPUS", *options]
    given += ["--features.imported.voice=FILE"] if "iemocap" in path.stem else []
    name, config = configuration(["fit", f"--config={path}", *given])
    assert name == "fit"
    assert isinstance(config, FitConfig)
    return config


def random_dialogues(count: int, seed: int = 0) -> list[TensorDialogue]:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count,), generator=draw).tolist()
    return [
        TensorDialogue(
            f"d{i}",
            {m: 50 + 9 * torch.randn(n, 4, generator=draw) for m in MODALITIES},
            torch.ones(n, 3, dtype=torch.bool),
            torch.randint(0, 2, (n,), generator=draw),
            torch.randint(0, 7, (n,), generator=draw),
            torch.zeros(7),
        )
        for i, n in enumerate(lengths)
    ]


def make_training(config: FitConfig) -> DialogueTraining:
    dialogues = random_dialogues(12)
    validation = {"+".join(p): [d.masked(p) for d in dialogues[:4]] for p in modality_patterns(MODALITIES)}
    data = DataModule(
        MELD7,
        {m: FeatureSpec(name=m, version=1, modality=m, dimension=4, digest="0", settings={}) for m in MODALITIES},
        DialogueSampler(dialogues, {}, (), config.mixture, 4, 0, config.seed),
        validation,
        {},
        DialogueLayout(),
        "+".join(MODALITIES),
    )
    return DialogueTraining(config, data, Fabric(accelerator="cpu", devices=1), Console(quiet=True))


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_paper_config_trains_as_the_paper_says(path: Path, tmp_path: Path) -> None:
    """Adam with its decay in the gradient, no clipping, raw inputs, whole dialogues in a random order,
    the corpus's own speakers and order, labelled utterances alone, and the pass chosen on what training saw."""
    run = make_training(read_config(path, f"--runs={tmp_path}", *SMALL))
    config, schedule, network = run.config, run.trainer.schedule, run.network
    optimizer = run.trainer._bare_optimizer
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["weight_decay"] == (1e-5 if "sdt" in path.stem else 0.0)
    assert (schedule.clip, schedule.shape, schedule.warm_up) == (None, "constant", 0.0)
    assert (config.data.order, config.data.speakers, config.data.unlabelled) == ("corpus", "corpus", "drop")
    assert config.data.train.split == ("train" if "iemocap" in path.stem else "train+dev")
    assert not network.config.causal
    assert not network.config.null_key
    assert network.config.positions == "sinusoidal"
    assert network.config.speakers == (2 if "iemocap" in path.stem else 9)
    assert network.get_buffer("text_mean").abs().max() == 0  # raw
    mixture = config.mixture
    assert (mixture.everything, mixture.concatenate, mixture.crop, mixture.batches) == (1.0, 0.0, None, "shuffled")
    assert run.selection == ["text+voice+face"]
    seeds = read_config(path).seeds
    assert len(seeds) == (10 if "sdt" in path.stem else 5)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("sdt_iemocap_paper", (1e-4, 16, 1.0, 150)),
        ("sdt_meld_paper", (5e-6, 8, 8.0, 50)),
    ],
)
def test_sdt_s_numbers_are_those_of_section_iv(stem: str, expected: tuple[float, int, float, int]) -> None:
    """Rate, batch, temperature and passes; width and feed-forward 1024, 8 heads, one layer, kernel 1, dropout 0.5."""
    config = read_config(CONFIGS / f"{stem}.yaml")
    assert (config.lr, config.batch, config.objective["temperature"], config.epochs) == expected
    shape = ("width", "heads", "feed_forward", "layers", "kernel", "dropout")
    assert [config.model[name] for name in shape] == [1024, 8, 1024, 1, 1, 0.5]
    assert config.select_on == "test"


@pytest.mark.parametrize("corpus", ["iemocap", "meld"])
def test_presets_differ_where_text_and_program_do(corpus: str, tmp_path: Path) -> None:
    """Encoder, its dropout, the direction of eq. 18, MELD's frozen gates and IEMOCAP's class weights."""
    path = CONFIGS / f"sdt_{corpus}_paper.yaml"
    program, paper = (read_config(path, f"--preset={name}") for name in ("program", "paper"))
    told = ("normalization", "activation", "embedding_dropout", "unimodal_gate")
    gate = "identity" if corpus == "meld" else "learned"
    assert [program.model[name] for name in told] == ["pre", "gelu", "encoder", gate]
    assert [paper.model[name] for name in told] == ["post", "relu", "modality", "learned"]
    assert (program.objective["kl"], paper.objective["kl"]) == ("teacher_to_student", "as_printed")
    assert (program.class_weight, paper.class_weight) == (1.0 if corpus == "iemocap" else 0.0, 0.0)
    runs = [read_config(path, f"--preset={name}", f"--runs={tmp_path / name}", *SMALL) for name in ("program", "paper")]
    assert all(isinstance(make_training(config).network, SDT) for config in runs)


def test_what_is_given_comes_before_the_preset() -> None:
    """A preset sets defaults alone; an unknown one, and one of another system, are refused in a sentence."""
    path = CONFIGS / "sdt_meld_paper.yaml"
    config = read_config(path, "--model.activation=relu", "--clip=0.5", "--mixture.batches=length")
    assert (config.model["activation"], config.clip, config.mixture.batches) == ("relu", 0.5, "length")
    assert config.model["normalization"] == "pre"
    with pytest.raises(UsageError, match="is of SDT"):
        read_config(CONFIGS / "cmath_meld_paper.yaml", "--preset=paper")
    with pytest.raises(UsageError, match="choose from paper, program"):
        read_config(path, "--preset=papers")


def step_sizes(tmp_path: Path, *options: str) -> dict[str, Any]:
    """Parameter -> its change in a step on a gradient of zero, so that the decay alone moves it."""
    run = make_training(read_config(CONFIGS / "sdt_iemocap.yaml", f"--runs={tmp_path}", *SMALL, *options))
    before = {n: p.detach().clone() for n, p in run.network.named_parameters()}
    for parameter in run.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run.trainer._bare_optimizer.step()
    return {n: (before[n] - p).detach() for n, p in run.network.named_parameters()}


def test_decay_is_in_the_gradient_or_apart(tmp_path: Path) -> None:
    """Adam's decay is normalised like a gradient (a step of the whole rate), AdamW's is a share of rate times decay."""
    options = ("--lr=0.01", "--decay=0.1", "--warm-up=0", "--shape=constant")
    adam = step_sizes(tmp_path / "a", "--optimizer=adam", *options)["classifier.weight"]
    adamw = step_sizes(tmp_path / "w", "--optimizer=adamw", *options)["classifier.weight"]
    assert float(adam.abs().median()) == pytest.approx(0.01, rel=0.01)
    assert float(adamw.abs().max()) < 0.01 * 0.1 * 1.0


def test_shuffled_batches_mix_lengths() -> None:
    """Shuffled batches hold every dialogue once, in another order in each pass, and do not sort by length."""
    dialogues = random_dialogues(40)
    config = read_config(CONFIGS / "sdt_meld_paper.yaml")
    sampler = DialogueSampler(dialogues, {}, (), config.mixture, 4, 0, seed=3)
    passes = [[d for batch in sampler.epoch(number, 8) for d in batch] for number in (0, 1)]
    assert sorted(d.id for d in passes[0]) == sorted(d.id for d in dialogues)
    assert [d.id for d in passes[0]] != [d.id for d in passes[1]]
    spreads = [max(map(len, batch)) - min(map(len, batch)) for batch in sampler.epoch(0, 8)]
    assert min(spreads) >= 3  # of lengths 2 to 8; in batches of like length most are 0 or 1
    assert [d.id for d in passes[0]] == [d.id for batch in sampler.epoch(0, 8) for d in batch]
