"""`python -m train fit`: every shipped config runs as its header says, options are checked, the best pass is kept."""

from __future__ import annotations

import json
import shlex
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.miniature_corpora import Miniature
from support.miniature_corrections import SESSIONS, record
from support.miniature_iemocap import write_iemocap, write_voices

from core_models.checkpoint import load
from core_models.errors import CheckpointError, UsageError
from core_models.feature_spec import MODALITIES
from realtime.pipeline.models import load_models
from train.__main__ import configuration, main
from train.data.corpus_parts import read_corpora, split_dialogues
from train.recipes.dialogue.config import FitConfig
from train.recipes.dialogue.fit import fit

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "train"
DIALOGUE_MODELS = sorted(path for kind in ("sdt", "cmath") for path in CONFIGS.glob(f"{kind}_*.yaml"))
TINY = ["--model.width=16", "--model.heads=2", "--model.feed-forward=16", "--batch=4", "--threads=1", "--device=cpu"]

pytestmark = pytest.mark.weights


def words_alone(miniature: Miniature, runs: Path, *options: str) -> FitConfig:
    """A run of a small model on words alone."""
    given = ["--features.voice=null", "--features.face=null", f"--runs={runs}", "--epochs=4", *TINY, *options]
    name, config = configuration(["fit", *miniature.options("meld"), *given])
    assert name == "fit"
    return config


def header(path: Path) -> list[str]:
    """The command in the first line of a config."""
    command = shlex.split(path.read_text().splitlines()[0].removeprefix("# "))
    assert command[:4] == ["python", "-m", "train", "fit"]
    return command[3:]


@pytest.mark.parametrize("path", DIALOGUE_MODELS, ids=lambda path: path.stem)
def test_shipped_config_runs_as_its_header_says(
    path: Path, miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header's command, given the corpora, trains; the checkpoint loads with a temperature for every pattern."""
    monkeypatch.chdir(ROOT)
    command = header(path)
    assert f"configs/train/{path.name}" in command
    iemocap = "iemocap" in path.stem
    root = write_iemocap(tmp_path / "iemocap", sessions=5) if iemocap else tmp_path / "meld"
    if not iemocap:  # whose test part is not in the miniature
        shutil.copytree(miniature.meld, root)
        shutil.copy(root / "dev_sent_emo.csv", root / "test_sent_emo.csv")
    start = None
    if path.stem.endswith("_corrections"):
        start, root = load("default"), tmp_path / "calls"
        for session in SESSIONS:
            record(root, session, start.sidecar.features["voice"])
    places = {
        "--data.train.root": root,
        "--data.ravdess": miniature.ravdess,
        "--data.fer2013": miniature.fer2013,
        "--features.imported.voice": write_voices(tmp_path / "voices.npz", root) if iemocap else None,
    }
    for row, option in enumerate(command):
        if command[row + 1 : row + 2] in (["FOLDER"], ["FILE"]):
            command[row + 1] = str(places[option])
    assert not {"FOLDER", "FILE"} & set(command)
    few = ["--epochs=1", "--steps=2", "--seeds=[]", "--device=cpu", "--threads=1", f"--data.store={miniature.store}"]
    few.append("--features.text=minilm-l6")  # the encoder that every machine has
    on_test = "select_on: test" in path.read_text(encoding="utf-8")
    if path.stem.endswith("_paper"):  # smaller than the paper's network
        few += ["--model.width=160", "--model.feed-forward=64"]
    assert main([*command, *few, f"--runs={tmp_path}", f"--export={tmp_path / 'out'}"]) == 0
    checkpoint = load(tmp_path / "out")
    modalities = [m for m in MODALITIES if m in checkpoint.sidecar.features]
    every = {"+".join(p) for size in range(1, len(modalities) + 1) for p in combinations(modalities, size)}
    assert set(checkpoint.sidecar.temperature) == every
    assert 0 < checkpoint.sidecar.abstain <= 1 or (start and checkpoint.sidecar.abstain == start.sidecar.abstain)
    assert ("on test" in checkpoint.sidecar.record["selection"]) == on_test
    assert sum(checkpoint.sidecar.record["prior"]) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "out" / "record" / "loss.png").stat().st_size > 1000


def test_kept_pass_is_the_best_on_validation(miniature: Miniature, tmp_path: Path) -> None:
    """The checkpoint holds the weights of the pass with the highest selection score, and the record names it."""
    folder = fit(words_alone(miniature, tmp_path, "--lr=0.01"))
    history = [json.loads(row) for row in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    best = max(history, key=lambda row: row["selection"])
    checkpoint = load(folder)
    record = checkpoint.sidecar.record
    assert record["best_pass"] == best["epoch"]
    assert record["validation"]["text"]["weighted_f1"] == pytest.approx(best["selection"], abs=1e-4)
    kept = load_file(tmp_path / "run" / "best.safetensors")
    for name, value in checkpoint.model.state_dict().items():
        torch.testing.assert_close(value, kept[name].half().float())


def test_selection_on_test_is_stamped(miniature: Miniature, tmp_path: Path) -> None:
    """Passes chosen on the test part train on all of the training part, and the record says how they were chosen."""
    options = ("--select-on=test", "--data.test.split=dev", "--epochs=1")
    record = load(fit(words_alone(miniature, tmp_path, *options))).sidecar.record
    assert record["select_on"] == "test"
    assert "on test" in record["selection"]
    assert record["data"]["meld"]["validation lines"] == 34  # all of dev
    assert "validation" not in record
    honest = load(fit(words_alone(miniature, tmp_path, "--epochs=1"))).sidecar.record
    assert honest["select_on"] == "validation"
    assert honest["data"]["meld"]["training lines"] < record["data"]["meld"]["training lines"]


def test_dimension_that_never_moved_says_nothing(miniature: Miniature, tmp_path: Path) -> None:
    """Stills never move; when a live face does, the logits hardly change."""
    path = CONFIGS / "default.yaml"
    given = [*miniature.options("meld", "ravdess", "fer2013"), f"--runs={tmp_path}", f"--export={tmp_path / 'out'}"]
    main(["fit", f"--config={path}", *given, "--threads=1", "--epochs=1", "--steps=2", "--device=cpu"])
    model = load(tmp_path / "out").model
    still = torch.zeros(1, 1, model.config.dimensions["face"])
    moving = still.clone()
    moving[..., 55:] = 0.5
    present, speakers = torch.tensor([[[False, False, True]]]), torch.zeros(1, 1, dtype=torch.long)
    one, other = (model({"face": face}, present, speakers).logits for face in (still, moving))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("--modle.width=32", "modle"),
        ("--model.width=thin", "width"),
        ("--model.kernels=3", "kernels"),
        ("--objective.temperature=-1", "temperature"),
        ("--objective.gamma1=1", "gamma1"),
        ("--system=tdfnet", "system"),
        ("--schedule=linear", "schedule"),
        ("--batch=0", "batch"),
        ("--model.heads=7", "heads"),
        ("--select=[text+smell]", "text+smell"),
        ("--select-on=test", "data.test"),
        ("--data.validation.split=train", "train/dia0"),
        ("--seeds=[1,1]", "seeds"),
        ("--device=cuda", "cuda"),
    ],
)
def test_wrong_option_is_one_sentence(
    miniature: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, named: str
) -> None:
    """An unknown or impossible option ends with the documented code and one sentence that names it."""
    if wrong == "--device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    given = [*miniature.options("meld"), f"--runs={tmp_path}", "--features.voice=null", "--features.face=null"]
    assert main(["fit", *given, wrong]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert named in told


def test_a_setting_that_wants_two_modalities_is_accepted(miniature: Miniature, tmp_path: Path) -> None:
    """SDT's Table IV, w/o intra-modal transformers, parses, and is refused where the data have one modality alone."""
    config = words_alone(miniature, tmp_path, "--model.transformers=inter")
    with pytest.raises(UsageError, match="text is the only modality"):
        fit(config)
    both = [*miniature.options("meld", "ravdess"), f"--runs={tmp_path}", "--features.face=null", *TINY]
    assert main(["fit", *both, "--model.transformers=inter", "--epochs=1", "--steps=1"]) == 0


def test_older_names_of_options_are_understood(miniature: Miniature, tmp_path: Path) -> None:
    """`export` is `out`, and `schedule` is `shape`."""
    config = words_alone(miniature, tmp_path, f"--export={tmp_path / 'there'}", "--schedule=constant")
    assert (config.out, config.shape) == (tmp_path / "there", "constant")
    assert config.training_schedule().warm_up == 0


@pytest.mark.parametrize(("chosen", "field"), [("sdt", "--objective.temperature"), ("cmath", "--objective.gamma2")])
def test_help_documents_the_chosen_system(chosen: str, field: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`fit --system NAME --help` shows that paper's settings, and no other's."""
    with pytest.raises(SystemExit):
        main(["fit", f"--system={chosen}", "--help"])
    told = capsys.readouterr().out
    assert field in told
    assert "--model.width" in told
    assert ("--objective.gamma1" in told) == (chosen == "cmath")


def test_unknown_key_in_a_config_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config with a key that nobody knows is refused in a sentence that names the key."""
    (tmp_path / "x.yaml").write_text("data:\n  train: {corpus: meld, root: x}\nlerning_rate: 0.1\n")
    assert main(["fit", f"--config={tmp_path / 'x.yaml'}"]) == 2
    assert "lerning_rate" in capsys.readouterr().err


def test_checkpoint_of_imported_features_is_refused_live(miniature: Miniature, tmp_path: Path) -> None:
    """A checkpoint trained on vectors that no live code computes names them where a live voice is at hand."""
    root = write_iemocap(tmp_path / "iemocap")
    voices = write_voices(tmp_path / "gemaps47.npz", root)
    places = [f"--data.train.root={root}", f"--features.imported.voice={voices}", f"--runs={tmp_path}"]
    config = ["--config", str(CONFIGS / "sdt_iemocap.yaml"), "--features.text=minilm-l6", "--seeds=[]", *TINY]
    config += ["--epochs=1", "--steps=1"]
    assert main(["fit", *config, *places, f"--data.store={miniature.store}", f"--export={tmp_path / 'out'}"]) == 0
    with pytest.raises(CheckpointError, match=r"gemaps47 .*no live run"):
        load_models(str(tmp_path / "out"))
    live = load("default").sidecar.features
    with pytest.raises(CheckpointError, match=r"gemaps47 .* voice-base"):
        load(tmp_path / "out").require({"voice": live["voice"]})


def test_training_leaves_out_the_evaluated_episodes(miniature: Miniature, tmp_path: Path) -> None:
    """`data.without` drops dialogues of the episodes of another corpus; nothing left to train on is a sentence."""
    data = words_alone(miniature, tmp_path, "--data.without.corpus=ravdess", f"--data.without.root={miniature.ravdess}")
    assert sum(len(part.dialogues) for part in split_dialogues(read_corpora(data.data), data.data)) == 24
    same = ("--data.without.corpus=meld", f"--data.without.root={miniature.meld}", "--data.without.split=dev")
    with pytest.raises(UsageError, match="data.train"):
        fit(words_alone(miniature, tmp_path, *same))


def test_fold_trains_on_the_others(miniature: Miniature, tmp_path: Path) -> None:
    """One fold of a plan leaves its group out, and validation may keep speakers apart."""
    root = write_iemocap(tmp_path / "iemocap")
    places = ["fit", "--data.train.corpus=iemocap", f"--data.train.root={root}"]
    _, config = configuration([*places, "--data.plan=loso", "--data.fold=without 2", "--data.apart=speakers"])
    training, validation = split_dialogues(read_corpora(config.data), config.data)
    groups = [{dialogue.group for dialogue in part.dialogues} for part in (training, validation)]
    assert groups[0] | groups[1] == {"1", "3", "4"}
    assert not groups[0] & groups[1]
