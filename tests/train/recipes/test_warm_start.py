"""`python -m train fit --start`: a run goes on from a checkpoint, and refuses what does not go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from support.miniature_corpora import Miniature
from support.miniature_corrections import SESSIONS, record
from support.run_endings import end_in_pass
from torch import Tensor

from core_models import checkpoint
from core_models.checkpoint import MODELS, Sidecar, load, sidecar_config
from core_models.errors import CheckpointError, TrackerError, UsageError
from core_models.feature_spec import MODALITIES, FeatureSpec
from train.__main__ import configuration, main
from train.data.compatibility import require_feature
from train.extraction.extractors import open_extractor
from train.recipes.dialogue.fit import fit
from train.recipes.dialogue.warm_start import calibrates
from train.reports.model_card import CardConfig, write_card

VOICE = FeatureSpec(modality="voice", name="made-up", version=1, dimension=4, digest="ab" * 32)
TEMPERATURE = {"text": 1.3, "voice": 2.5, "text+voice": 0.9}
PRIOR = [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journals of calls that somebody corrected."""
    root = tmp_path_factory.mktemp("calls")
    for session in SESSIONS:
        record(root, session)
    return root


@pytest.fixture(scope="module", params=["sdt", "cmath"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of words and voice, as it was drawn."""
    return write_start(tmp_path_factory.mktemp("starts") / "start", request.param)


@pytest.fixture(scope="module")
def sdt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("starts") / "start")


def write_start(folder: Path, system: str = "sdt", seed: int = 0) -> Path:
    kind, network = MODELS[system]
    text = open_extractor("text", "minilm-l6").spec
    shape: dict[str, Any] = {"dimensions": {"text": text.dimension, "voice": VOICE.dimension}, "classes": 7}
    config = kind(**shape, width=16, heads=2, feed_forward=16, window=12)
    torch.manual_seed(seed)
    model: Any = network(config)  # type: ignore[arg-type]
    for modality, width in config.dimensions.items():
        model.set_statistics(modality, 0.1 * torch.randn(width), 0.5 + torch.rand(width))
    sidecar = Sidecar(
        model=system,
        config=sidecar_config(config),
        labels="meld7",
        features={"text": text, "voice": VOICE},
        window=config.window,
        temperature=TEMPERATURE,
        abstain=0.35,
        record={"data": {"meld": {}}, "prior": PRIOR},
    )
    checkpoint.save(folder, model, sidecar)
    return folder


def options(start: Path, folder: Path, data: Path, *given: str) -> list[str]:
    """The command line that goes on from a start of `write_start` on corrected calls, their words alone."""
    run = [f"--runs={folder}", f"--export={folder / 'out'}", f"--data.store={folder / 'store'}"]
    small = ["--epochs=2", "--batch=2", "--threads=1", "--device=cpu", "--features.voice=null"]
    place = ["--data.train.corpus=corrections", f"--data.train.root={data}"]
    return ["fit", f"--start={start}", f"--system={load(start).sidecar.model}", *place, *run, *small, *given]


def logits(model: Any, modalities: tuple[str, ...] = ("text", "voice")) -> Tensor:
    """What a model says of two invented dialogues of these modalities."""
    chance = torch.Generator().manual_seed(1)
    features = {m: torch.randn(2, 9, width, generator=chance) for m, width in model.config.dimensions.items()}
    present = torch.tensor([m in modalities for m in MODALITIES]).expand(2, 9, 3)
    with torch.inference_mode():
        said: Tensor = model.eval()(features, present, torch.arange(9).expand(2, 9) % 3).logits
    return said


def after_the_last_pass(start: Path, run: Path) -> Any:
    model: Any = load(start).model
    model.load_state_dict(torch.load(run / "last.pt", weights_only=True)["module"])
    return model


def test_no_step_leaves_the_start(start: Path, calls: Path, tmp_path: Path) -> None:
    """With lr 0 the last pass says the very logits of the start, and the checkpoint is the start's in all but name."""
    assert main(options(start, tmp_path, calls, "--lr=0")) == 0
    before, after = load(start), load(tmp_path / "out")
    for model in (after_the_last_pass(start, tmp_path / "run"), after.model):
        torch.testing.assert_close(logits(model), logits(before.model), atol=0, rtol=0)
    assert after.digest == before.digest
    for field in ("model", "config", "labels", "features", "window", "temperature", "abstain"):
        assert getattr(after.sidecar, field) == getattr(before.sidecar, field), field
    record = after.sidecar.record
    assert record["start"] == {"name": "start", "digest": before.digest, "corpora": ["meld"]}
    assert record["run"]["start"] == before.digest
    assert record["best_pass"] == 0
    assert record["prior"] == PRIOR
    write_card(CardConfig(str(tmp_path / "out")))
    card = (tmp_path / "out" / "CARD.md").read_text(encoding="utf-8")
    assert f"checkpoint start, digest {before.digest[:12]}" in card
    assert "Poria" in card  # whose terms bind the start bind what came of it


def test_modality_that_the_data_lack_stays_usable(start: Path, calls: Path, tmp_path: Path) -> None:
    """Words alone change what is said of words; what reads the voice, and its statistics, are those of the start."""
    assert main(options(start, tmp_path, calls, "--lr=1e-3", "--decay=0")) == 0
    before, after = load(start).model, after_the_last_pass(start, tmp_path / "run")
    assert (logits(before, ("text",)) - logits(after, ("text",))).abs().max() > 1e-3
    own = [name for name in before.state_dict() if "voice" in name]
    assert {"voice_mean", "voice_deviation"} < set(own)
    for name in own:
        assert torch.equal(before.state_dict()[name], after.state_dict()[name]), name
    assert logits(load(tmp_path / "out").model, ("voice",)).isfinite().all()


def test_pass_is_kept_if_it_is_better_than_the_start(sdt: Path, calls: Path, tmp_path: Path) -> None:
    """What is exported is the best pass, or the start itself where its own score was not passed."""
    for name, lr, better in (("learns", "0.01", True), ("loses", "0", False)):
        given = ("--epochs=8", "--patience=8", f"--lr={lr}", "--data.validation-share=0.5")
        assert main(options(sdt, tmp_path / name, calls, *given)) == 0
        out = load(tmp_path / name / "out")
        assert (out.sidecar.record["best_pass"] > 0) == better
        assert (out.digest != load(sdt).digest) == better


def test_new_temperatures_are_fitted_where_lines_can_tell(sdt: Path, miniature: Miniature, tmp_path: Path) -> None:
    """Patterns that enough held-out lines show are calibrated anew, on few lines or without the modality they stay."""
    words = [f"--data.train.root={miniature.meld}", "--data.train.corpus=meld", "--data.train.split=train"]
    for share, anew in (("0.6", True), ("0.1", False)):
        given = (*words, "--epochs=1", f"--data.validation-share={share}")
        assert main(options(sdt, tmp_path, miniature.meld, *given)) == 0
        after = load(tmp_path / "out").sidecar
        kept = {pattern for pattern, value in after.temperature.items() if value == TEMPERATURE[pattern]}
        assert kept == ({"voice", "text+voice"} if anew else set(TEMPERATURE))
        assert (after.abstain != 0.35) == anew
        assert (after.record["prior"] != PRIOR) == anew


def test_corrections_calibrate_nothing(sdt: Path) -> None:
    """However many lines were corrected, the start's temperatures stay: they are what the model had wrong."""
    assert not calibrates(load(sdt), "corrections", 10_000)
    assert calibrates(load(sdt), "folder", 10_000)
    assert calibrates(None, "corrections", 1)


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        (["--data.train.labels=iemocap6"], CheckpointError, r"meld7, .* iemocap6"),
        (["--features.adapter=text-minilm-emotion"], CheckpointError, r"minilm-l6 .* text-minilm-emotion"),
        (["--system=cmath"], CheckpointError, r"is a sdt.* cmath"),
        (["--model.width=32"], UsageError, r"model.width is 32.* has 16"),
        (["--start=nowhere"], CheckpointError, r"no checkpoint nowhere"),
    ],
    ids=["labels", "features", "system", "model", "unknown"],
)
def test_what_does_not_go_with_the_start_is_refused(
    sdt: Path, calls: Path, tmp_path: Path, given: list[str], error: type[TrackerError], named: str
) -> None:
    """Other labels, features, system or shape than the start's end in one sentence that names both."""
    with pytest.raises(error, match=named) as raised:
        fit(configuration(options(sdt, tmp_path, calls, *given))[1])
    assert str(raised.value).count(".\n") == 0
    assert not (tmp_path / "run").exists()


def test_modality_unknown_to_the_start_is_refused(sdt: Path) -> None:
    """A feature of a modality that the start was not built for names it."""
    face = msgspec.structs.replace(VOICE, modality="face")
    with pytest.raises(CheckpointError, match="knows no face"):
        require_feature(load(sdt), face)
    require_feature(load(sdt), VOICE)
    require_feature(None, face)


def test_killed_run_goes_on_bit_equal_from_its_start_alone(
    sdt: Path, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed, it has the weights of a run left alone; from another start of that name it is not resumed."""
    for name in ("whole", "killed"):
        monkeypatch.chdir(write_start(tmp_path / name / "start").parent)
        command = options(Path("start"), tmp_path / name, calls, "--epochs=3", "--lr=1e-3", "--resume=true")
        if name == "killed":
            with monkeypatch.context() as patch:
                end_in_pass(2, KeyboardInterrupt(), patch, at=1)
                assert main(command) == 130
        assert main(command) == 0
    one, other = (torch.load(tmp_path / name / "run" / "last.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(one["module"][name], other["module"][name]) for name in one["module"])
    assert one["progress"]["best"] == other["progress"]["best"]
    kept = [(tmp_path / name / "run" / "best.safetensors").read_bytes() for name in ("whole", "killed")]
    assert kept[0] == kept[1]
    write_start(tmp_path / "killed" / "start", seed=1)
    with pytest.raises(UsageError, match="other settings"):
        fit(configuration(command)[1])
