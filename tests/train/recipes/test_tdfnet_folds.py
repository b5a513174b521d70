"""`python -m train tdfnet`: folds, results, ablations, resumption, on a miniature RAVDESS and a tiny encoder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.miniature_corpora import write_ravdess
from support.tiny_encoder import tiny_encoder

from core_models.checkpoint import load
from core_models.errors import UsageError
from core_models.networks.tdfnet import TDFNet
from train.__main__ import configuration, main
from train.corpora.ravdess import read_ravdess
from train.corpora.registry import CorpusConfig
from train.evaluation.results import read_results
from train.loop.schedule import Schedule
from train.losses.tdfnet import TDFNetObjective
from train.recipes.tdfnet.ablations import TABLE_V
from train.recipes.tdfnet.config import TDFNetTraining, network_config
from train.recipes.tdfnet.fit import fit_tdfnet, table_i, table_seeds
from train.recipes.tdfnet.utterances import EmbeddingCache, Embeddings, hidden

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the miniature corpus, the tiny encoder and the store."""
    root = tmp_path_factory.mktemp("tdfnet")
    write_ravdess(root / "ravdess", actors=(1, 2, 3))
    tiny_encoder(root / "tiny")
    return root


def small(place: Path, **changes: object) -> TDFNetTraining:
    config = TDFNetTraining(
        corpus=CorpusConfig(corpus="ravdess", root=place / "ravdess"),
        plan="lopo",
        folds=("without actor 2",),
        validation_share=0.3,
        runs=place / "runs",
        embeddings=Embeddings(frames="spectrogram", speaker=None, text=str(place / "tiny")),
        model={"width": 8, "heads": 2, "feed_forward": 8, "layers": 1, "blocks": 1, "gate": "source"},
        schedule=Schedule(
            epochs=2, warm_up=0.0, shape="constant", patience=3, batch=8, threads=1, lr=1e-3, device="cpu"
        ),
        store=place / "store",
    )
    return dataclasses.replace(config, **changes)


def test_a_fold_leaves_a_result_and_a_checkpoint(place: Path) -> None:
    """Eq. 12: WA and UA of the left-out person alone, by a checkpoint that says how it came about."""
    result = fit_tdfnet(small(place, name="one"))[0]
    assert (result.fold, result.stamp, result.n) == ("without actor 2", "", 8)
    confusion = torch.tensor(result.confusion).double()
    assert result.accuracy == pytest.approx(float(confusion.trace() / confusion.sum()), abs=1e-4)
    occurring = confusion.sum(1) > 0
    assert result.uar == pytest.approx(float((confusion.diagonal() / confusion.sum(1))[occurring].mean()), abs=1e-4)
    assert set(result.breakdown["modalities"].parts) == {"text", "voice"}
    files = list((place / "runs" / "one" / "results").iterdir())
    assert read_results(files[0]) == [result]
    checkpoint = load(place / "runs" / "one" / files[0].stem / "checkpoint")
    assert isinstance(checkpoint.model, TDFNet)
    assert checkpoint.sidecar.record["fold"] == "without actor 2"
    assert checkpoint.sidecar.record["lines"]["test"] == 8
    assert checkpoint.sidecar.features["voice"].name == "spectrogram"


def test_random_folds_say_what_they_share(place: Path) -> None:
    """Lines of a speaker who is in training and test are stamped on the result and stand in Table I (Table IV)."""
    results = fit_tdfnet(small(place, name="random", plan="random", folds=("1 of 10", "2 of 10")))
    assert all("speakers of the test are in training" in one.stamp for one in results)
    console = Console(record=True, width=160, quiet=True)
    console.print(table_i(results))
    assert len([r for r in results if r.n]) == 2
    assert table_i(results).row_count == 3


def test_the_same_seed_gives_the_same_weights_and_another_does_not(place: Path) -> None:
    """Two runs of a seed end with the same digest; a finished run that is started again stays as it is."""
    first = fit_tdfnet(small(place, name="a"))[0]
    assert fit_tdfnet(small(place, name="a"))[0] == first
    assert fit_tdfnet(small(place, name="b"))[0].digest == first.digest
    schedule = dataclasses.replace(small(place).schedule, seed=1)
    assert fit_tdfnet(small(place, name="c", schedule=schedule))[0].digest != first.digest


def test_a_killed_run_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its second epoch, and started again, a run ends with the weights of one that was not killed."""
    whole = fit_tdfnet(small(place, name="whole", hide=0.5))[0]
    schedule = dataclasses.replace(small(place).schedule, checkpoint_every=1)
    config = small(place, name="killed", hide=0.5, schedule=schedule)
    calls, loss = [], TDFNetObjective.__call__

    def killed(self: TDFNetObjective, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(self, logits, truth)

    with monkeypatch.context() as patched:
        patched.setattr(TDFNetObjective, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            fit_tdfnet(config)
    assert fit_tdfnet(config)[0].digest == whole.digest


def test_other_settings_do_not_go_on_from_a_run(place: Path) -> None:
    """A run of the same name with another learning rate is refused."""
    fit_tdfnet(small(place, name="settings"))
    with pytest.raises(UsageError, match="other settings"):
        fit_tdfnet(small(place, name="settings", schedule=dataclasses.replace(small(place).schedule, lr=0.1)))


@pytest.mark.parametrize("row", [row for row in TABLE_V if row != "TDFNet"])
def test_rows_of_table_v(place: Path, row: str) -> None:
    """Each row trains, and its checkpoint lacks what the row leaves out."""
    config = small(place, name=f"row {row}", row=row)
    fit_tdfnet(dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, epochs=1)))
    folder = next((place / "runs" / f"row {row}").glob("*/checkpoint"))
    loaded = load(folder)
    expected = {
        "AUDIO PATH": (["voice"], 1, True),
        "TEXT PATH": (["text"], 1, True),
        "w/o DST": (["text", "voice"], 0, True),
        "w/o MT": (["text", "voice"], 1, False),
        "w/o ME": (["text", "voice"], 1, True),
    }[row]
    shape = loaded.model.config
    assert (sorted(loaded.sidecar.features), shape.blocks, shape.mutual) == expected


def test_statistics_are_those_of_all_frames(place: Path) -> None:
    """Mean and deviation, joined clip by clip, are those of all frames of all clips, and of all tokens."""
    embedded = EmbeddingCache(small(place).embeddings, place / "store", 1)
    utterances, left_out = embedded.utterances(read_ravdess(place / "ravdess"), QUIET)
    assert (len(utterances), left_out) == (24, {})
    features, lengths = embedded.batch(utterances)
    for modality, mean, deviation in embedded.statistics(utterances):
        rows = torch.cat([x[:n] for x, n in zip(features[modality], lengths[modality].tolist(), strict=True)])
        torch.testing.assert_close(mean, rows.mean(0), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(deviation, rows.std(0, correction=0), atol=1e-4, rtol=1e-3)


def test_sound_that_cannot_be_read_is_counted(place: Path, tmp_path: Path) -> None:
    """A broken clip whose words are known stays as words; where there are no words it is left out as broken."""
    write_ravdess(tmp_path / "ravdess", actors=(1,))
    broken = sorted((tmp_path / "ravdess").rglob("*.wav"))[0]
    broken.write_bytes(b"no sound")
    corpus = read_ravdess(tmp_path / "ravdess")
    both = EmbeddingCache(small(place).embeddings, tmp_path / "store", 1)
    utterances, left_out = both.utterances(corpus, QUIET)
    assert (len(utterances), left_out) == (8, {})
    assert sorted(u.frames > 0 for u in utterances) == [False] + [True] * 7
    heard = EmbeddingCache(dataclasses.replace(small(place).embeddings, text=None), tmp_path / "store", 1)
    assert heard.utterances(corpus, QUIET)[1] == {"broken": 1}


def test_hiding_leaves_one_modality() -> None:
    """Of utterances with both, the share loses one or the other; nobody who has one loses it."""
    torch.manual_seed(0)
    lengths = {"text": torch.tensor([3] * 1000 + [0, 5]), "voice": torch.tensor([7] * 1000 + [2, 0])}
    shown = hidden(lengths, 0.4)
    one = (shown["text"] == 0) ^ (shown["voice"] == 0)
    assert one[1000:].all()
    assert not ((shown["text"] == 0) & (shown["voice"] == 0)).any()
    assert 330 < int(one[:1000].sum()) < 470
    assert 120 < int((shown["text"][:1000] == 0).sum()) < 280
    assert hidden(lengths, 0.0) is lengths


def test_seeds_run_the_folds_again(place: Path) -> None:
    """Each seed has a folder of its own and other weights, and the table gives the deviation over them."""
    results = fit_tdfnet(small(place, name="seeds", seeds=(3, 4)))
    assert [one.seed for one in results] == [3, 4]
    assert results[0].digest != results[1].digest
    for seed in (3, 4):
        assert len(list((place / "runs" / "seeds" / f"seed{seed}" / "results").iterdir())) == 1
    table = table_seeds(results, (3, 4))
    assert list(table.columns[0].cells) == ["3", "4", "all"]
    mean = sum(one.uar for one in results) / 2
    spread = abs(results[0].uar - results[1].uar) / 2**0.5
    assert list(table.columns[3].cells)[-1] == f"{round(mean, 4):.2%} +- {round(spread, 4):.2%}"
    with pytest.raises(UsageError, match="each once"):
        small(place, seeds=(1, 1))


def test_configs_of_the_paper() -> None:
    """The shipped configs are understood, and those of the paper have its numbers (IV-B)."""
    found = sorted(CONFIGS.glob("tdfnet_*.yaml"))
    assert len(found) >= 3
    for path in found:
        name, config = configuration(["tdfnet", f"--config={path}", "--corpus.root=somewhere"])
        assert name == "tdfnet"
        if "paper" in path.stem:
            shape = network_config(config.model, {"text": 768, "voice": 1216}, 4, 192)
            assert (shape.width, shape.heads, shape.feed_forward, shape.layers, shape.blocks) == (768, 12, 4096, 2, 2)
            plan = config.schedule
            assert (plan.clip, plan.warm_up, plan.decay) == (None, 0.0, 0.01)
            assert (config.plan, config.corpus.labels, config.hide) == ("loso", "iemocap4", 0.0)
            assert (plan.lr, plan.batch, plan.epochs, plan.patience, plan.shape) == (1e-4, 32, 20, 3, "constant")


def test_what_cannot_work_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown rows, folds and settings: one sentence that names the choices."""
    with pytest.raises(UsageError, match="w/o DST"):
        small(place, row="DST")
    with pytest.raises(UsageError, match="no fold 'nobody'.*without actor 1"):
        fit_tdfnet(small(place, folds=("nobody",)))
    with pytest.raises(UsageError, match="model.depth is no setting.*blocks"):
        small(place, model={"depth": 1})
    with pytest.raises(UsageError, match="name one"):
        Embeddings(frames=None, text=None)
    assert main(["tdfnet", "--corpus.corpus=ravdess", f"--corpus.root={place / 'nowhere'}"]) == 2
    assert "no RAVDESS speech" in capsys.readouterr().err


def test_results_are_plain_json(place: Path) -> None:
    """A fold's file holds what `python -m train table` reads: run, fold, stamp, scores."""
    fit_tdfnet(small(place, name="json"))
    path = next((place / "runs" / "json" / "results").iterdir())
    fields = json.loads(path.read_text(encoding="utf-8"))
    assert (fields["run"], fields["model"], fields["fold"]) == ("json", "tdfnet", "without actor 2")
    assert main(["table", str(path.parent), f"--out={path.parent.parent / 'table.md'}"]) == 0
    assert "json" in (path.parent.parent / "table.md").read_text(encoding="utf-8")
