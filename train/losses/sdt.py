"""The training objective of SDT: task loss, and distillation from the model to each modality's student.

Eq. 14 and 16-21 of the paper named in core_models/networks/sdt.py. Named choices, where the paper is silent:

- `kl`: "teacher_to_student" is KL(teacher || student), what the authors' program computes (default);
  "as_printed" is eq. 18, KL(student || teacher). Neither has a factor of temperature squared.
- `detach_teacher`: off as in the authors' program, so the teacher also moves towards its students.
- Each mean is over the batch's labelled utterances at which the modality is present (for the task: at
  which any is), not over each dialogue; a mean over none is 0. Utterances without a label, padding among
  them, count in no term.
- A model without students (Uni-Cat-Transformer) has the task loss alone; its CE and KL are 0.
- `class_weights` weigh the four cross entropies, as weighted means; the KL terms stay unweighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from core_models.errors import UsageError
from core_models.feature_spec import MODALITIES
from core_models.labels import IGNORED
from core_models.networks.dialogue_state import DialogueOutput
from train.losses.terms import cross_entropy, kl_divergence


@dataclass(frozen=True)
class SDTObjective:
    """Settings of the objective; calling it gives the losses of a batch."""

    temperature: float = 1.0
    """tau of eq. 16 (paper: 1 for IEMOCAP, 8 for MELD)."""
    task_weight: float = 1.0
    """gamma 1 of eq. 19."""
    ce_weight: float = 1.0
    """gamma 2 of eq. 19; 0: Table IV, w/o L_CE."""
    kl_weight: float = 1.0
    """gamma 3 of eq. 19; 0: Table IV, w/o L_KL; with ce_weight 0 as well: Tables II and III, w/o self-distillation."""
    # The paper prints KL(student || teacher), its authors' program computes KL(teacher || student), and the published
    # figures are the program's.
    kl: Literal["teacher_to_student", "as_printed"] = "teacher_to_student"
    """Direction of eq. 18."""
    # As in the authors' program, where the gradient of the KL terms reaches the teacher too.
    detach_teacher: bool = False
    """Whether the KL terms leave the teacher alone."""
    class_weights: tuple[float, ...] | None = None
    """A weight for each class in the cross entropies, or none."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UsageError(f"temperature is {self.temperature}, a positive number was expected; change it.")

    def __call__(self, output: DialogueOutput, labels: Tensor, present: Tensor) -> SDTLosses:
        """labels: int64 [B, N], IGNORED where there is none; present: bool [B, N, 3] as the model had it."""
        labelled = labels != IGNORED
        # An utterance of which no modality is there can be judged by nothing and counts in no term.
        known = labelled & present.any(dim=-1)
        teacher = output.logits.detach() if self.detach_teacher else output.logits
        ce, kl = [], []
        for m in range(output.students.shape[-2]):
            there = labelled & present[..., m]
            student = output.students[..., m, :][there]
            ce.append(cross_entropy(student, labels[there], self.class_weights))  # eq. 17
            pair = (teacher[there], student) if self.kl == "teacher_to_student" else (student, teacher[there])
            kl.append(kl_divergence(*pair, self.temperature))  # eq. 18
        task = cross_entropy(output.logits[known], labels[known], self.class_weights)  # eq. 14
        none = task.new_zeros(present.shape[-1])
        ce_terms, kl_terms = (torch.stack(terms) if terms else none for terms in (ce, kl))
        total = self.task_weight * task + self.ce_weight * ce_terms.sum() + self.kl_weight * kl_terms.sum()  # eq. 19-21
        return SDTLosses(total, task, ce_terms, kl_terms)


class SDTLosses(NamedTuple):
    """The terms of eq. 19, all still attached to the graph."""

    total: Tensor
    """Scalar, eq. 19."""
    task: Tensor
    """Scalar, eq. 14."""
    ce: Tensor
    """[3] in the order of MODALITIES, eq. 17."""
    kl: Tensor
    """[3] in the order of MODALITIES, eq. 18."""

    def parts(self) -> dict[str, Tensor]:
        """Name -> detached scalar, for the log: `task`, `ce` and `kl` (eq. 20-21), and each student's part of them."""
        of_each = {"ce": self.ce.detach(), "kl": self.kl.detach()}
        sums = {name: terms.sum() for name, terms in of_each.items()}
        students = {f"{name} {m}": terms[i] for name, terms in of_each.items() for i, m in enumerate(MODALITIES)}
        return {"task": self.task.detach(), **sums, **students}
