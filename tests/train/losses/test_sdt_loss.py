"""The training objective of SDT, eq. 14 and 16-21."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED
from core_models.networks.dialogue_state import DialogueOutput
from train.losses.sdt import SDTObjective

B, N, C = 2, 6, 4
ABLATED = {"task_weight": ("ce", "kl"), "ce_weight": ("task", "kl"), "kl_weight": ("task", "ce")}


def case(seed: int = 0) -> tuple[DialogueOutput, Tensor, Tensor]:
    """An output whose tensors are leaves, labels with gaps, and modalities with gaps."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, N, C, generator=draw, requires_grad=True)
    students = torch.randn(B, N, 3, C, generator=draw, requires_grad=True)
    labels = torch.randint(0, C, (B, N), generator=draw)
    labels[0, 1] = labels[1, 4:] = IGNORED
    present = torch.rand(B, N, 3, generator=draw) > 0.3
    present[0, 0], present[0, 3] = False, True
    present[0, 5] = torch.tensor([True, True, False])
    return DialogueOutput(logits, torch.zeros(B, N, 3), students), labels, present


def by_the_book(
    output: DialogueOutput, labels: Tensor, present: Tensor, tau: float, printed: bool
) -> tuple[list[float], list[float], list[float]]:
    """Eq. 14, 17 and 18 with loops, in double precision."""
    task: list[float] = []
    ce: list[list[float]] = [[], [], []]
    kl: list[list[float]] = [[], [], []]
    for b in range(B):
        for i in range(N):
            y = int(labels[b, i])
            if y == IGNORED:
                continue
            e = output.logits[b, i].detach().double()
            if present[b, i].any():
                task.append(-float(e.softmax(0)[y].log()))
            for m in range(3):
                if present[b, i, m]:
                    em = output.students[b, i, m].detach().double()
                    ce[m].append(-float(em.softmax(0)[y].log()))
                    s, t = (em / tau).softmax(0), (e / tau).softmax(0)
                    p, q = (s, t) if printed else (t, s)
                    kl[m].append(float((p * (p / q).log()).sum()))
    return task, [sum(x) / len(x) for x in ce], [sum(x) / len(x) for x in kl]


@pytest.mark.parametrize("tau", [1.0, 8.0])
@pytest.mark.parametrize("printed", [False, True])
def test_terms_by_the_book(tau: float, printed: bool) -> None:
    """Each term is the mean of its equation over the labelled utterances at which its modality is there."""
    output, labels, present = case()
    objective = SDTObjective(
        temperature=tau,
        task_weight=0.5,
        ce_weight=2.0,
        kl_weight=3.0,
        kl="as_printed" if printed else "teacher_to_student",
    )
    with torch.no_grad():
        losses = objective(output, labels, present)
    task, ce, kl = by_the_book(output, labels, present, tau, printed)
    mean = sum(task) / len(task)
    assert float(losses.task) == pytest.approx(mean, rel=1e-5)
    assert losses.ce.tolist() == pytest.approx(ce, rel=1e-5)
    assert losses.kl.tolist() == pytest.approx(kl, rel=1e-4)
    assert float(losses.total) == pytest.approx(0.5 * mean + 2 * sum(ce) + 3 * sum(kl), rel=1e-5)


def test_parts_are_what_the_log_shows() -> None:
    """The parts are detached scalars: task, CE and KL as eq. 19 adds them up, and each student's own."""
    losses = SDTObjective()(*case())
    parts = losses.parts()
    assert all(part.ndim == 0 and not part.requires_grad for part in parts.values())
    torch.testing.assert_close(parts["task"] + parts["ce"] + parts["kl"], losses.total.detach())
    for name, terms in (("ce", losses.ce), ("kl", losses.kl)):
        assert [parts[f"{name} {m}"].item() for m in MODALITIES] == terms.tolist()


def test_directions_differ() -> None:
    """The authors' direction and the printed one are two different numbers."""
    a, b = (SDTObjective(kl=k)(*case()).kl for k in ("teacher_to_student", "as_printed"))
    assert not torch.allclose(a, b, rtol=1e-2)


@pytest.mark.parametrize("kl", ["teacher_to_student", "as_printed"])
def test_divergence_of_equals_is_zero(kl: str) -> None:
    """A student that says what the teacher says has no divergence from it, and any other has some."""
    output, labels, present = case()
    objective = SDTObjective(kl=kl, temperature=3.0)  # type: ignore[arg-type]
    equal = output._replace(students=output.logits[:, :, None].expand(-1, -1, 3, -1) + 5.0)
    assert objective(equal, labels, present).kl.abs().max() < 1e-6
    assert (objective(output, labels, present).kl > 1e-3).all()


def test_missing_and_unlabelled_entries_carry_no_gradient() -> None:
    """A student's entry has a gradient where it is labelled and its modality is there, and nowhere else."""
    output, labels, present = case()
    SDTObjective()(output, labels, present).total.backward()
    labelled = labels != IGNORED
    assert output.students.grad is not None
    assert output.logits.grad is not None
    assert (output.students.grad != 0).any(-1).equal(present & labelled[..., None])
    assert (output.logits.grad != 0).any(-1).equal(present.any(-1) & labelled)


def test_missing_entries_may_hold_anything() -> None:
    """What a student says where its modality is missing changes no term, even NaN."""
    output, labels, present = case()
    odd = output._replace(students=torch.where(present[..., None], output.students, torch.nan))
    a, b = (SDTObjective()(o, labels, present).total for o in (odd, output))
    assert a.equal(b)


@pytest.mark.parametrize("detach", [False, True])
def test_teacher_learns_from_students_unless_detached(detach: bool) -> None:
    """The KL terms move the teacher as in the authors' program, and leave it alone when it is detached."""
    output, labels, present = case()
    SDTObjective(task_weight=0, ce_weight=0, detach_teacher=detach)(output, labels, present).total.backward()
    moved = output.logits.grad is not None and bool((output.logits.grad != 0).any())
    assert moved is not detach
    assert output.students.grad is not None
    assert (output.students.grad != 0).any()


def test_without_students_the_task_is_all() -> None:
    """A model without students is trained on the task loss alone."""
    output, labels, present = case()
    losses = SDTObjective()(output._replace(students=output.students[:, :, :0]), labels, present)
    assert losses.total.equal(losses.task)
    assert losses.ce.tolist() == losses.kl.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("weight", "rest"), list(ABLATED.items()))
def test_a_weight_of_zero_takes_its_loss_away(weight: str, rest: tuple[str, str]) -> None:
    """With a weight at 0 (Table IV) the total is the sum of the other two losses."""
    losses = SDTObjective(**{weight: 0.0})(*case())  # type: ignore[arg-type]
    parts = losses.parts()
    torch.testing.assert_close(losses.total.detach(), parts[rest[0]] + parts[rest[1]])


@pytest.mark.parametrize("empty", ["labels", "voice"])
def test_means_over_nothing_are_zero(empty: str) -> None:
    """A batch without a label, or without a modality, gives zeros for those terms and finite gradients."""
    output, labels, present = case()
    if empty == "labels":
        labels[:] = IGNORED
    else:
        present[..., 1] = False
    losses = SDTObjective(class_weights=(1.0, 2.0, 3.0, 4.0))(output, labels, present)
    assert losses.ce[1] == losses.kl[1] == 0
    assert (losses.total == 0) == (empty == "labels")
    losses.total.backward()
    assert output.logits.grad is not None
    assert output.logits.grad.isfinite().all()


def test_class_weights_weigh_the_cross_entropies_alone() -> None:
    """With class weights each cross entropy is the weighted mean, and the KL terms stay as they were."""
    output, labels, present = case()
    weights = (1.0, 0.5, 4.0, 2.0)
    plain, weighted = (
        SDTObjective()(output, labels, present),
        SDTObjective(class_weights=weights)(output, labels, present),
    )
    known = (labels != IGNORED) & present.any(-1)
    w = torch.tensor(weights)[labels[known]]
    losses = -output.logits[known].detach().log_softmax(-1).gather(1, labels[known][:, None])[:, 0]
    torch.testing.assert_close(weighted.task.detach(), (w * losses).sum() / w.sum())
    assert not torch.allclose(weighted.ce, plain.ce)
    assert weighted.kl.equal(plain.kl)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(temperature: float) -> None:
    """A temperature that would not soften anything is refused by its value."""
    with pytest.raises(UsageError, match=f"temperature is {temperature}"):
        SDTObjective(temperature=temperature)
