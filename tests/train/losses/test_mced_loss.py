"""MCED's objective: eq. 1, 3 and 4, and the rows of Table 6."""

from __future__ import annotations

import pytest
import torch

from core_models.errors import UsageError
from train.losses.mced import TABLE_6, LayerPair, MCEDObjective

PAIRS = [LayerPair(6, 3, 0.1), LayerPair(8, 4, 0.1), LayerPair(10, 5, 0.2), LayerPair(12, 6, 0.3)]


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    said = torch.arange(4) < torch.tensor([[4], [2]])
    return drawn(2, 5), drawn(2, 5), [drawn(2, 4, 8) for _ in PAIRS], [drawn(2, 4, 8) for _ in PAIRS], said


def test_response_level_is_equation_1_with_a_plus() -> None:
    """The mean over pairs of the KL of softened distributions: positive, 0 where they agree, less when nearer."""
    student, teacher, *_ = batch()
    objective = MCEDObjective(temperature=2.0)
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    torch.testing.assert_close(objective.response_level(student, teacher), (p * (p / q).log()).sum(-1).mean())
    assert float(objective.response_level(student, teacher)) > 0
    assert float(objective.response_level(teacher + 3, teacher)) == pytest.approx(0, abs=1e-6)
    logits = student.clone().requires_grad_()
    objective.response_level(logits, teacher).backward()
    nearer = student - 0.5 * logits.grad
    assert objective.response_level(nearer, teacher) < objective.response_level(student, teacher)


def test_feature_level_is_equation_3() -> None:
    """Squared distances over real tokens, as a mean or a sum, each pair by its weight."""
    student, teacher, words, aligned, said = batch()
    both = list(zip(words, aligned, strict=True))
    only = [(w[row, :n] - a[row, :n]).square() for w, a in both for row, n in ((0, 4), (1, 2))]
    for reduction in ("mean", "sum"):
        objective = MCEDObjective(reduction=reduction)
        each = [float(getattr(squares, reduction)()) for squares in only]
        expected = sum(PAIRS[i].weight * (each[2 * i] + each[2 * i + 1]) / 2 for i in range(4))
        losses = objective(student, teacher, PAIRS, words, aligned, said)
        assert float(losses.feature) == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(losses.total, losses.response + losses.feature)  # eq. 4


def test_equal_states_cost_nothing_and_padding_never_does() -> None:
    """Aligned states that are the teacher's cost 0, whatever stands where nothing is said."""
    student, teacher, words, _, said = batch()
    twins = [w.clone().masked_fill(~said[..., None], 1e6) for w in words]
    assert float(MCEDObjective()(student, teacher, PAIRS, words, twins, said).feature) == 0


def test_defaults_are_the_paper_s() -> None:
    """{6,8,10,12} -> {3,4,5,6} at .1 .1 .2 .3, eq. 3 as a sum; a teacher of six has the same depths in halves."""
    assert (MCEDObjective().temperature, MCEDObjective().reduction) == (1.0, "sum")
    assert MCEDObjective().pairs(12, 6) == PAIRS
    halved = [LayerPair(pair.teacher // 2, pair.student, pair.weight) for pair in PAIRS]
    assert MCEDObjective().pairs(6, 6) == halved


@pytest.mark.parametrize("row", TABLE_6)
def test_rows_of_table_6(row: str) -> None:
    """RL has no feature level, FL no response level, and FL-k the last k layer pairs."""
    response, last = TABLE_6[row]
    objective = MCEDObjective(response=response, last=last)
    pairs = objective.pairs(12, 6)
    assert pairs == PAIRS[4 - last :]
    assert ("RL" in row, f"FL-{last}layer" in row) == (response, last > 0)
    student, teacher, words, aligned, said = batch()
    losses = objective(student, teacher, pairs, words[4 - last :], aligned[4 - last :], said)
    assert (float(losses.response) > 0, float(losses.feature) > 0) == (response, last > 0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"weights": (0.1, 0.2)}, "as many of each"),
        ({"last": 5}, "last is 5"),
        ({"response": False, "last": 0}, "nothing to learn"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], sentence: str) -> None:
    """Each ends in a sentence that says what to change."""
    with pytest.raises(UsageError, match=sentence):
        MCEDObjective(**settings)  # type: ignore[arg-type]


def test_layers_that_do_not_exist_are_refused() -> None:
    """So are layers that a teacher or a student does not have."""
    with pytest.raises(UsageError, match="teacher of 4"):
        MCEDObjective().pairs(4, 6)
    with pytest.raises(UsageError, match="do not exist"):
        MCEDObjective(teacher_layers=(6, 8, 10, 12)).pairs(6, 6)
    with pytest.raises(UsageError, match="do not exist"):
        MCEDObjective().pairs(12, 4)
