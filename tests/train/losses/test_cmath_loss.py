"""The training objective of CMATH, eq. 3-4 and 18-24."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED
from core_models.networks.cmath import CMATH, CMATHConfig, CMATHOutput
from train.losses.cmath import CMATHLosses, CMATHObjective

B, N, C, D = 2, 6, 4, 5
DIMENSIONS = {"text": 3, "voice": 2, "face": 4}


def case(seed: int = 0) -> tuple[CMATHOutput, Tensor, Tensor]:
    """An output whose tensors are leaves, labels with gaps, and modalities with gaps."""
    draw = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, requires_grad=True)

    output = CMATHOutput(
        logits=leaf(B, N, C),
        gates=torch.zeros(B, N, 3),
        students=leaf(B, N, 3, C),
        fused=leaf(B, N, D),
        augmented=leaf(B, N, 3, D),
        inputs={m: torch.randn(B, N, d, generator=draw) for m, d in DIMENSIONS.items()},
        reconstructed={m: leaf(B, N, d) for m, d in DIMENSIONS.items()},
    )
    labels = torch.randint(0, C, (B, N), generator=draw)
    labels[0, 1] = labels[1, 4:] = IGNORED
    present = torch.rand(B, N, 3, generator=draw) > 0.3
    present[0, 0], present[0, 3] = False, True
    present[0, 5] = torch.tensor([True, True, False])
    return output, labels, present


def by_the_book(output: CMATHOutput, labels: Tensor, present: Tensor) -> dict[str, list[list[float]]]:
    """Every summand of eq. 3, 18, 20, 21 and 23 with loops, in double precision, by term and modality."""
    terms: dict[str, list[list[float]]] = {name: [[], [], []] for name in ("ce", "reconstruction", "mse", "kl")}
    terms["task"] = [[]]
    for b in range(B):
        for i in range(N):
            for m, modality in enumerate(MODALITIES):
                if present[b, i, m]:
                    pair = output.inputs[modality][b, i], output.reconstructed[modality][b, i]
                    terms["reconstruction"][m] += [float((x - y) ** 2) for x, y in zip(*pair, strict=True)]  # 3
            y = int(labels[b, i])
            if y == IGNORED:
                continue
            teacher = output.logits[b, i].double().softmax(0)
            if present[b, i].any():
                terms["task"][0].append(-float(teacher[y].log()))  # 21
            for m in range(3):
                if present[b, i, m]:
                    pair = output.fused[b, i], output.augmented[b, i, m]
                    terms["mse"][m] += [float((x - y) ** 2) for x, y in zip(*pair, strict=True)]  # 18
                    student = output.students[b, i, m].double().softmax(0)
                    terms["ce"][m].append(-float(student[y].log()))  # 20
                    terms["kl"][m].append(float((teacher * (teacher / student).log()).sum()))  # 23
    return terms


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_terms_by_the_book(reduction: Any) -> None:
    """Each term is its equation over the entries that are there, and eq. 24 adds them up with its two weights."""
    output, labels, present = case()
    with torch.no_grad():
        losses = CMATHObjective(gamma1=0.5, gamma2=3.0, reduction=reduction)(output, labels, present)
        terms = by_the_book(output, labels, present)
    of_squares = mean if reduction == "mean" else sum
    task = mean(terms["task"][0])
    ce, kl = ([mean(x) for x in terms[name]] for name in ("ce", "kl"))
    reconstruction, mse = ([of_squares(x) for x in terms[name]] for name in ("reconstruction", "mse"))
    assert float(losses.task) == pytest.approx(task, rel=1e-5)
    assert losses.ce.tolist() == pytest.approx(ce, rel=1e-5)
    assert losses.high_level.tolist() == pytest.approx(kl, rel=1e-4)
    assert losses.reconstruction.tolist() == pytest.approx(reconstruction, rel=1e-5)
    assert losses.low_level.tolist() == pytest.approx(mse, rel=1e-5)
    total = task + sum(ce) + sum(reconstruction) + 0.5 * sum(mse) + 3 * sum(kl)
    assert float(losses.total) == pytest.approx(total, rel=1e-5)


def test_parts_are_what_the_log_shows() -> None:
    """The parts are detached scalars: the terms of eq. 24 before their weights, and each modality's own."""
    losses = CMATHObjective(gamma1=1.0, gamma2=1.0)(*case())
    parts = losses.parts()
    assert all(part.ndim == 0 and not part.requires_grad for part in parts.values())
    total = sum(parts[name] for name in ("task", "ce", "reconstruction", "mse", "kl"))
    torch.testing.assert_close(total, losses.total.detach())
    assert [parts[f"kl {m}"].item() for m in MODALITIES] == losses.high_level.tolist()
    assert [parts[f"mse {m}"].item() for m in MODALITIES] == losses.low_level.tolist()


@pytest.mark.parametrize(
    ("switches", "without"),
    [
        ({"low_level": False}, {"augmented", "fused"}),
        ({"high_level": False}, set()),
        ({"low_level": False, "high_level": False}, {"augmented", "fused"}),
    ],
)
def test_rows_of_table_four(switches: dict[str, bool], without: set[str]) -> None:
    """w/o LLD, HLD and HD leave out eq. 18, eq. 23 and both, in value and in gradient."""
    output, labels, present = case()
    losses = CMATHObjective(gamma1=0.5, gamma2=3.0, **switches)(output, labels, present)
    expected = losses.task + losses.ce.sum() + losses.reconstruction.sum()
    expected = expected + 0.5 * losses.low_level.sum() * switches.get("low_level", True)
    expected = expected + 3.0 * losses.high_level.sum() * switches.get("high_level", True)
    torch.testing.assert_close(losses.total, expected)
    losses.total.backward()
    assert {name for name in ("augmented", "fused") if getattr(output, name).grad is None} == without


def test_students_that_agree_have_nothing_to_learn() -> None:
    """Where a student says and holds what its teacher does, both distillations are zero, and elsewhere they are not."""
    output, labels, present = case()
    equal = output._replace(
        students=output.logits[:, :, None].expand(-1, -1, 3, -1) + 5.0,
        augmented=output.fused[:, :, None].expand(-1, -1, 3, -1),
        reconstructed=output.inputs,
    )
    losses = CMATHObjective()(equal, labels, present)
    assert losses.high_level.abs().max() < 1e-6
    assert (losses.low_level == 0).all()
    assert (losses.reconstruction == 0).all()
    other = CMATHObjective()(output, labels, present)
    assert all((x > 1e-3).all() for x in (other.high_level, other.low_level, other.reconstruction))


def test_missing_and_unlabelled_entries_carry_no_gradient() -> None:
    """What is missing learns nothing; what has no label learns to be reconstructed and nothing else."""
    output, labels, present = case()
    CMATHObjective()(output, labels, present).total.backward()
    labelled = (labels != IGNORED)[..., None]
    for x in (output.students, output.augmented):
        assert x.grad is not None
        assert (x.grad != 0).any(-1).equal(present & labelled)
    for x in (output.logits, output.fused):
        assert x.grad is not None
        assert (x.grad != 0).any(-1).equal((present & labelled).any(-1))
    for i, m in enumerate(MODALITIES):
        gradient = output.reconstructed[m].grad
        assert gradient is not None
        assert (gradient != 0).any(-1).equal(present[..., i])


def test_missing_entries_may_hold_anything() -> None:
    """What stands where a modality is missing changes no term and no gradient, even NaN."""
    output, labels, present = case()
    there = present[..., None]
    odd = output._replace(
        students=torch.where(there, output.students, torch.nan),
        augmented=torch.where(there, output.augmented, torch.nan),
        reconstructed={
            m: torch.where(present[..., i, None], output.reconstructed[m], torch.nan) for i, m in enumerate(MODALITIES)
        },
    )
    a, b = (CMATHObjective()(o, labels, present) for o in (odd, output))
    assert a.total.equal(b.total)
    a.total.backward()
    assert output.augmented.grad is not None
    assert output.augmented.grad.isfinite().all()


@pytest.mark.parametrize("detach", [False, True])
def test_teacher_learns_from_students_unless_detached(detach: bool) -> None:
    """Distillation moves the teacher as eq. 18 and 23 are printed, and leaves it alone when it is detached."""
    output, labels, present = case()
    losses = CMATHObjective(detach_teacher=detach)(output, labels, present)
    (losses.low_level.sum() + losses.high_level.sum()).backward()
    assert (output.logits.grad is None) == (output.fused.grad is None) == detach
    assert output.students.grad is not None
    assert output.augmented.grad is not None


@pytest.mark.parametrize("empty", ["labels", "voice", "everything"])
def test_means_over_nothing_are_zero(empty: str) -> None:
    """A batch without a label, without a modality or without anything gives zeros there and finite gradients."""
    output, labels, present = case()
    if empty == "labels":
        labels[:] = IGNORED
    else:
        present[..., 1 if empty == "voice" else slice(None)] = False
    losses = CMATHObjective(class_weights=(1.0, 2.0, 3.0, 4.0))(output, labels, present)
    assert losses.ce[1] == losses.low_level[1] == losses.high_level[1] == 0
    assert (losses.reconstruction[1] == 0) == (empty != "labels")
    assert (losses.total == 0) == (empty == "everything")
    losses.total.backward()
    for x in (output.logits, output.students, output.augmented, *output.reconstructed.values()):
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_class_weights_and_smoothing_shape_the_cross_entropies_alone() -> None:
    """Both change the four cross entropies as they say, and no other term."""
    output, labels, present = case()
    weights = (1.0, 0.5, 4.0, 2.0)
    plain, weighted, smooth = (
        CMATHObjective(**changes)(output, labels, present)  # type: ignore[arg-type]
        for changes in ({}, {"class_weights": weights}, {"label_smoothing": 0.2})
    )
    known = (labels != IGNORED) & present.any(-1)
    logs = output.logits[known].detach().log_softmax(-1)
    own = -logs.gather(1, labels[known][:, None])[:, 0]
    w = torch.tensor(weights)[labels[known]]
    torch.testing.assert_close(weighted.task.detach(), (w * own).sum() / w.sum())
    torch.testing.assert_close(smooth.task.detach(), (0.8 * own - 0.2 * logs.mean(-1)).mean())
    for other in (weighted, smooth):
        assert not torch.allclose(other.ce, plain.ce)
        for name in ("reconstruction", "low_level", "high_level"):
            assert getattr(other, name).equal(getattr(plain, name))


def test_it_learns() -> None:
    """A small CMATH trained by it predicts its training labels, and each term of eq. 24 falls."""
    torch.manual_seed(0)
    model = CMATH(CMATHConfig(dimensions=DIMENSIONS, classes=C, width=16, heads=2, feed_forward=16, dropout=0.0))
    features = {m: torch.randn(4, 8, d) for m, d in DIMENSIONS.items()}
    present, speakers = torch.rand(4, 8, 3) > 0.2, torch.randint(0, 2, (4, 8))
    present[..., 0] = True
    labels = torch.randint(0, C, (4, 8))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    seen: list[CMATHLosses] = []
    for _ in range(150):
        seen.append(CMATHObjective(reduction="mean")(model(features, present, speakers), labels, present))
        optimizer.zero_grad()
        seen[-1].total.backward()
        optimizer.step()
    assert (model.eval()(features, present, speakers).logits.argmax(-1) == labels).float().mean() > 0.95
    first, last = seen[0].parts(), seen[-1].parts()
    assert all(last[name] < 0.8 * first[name] for name in ("task", "ce", "reconstruction", "mse"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gamma1": -1.0}, "gamma1 is -1.0"),
        ({"gamma2": -0.1}, "gamma2 is -0.1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, float], words: str) -> None:
    """A weight or a share that makes no sense is refused by its value."""
    with pytest.raises(UsageError, match=words):
        CMATHObjective(**changes)  # type: ignore[arg-type]
