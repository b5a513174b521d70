"""MCED's stages, from a text teacher to a fine-tuned student, on miniature corpora."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from support import tiny_encoder
from support.miniature_mced import PHRASES, Pieces, write_pieces
from support.run_endings import interrupt_after_save

from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import TextFeature, load_encoder
from core_models.features.voice.mced_embedding import STUDENTS, MCEDVoice
from core_models.labels import MCED5, MELD7
from core_models.text_adapter import load_adapter
from train.__main__ import configuration, main
from train.corpora.dialogues import Utterance
from train.corpora.registry import CorpusConfig
from train.data.config import DataConfig
from train.evaluation.results import read_results
from train.loop.schedule import Schedule
from train.losses.mced import MCEDObjective
from train.recipes.mced.clips import Clip
from train.recipes.mced.distillation import DistilConfig, PairFilter, distil
from train.recipes.mced.fine_tuning import FinetuneConfig, finetune, one_in
from train.recipes.mced.masked_language_model import LanguageConfig, MaskedLanguage
from train.recipes.mced.seeds import finetune_each
from train.recipes.mced.teacher import Teacher, TeacherConfig, TeacherNames, fit_teacher
from train.recipes.text.config import FineTuningStage, TextConfig

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
QUIET = Console(quiet=True)
SHAPE = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 16, "dropout": 0.1}
OBJECTIVE = MCEDObjective(teacher_layers=(1, 2), student_layers=(1, 2), weights=(0.1, 0.3))
SHORT = Schedule(epochs=3, lr=5e-3, batch=8, checkpoint_every=2, device="cpu", threads=1)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    """What the stages read."""
    with pytest.MonkeyPatch.context() as patch:
        return write_pieces(tmp_path_factory.mktemp("mced"), patch)


@pytest.fixture(scope="module")
def taught(pieces: Pieces) -> Path:
    """M_T, after both stages: a folder with `m1` and `teacher`."""
    root = pieces.store.parent
    language = LanguageConfig(
        base=str(pieces.encoder),
        corpora=[CorpusConfig(corpus="meld", root=pieces.meld, split="train")],
        lines=[root / "lines.txt"],
        out=root / "m1",
        run=root / "language",
        validation=0.3,
        schedule=dataclasses.replace(SHORT, epochs=2),
    )
    (root / "lines.txt").write_text("this is the best day\nso happy for this day .\n\nyou had what ?\n")
    text = TextConfig(
        stages=[FineTuningStage("meld", epochs=10, lr=1e-2)],
        data={"meld": pieces.meld},
        out=root / "teacher",
        run=root / "text",
        rank=2,
        batch=8,
        threads=1,
        device="cpu",
    )
    fit_teacher(TeacherConfig(text=text, language=language), QUIET)
    return root


@pytest.fixture(scope="module")
def lesson(pieces: Pieces, taught: Path) -> DistilConfig:
    """A distillation on Whisper tiny.en's frames."""
    return DistilConfig(
        pairs=[CorpusConfig(corpus="folder", root=pieces.pairs)],
        teacher=TeacherNames(adapter=str(taught / "teacher")),
        frames="whisper-tiny.en",
        student=SHAPE,
        objective=OBJECTIVE,
        choose=PairFilter(shortest_s=0.5, confidence=0.0),
        validation=0.3,
        schedule=SHORT,
        store=pieces.store,
        out=taught / "student",
        run=taught / "distil",
    )


@pytest.fixture(scope="module")
def distilled(lesson: DistilConfig) -> Path:
    """A student that the teacher has taught."""
    distil(lesson, QUIET)
    return lesson.out


def refined(pieces: Pieces, folder: Path, **changes: object) -> FinetuneConfig:
    data = DataConfig(
        train=CorpusConfig(corpus="folder", root=pieces.pairs),
        apart="speakers",
        validation_share=0.3,
        store=pieces.store,
    )
    settings = {"frames": "whisper-tiny.en", "student": SHAPE, "schedule": SHORT} | changes
    return FinetuneConfig(data=data, out=folder / "out", run=folder / "run", **settings)  # type: ignore[arg-type]


def test_teacher_goes_through_its_three_stages(pieces: Pieces, taught: Path) -> None:
    """M_1 is M_0 changed by masked language modelling, in the hub's format; M_T is an adapter on it of five classes."""
    before, after = (load_file(folder / "model.safetensors") for folder in (pieces.encoder, taught / "m1"))
    assert any(not torch.equal(before[name], after[name]) for name in after)
    sidecar, tensors = load_adapter(taught / "teacher")
    assert (sidecar.base, sidecar.labels) == (str(taught / "m1"), "mced5")
    assert sidecar.base_digest == load_encoder(taught / "m1").digest
    assert len(tensors["classifier.weight"]) == len(MCED5)
    teacher = Teacher(TeacherNames(adapter=str(taught / "teacher")))
    believed = [MCED5.labels[row] for row in teacher(list(PHRASES.values())).logits.argmax(-1)]
    assert believed == list(PHRASES)


def test_a_finished_stage_is_not_run_again(pieces: Pieces, taught: Path) -> None:
    """M_1 that stands in its folder is kept, byte for byte."""
    stood = (taught / "m1" / "model.safetensors").stat().st_mtime_ns
    language = LanguageConfig(base="nowhere", out=taught / "m1", run=taught / "again")
    text = TextConfig(
        stages=[FineTuningStage("meld", epochs=1, lr=1e-3)],
        data={"meld": pieces.meld},
        out=taught / "second",
        run=taught / "second-run",
        rank=2,
        threads=1,
        device="cpu",
    )
    fit_teacher(TeacherConfig(text=text, language=language), QUIET)
    assert (taught / "m1" / "model.safetensors").stat().st_mtime_ns == stood


def test_tokens_are_masked_as_bert_masks_them(pieces: Pieces) -> None:
    """15% of the tokens are asked for, marks never; of those 80% are masked, 10% are others, all else stays."""
    torch.manual_seed(0)
    model = MaskedLanguage(load_encoder(pieces.encoder))
    ids = torch.randint(4, 20, (400, 32))
    mask = (torch.arange(32) < torch.randint(3, 33, (400, 1))).long()
    asked = model.ask(ids, mask)
    assert not asked[:, 0].any()
    assert not asked.gather(1, mask.sum(1, keepdim=True) - 1).any()
    assert not (asked & ~mask.bool()).any()
    inner = int((mask.sum(1) - 2).sum())
    assert int(asked.sum()) / inner == pytest.approx(0.15, abs=0.02)
    read = model.disturb(ids, asked)
    assert torch.equal(read[~asked], ids[~asked])
    assert float((read[asked] == model.mask).float().mean()) == pytest.approx(0.8, abs=0.05)
    kept = float((read[asked] == ids[asked]).float().mean())
    assert kept == pytest.approx(0.1 + 0.1 / model.words.num_embeddings, abs=0.04)


def test_mpnet_can_be_read_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked language modelling reaches every weight of an MPNet, too; without a mask token it is refused."""
    with pytest.raises(UsageError, match="no .MASK. or <mask>"):
        MaskedLanguage(load_encoder(tiny_encoder.tiny_encoder(tmp_path / "maskless", kind="mpnet")))
    monkeypatch.setattr(tiny_encoder, "WORDS", [*tiny_encoder.WORDS, "<mask>"])
    torch.manual_seed(0)
    model = MaskedLanguage(load_encoder(tiny_encoder.tiny_encoder(tmp_path / "mpnet", kind="mpnet")))
    loss = model((torch.randint(4, 20, (8, 24)), torch.ones(8, 24, dtype=torch.long)))["loss"]
    loss.backward()
    assert float(loss.detach()) > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_paper_s_configs_fit_together() -> None:
    """The teacher that mced_teacher.yaml trains has the layers that mced_distil_paper.yaml distils from."""
    _, first = configuration(["mced", f"--config={CONFIGS / 'mced_teacher.yaml'}", "--teacher.text.data.meld=x"])
    _, second = configuration(["mced", f"--config={CONFIGS / 'mced_distil_paper.yaml'}"])
    assert first.teacher.language.base == "mpnet-base"  # whose twelve layers are the paper's twelve
    layers = second.distil.losses().pairs(12, student=6)
    assert [pair.teacher for pair in layers] == [6, 8, 10, 12]
    assert second.distil.teacher.encoder == str(first.teacher.language.out)
    assert second.distil.teacher.adapter == first.teacher.text.out.name


def test_teacher_is_the_text_feature_under_its_classifier(taught: Path) -> None:
    """Logits are the classifier over the mean of the last layer, and hidden states those of the layers asked for."""
    teacher = Teacher(TeacherNames(adapter=str(taught / "teacher"), encoder=str(taught / "m1")))
    texts = [*PHRASES.values(), PHRASES["joy"]]
    told = teacher.teach(texts, (1, 2))
    feature = TextFeature(taught / "m1", adapter=taught / "teacher")(texts)
    _, tensors = load_adapter(taught / "teacher")
    expected = feature @ tensors["classifier.weight"].float().numpy().T + tensors["classifier.bias"].float().numpy()
    np.testing.assert_allclose(told.logits.numpy(), expected, atol=1e-4)
    last = (told.words[1] * told.said[..., None]).sum(1) / told.said.sum(1, keepdim=True)
    np.testing.assert_allclose(last.numpy(), feature, atol=1e-4)
    assert not torch.allclose(told.words[0], told.words[1])
    assert not told.logits.requires_grad


def test_an_adapter_of_seven_teaches_five(pieces: Pieces, tmp_path: Path) -> None:
    """Of seven logits the five are taken as they are; a label set without all five is refused."""
    text = TextConfig(
        stages=[FineTuningStage("meld", epochs=1, lr=1e-3)],
        data={"meld": pieces.meld},
        out=tmp_path / "seven",
        run=tmp_path / "run",
        base=str(pieces.encoder),
        rank=2,
        threads=1,
        device="cpu",
        labels="meld7",
    )
    fit_teacher(TeacherConfig(text=text), QUIET)
    chosen = TeacherNames(adapter=str(tmp_path / "seven"))
    columns = [MELD7.index(label) for label in MCED5.labels]
    texts = list(PHRASES.values())
    torch.testing.assert_close(Teacher(chosen)(texts).logits, Teacher(chosen, MELD7)(texts).logits[:, columns])
    sidecar, _ = load_adapter(tmp_path / "seven")
    four = msgspec.structs.replace(sidecar, labels="iemocap4")
    (tmp_path / "seven" / "sidecar.json").write_bytes(msgspec.json.encode(four))
    with pytest.raises(UsageError, match="cannot teach neutral, joy"):
        Teacher(chosen)


@pytest.mark.weights
def test_a_student_learns_from_its_teacher(lesson: DistilConfig, distilled: Path) -> None:
    """Distillation without a label brings both levels down, and the student comes back from its folder."""
    student = STUDENTS.load(distilled)
    record = student.sidecar.record
    first, last = record["epochs"][0], record["epochs"][-1]
    assert last["response"] < first["response"]
    assert last["feature"] < first["feature"]
    assert student.sidecar.labels == "mced5"
    assert record["layer_pairs"] == [[1, 1, 0.1], [2, 2, 0.3]]
    assert (record["pairs"]["sentences"], record["pairs"]["training"] + record["pairs"]["validation"]) == (3, 24)
    assert student.model.deviation.min() > 0
    assert MCEDVoice(student, student.sidecar.inputs).spec.name == "mced-student"


@pytest.mark.weights
def test_a_killed_run_ends_with_the_same_weights(
    lesson: DistilConfig, distilled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies after a checkpoint and is started again ends bit-equal; one of other settings is refused."""
    again = dataclasses.replace(lesson, run=tmp_path / "run", out=tmp_path / "student")
    with monkeypatch.context() as patch:
        interrupt_after_save(3, patch)
        with pytest.raises(KeyboardInterrupt):
            distil(again, QUIET)
    assert not again.out.exists()
    distil(again, QUIET)
    assert STUDENTS.load(again.out).digest == STUDENTS.load(distilled).digest
    with pytest.raises(UsageError, match="other settings"):
        distil(dataclasses.replace(again, objective=dataclasses.replace(OBJECTIVE, temperature=2.0)), QUIET)


@pytest.mark.weights
def test_without_pairs_there_is_nothing_to_learn(lesson: DistilConfig, tmp_path: Path) -> None:
    """Filters that leave no pair end in a sentence that counts why, before anything is trained."""
    for choose, reason in (
        (PairFilter(), "24 too short"),
        (PairFilter(words=9), "24 too few words"),
        (PairFilter(shortest_s=0.5, confidence=1.01), "24 teacher not sure"),
    ):
        with pytest.raises(UsageError, match=reason):
            distil(dataclasses.replace(lesson, choose=choose, run=tmp_path / "run"), QUIET)


def test_pairs_are_chosen_by_length() -> None:
    """Section 3.1.2: shorter than 1.5 s and single words are left out, what is just long enough is not."""

    def pair(text: str | None, seconds: float) -> Clip:
        return Clip(Utterance("x", "A", text), "key", 1, seconds)

    choose = PairFilter()
    assert choose.reason(pair("two words", 1.5)) is None
    assert choose.reason(pair("two words", 1.48)) == "too short"
    assert choose.reason(pair("one", 3.0)) == choose.reason(pair(None, 3.0)) == "too few words"


def test_shares_of_the_labels_are_nested() -> None:
    """Table 7: 1/n of the lines, drawn by the seed, the smaller among the larger."""
    clips = [Clip(Utterance(f"{n}", "A", label="joy"), "key", 1, 1.0) for n in range(60)]
    drawn = {part: {clip.line.id for clip in one_in(part, clips, seed=0)} for part in (1, 2, 3, 5)}
    assert {part: len(ids) for part, ids in drawn.items()} == {1: 60, 2: 30, 3: 20, 5: 12}
    assert drawn[5] < drawn[3] < drawn[2] < drawn[1]
    assert drawn[5] != {clip.line.id for clip in one_in(5, clips, seed=1)}


@pytest.mark.weights
def test_fine_tuning_is_scored_by_eval_and_tabulated(pieces: Pieces, tmp_path: Path) -> None:
    """A student from scratch learns tones; eval gives its result by its own classifier, and table reads it."""
    config = refined(pieces, tmp_path, schedule=dataclasses.replace(SHORT, epochs=15), name="tones")
    record = finetune(config, QUIET)
    assert record["start"] is None
    assert record["part"] == "1/1"
    assert STUDENTS.load(config.out).sidecar.labels == "meld7"
    given = ["--checkpoint", str(config.out), "--corpus=folder", f"--root={pieces.pairs}", f"--store={pieces.store}"]
    assert main(["eval", *given, f"--json={tmp_path / 'result.json'}"]) == 0
    (result,) = read_results(tmp_path / "result.json")
    assert (result.model, result.run, result.seed, result.n) == ("mced", "tones", 0, 24)
    assert (result.context, result.modalities_used) == ("its own sound", ("voice",))
    assert result.accuracy > 0.8
    assert main(["table", str(tmp_path / "result.json"), f"--out={tmp_path / 'table.md'}"]) == 0
    assert "mced tones" in (tmp_path / "table.md").read_text()


@pytest.mark.weights
def test_seeds_give_mean_deviation_and_the_best_student(pieces: Pieces, tmp_path: Path) -> None:
    """Each seed has a run of its own; the summary is of their scores, and the student at `out` is that of the best."""
    config = refined(pieces, tmp_path, seeds=(0, 1), schedule=dataclasses.replace(SHORT, epochs=2))
    summary = finetune_each(config, QUIET)
    runs = [STUDENTS.load(config.run / f"seed{seed}" / "student") for seed in (0, 1)]
    assert runs[0].digest != runs[1].digest
    values = summary["validation"]["values"]
    assert summary["validation"]["mean"] == pytest.approx(sum(values) / 2, abs=1e-4)
    assert summary["validation"]["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-4)
    best = int(values[1] > values[0])
    assert summary["best_seed"] == best
    assert STUDENTS.load(config.out).digest == runs[best].digest
    assert runs[best].sidecar.record["run"]["seed"] == best
    with pytest.raises(UsageError, match="each once"):
        finetune_each(dataclasses.replace(config, seeds=(1, 1)), QUIET)


@pytest.mark.weights
def test_fine_tuning_begins_where_distillation_ended(pieces: Pieces, distilled: Path, tmp_path: Path) -> None:
    """With `start` all but the classifier is the distilled student's, the classifier is new, and the part is drawn."""
    still = dataclasses.replace(SHORT, epochs=1, lr=0.0)
    config = refined(pieces, tmp_path, start=distilled, student={}, part=5, schedule=still)
    record = finetune(config, QUIET)
    assert record["lines"]["training"] == round(record["lines"]["of"] / 5)
    before, after = (STUDENTS.load(folder).model.state_dict() for folder in (distilled, config.out))
    for name, value in before.items():
        assert name.startswith("classifier.") or torch.equal(value, after[name]), name
    assert len(after["classifier.3.weight"]) == len(MELD7)
    with pytest.raises(UsageError, match=r"finetune\.student"):
        finetune(dataclasses.replace(config, student=SHAPE), QUIET)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("mced_*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_read(path: Path) -> None:
    """Every MCED config fits the command's signature, once it is told where the corpora are."""
    stage = path.stem.split("_")[1]
    given = {
        "teacher": ["--teacher.text.data.goemotions=x", "--teacher.text.data.meld=x"],
        "distil": ["--distil.pairs=[{corpus: folder, root: x}]"],
        "finetune": ["--finetune.data.train.root=x"],
    }[stage]
    name, config = configuration(["mced", f"--config={path}", *given])
    assert (name, config.stage) == ("mced", stage)
    others = {"teacher", "distil", "finetune"} - {stage}
    assert getattr(config, stage) is not None
    assert all(getattr(config, other) is None for other in others)


def test_a_stage_without_its_key_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with a sentence that names the key."""
    assert main(["mced", "--stage=distil"]) == 2
    assert "give the key distil" in " ".join(capsys.readouterr().err.split())
