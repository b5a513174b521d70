"""The card and its figures: what was measured, of the weights that are there, with every figure that it links."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.miniature_corpora import Miniature

from core_models.checkpoint import WEIGHTS, load, save
from core_models.errors import CheckpointError
from train.__main__ import main
from train.corpora.meld import read_meld
from train.evaluation.evaluate import selection_of
from train.evaluation.results import STAMP, read_results
from train.figures.fused_representation import project_tsne
from train.reports.model_card import CardConfig, write_card

pytestmark = pytest.mark.weights


@dataclass(frozen=True)
class Drawn:
    """A checkpoint's folder with results and figures in its record, and all that is written on the figures."""

    folder: Path
    written: list[str]


@pytest.fixture(scope="module")
def drawn(miniature: Miniature, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """MELD's words and RAVDESS's voices, evaluated into the record of a checkpoint of its own."""
    trained = load(checkpoint)
    folder = tmp_path_factory.mktemp("card") / "small"
    save(folder, trained.model, trained.sidecar)
    record = folder / "record"
    record.mkdir()
    (record / "history.jsonl").write_bytes((checkpoint / "record" / "history.jsonl").read_bytes())
    written: list[str] = []
    plain = Figure.savefig

    def save_and_read(self: Figure, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        written.extend(text.get_text() for text in self.findobj(Text))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_and_read)
        for corpus, options in (
            ("meld", ["--split=dev", "--utterance=dev/dia4:6"]),
            ("ravdess", ["--modalities=voice", "--prior=uniform"]),
        ):
            places = [f"--checkpoint={folder}", f"--root={getattr(miniature, corpus)}", f"--store={miniature.store}"]
            told = [f"--json={record / f'eval_{corpus}.json'}", f"--figures={record}"]
            assert main(["eval", f"--corpus={corpus}", *places, *told, *options]) == 0
    return Drawn(folder, written)


@pytest.fixture
def copied(drawn: Drawn, tmp_path: Path) -> Path:
    """That folder, to be spoilt."""
    return Path(shutil.copytree(drawn.folder, tmp_path / "card"))


def test_card_holds_what_was_measured(copied: Path) -> None:
    """The card tells features, licences, limits and every result in `record`, and holds every figure it links."""
    assert main(["card", f"--checkpoint={copied}"]) == 0
    card = (copied / "CARD.md").read_text(encoding="utf-8")
    for told in (
        "SDT (Ma et al., 2023), causal",
        "CC BY-NC-SA 4.0",
        "GPL-3.0",
        "FER-2013",
        "Art. 5(1)(f)",
        "sanity",
        "| uniform | 32 |",
        "whisper-base",
        "without shift",
        "says that it is uncertain",
        "| text+voice | ",
    ):
        assert told in card
    linked = re.findall(r"!\[.*?\]\((.*?)\)", card)
    for kind in ("loss", "meld_confusion", "meld_tsne_emotion", "meld_tsne_speaker", "meld_attention"):
        assert any(kind in link for link in linked), kind
    for link in linked:
        assert (copied / link).read_bytes().startswith(b"\x89PNG")
    assert sorted(f"record/{p.name}" for p in (copied / "record").glob("*.png")) == sorted(linked)
    assert STAMP not in card


def test_figures_hold_no_words(miniature: Miniature, drawn: Drawn) -> None:
    """Nothing that is written on a figure is a line or a name of the corpus."""
    assert any("speaker 1" in text for text in drawn.written)
    lines = list(read_meld(miniature.meld, "dev").utterances())
    for secret in {line.text for line in lines} | {line.speaker for line in lines}:
        assert not any(str(secret) in text for text in drawn.written), secret


def test_projection_is_the_same_again() -> None:
    """A seed puts the same vectors to the same points."""
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    assert np.array_equal(project_tsne(vectors, 3), project_tsne(vectors, 3))
    assert project_tsne(vectors, 3).shape == (40, 2)


def test_a_lost_figure_is_named(copied: Path) -> None:
    """A card never links a figure that is not there: it says which evaluation draws it."""
    (copied / "record" / "eval_meld_tsne_emotion.png").unlink()
    with pytest.raises(CheckpointError, match="eval_meld_tsne_emotion.png"):
        write_card(CardConfig(str(copied)))


def test_card_refuses_numbers_of_other_weights(copied: Path) -> None:
    """A result that measured other weights does not get into the card."""
    trained = load(copied)
    trained.model.classifier.bias.add_(1)
    save(copied, trained.model, trained.sidecar)
    with pytest.raises(CheckpointError, match="run that evaluation again"):
        write_card(CardConfig(str(copied)))
    assert not (copied / "CARD.md").exists()


def test_selection_on_test_is_stamped(copied: Path) -> None:
    """A checkpoint whose pass was chosen by its test score says so on its card, and to every result."""
    trained = load(copied)
    assert not selection_of(trained).startswith(STAMP)
    record = trained.sidecar.record | {"select_on": "test"}
    save(copied, trained.model, msgspec.structs.replace(trained.sidecar, record=record))
    history = copied / "record" / "history.jsonl"
    history.write_text(history.read_text(encoding="utf-8").replace('"validation ', '"test '), encoding="utf-8")
    write_card(CardConfig(str(copied)))
    assert f"**{STAMP}" in (copied / "CARD.md").read_text(encoding="utf-8")
    assert selection_of(load(copied)).startswith(STAMP)


@pytest.mark.parametrize(
    ("name", "paired"), [("default", True), ("default-small", True), ("iemocap-gemaps", False)]
)
def test_card_says_where_its_pairs_come_from(name: str, paired: bool) -> None:
    """Clips put to lines by label are told of as pairs that are no accuracy; turns with voices of their own are not."""
    card = (WEIGHTS / name / "CARD.md").read_text(encoding="utf-8")
    assert ("accuracy on pairs" in card) == paired
    assert ("clips put to them by label" in card) == paired
    assert ("without clips put to them" in card) == paired
    assert ("have these modalities of their own" in card) != paired


def test_shipped_card_is_that_of_the_shipped_weights() -> None:
    """Every number in the shipped default's record was measured on the weights that ship."""
    digest = load("default").digest
    record = WEIGHTS / "default" / "record"
    results = sorted(record.glob("eval_*.json"))
    assert results
    assert all(result.digest == digest for path in results for result in read_results(path))
    card = (WEIGHTS / "default" / "CARD.md").read_text(encoding="utf-8")
    assert digest[:12] in card
    for path in results:
        measured = json.loads(path.read_bytes())
        assert f"| {measured['n']} | {100 * measured['weighted_f1']:.1f} |" in card
    for link in re.findall(r"!\[.*?\]\((.*?)\)", card):
        assert (WEIGHTS / "default" / link).is_file()
