"""SDT as its text has it and as its authors' program has it: defaults of `train fit --preset`, which configs fill up.

Sources: the paper named in core_models/networks/sdt.py, and the program that its authors published with it. Where the
text is silent, `paper` takes what the program does if that decides nothing that the text describes otherwise (no
clipping, raw inputs, shuffled batches, torch's initial weights). Rates, batch, temperature and size are in the text and
stand in configs/train/sdt_*_paper.yaml. train/README.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from core_models.command_line.close_names import suggest_name
from core_models.errors import UsageError

PresetName = Literal["paper", "program"]

# Both: Adam with L2 in the gradient (IV-D), and nothing that only a live run or missing modalities need.
_SHARED: Mapping[str, Any] = {
    "optimizer": "adam",
    "clip": None,
    "standardise": False,
    "shape": "constant",
    "mixture.everything": 1.0,
    "mixture.constant_pattern": 1.0,
    "mixture.concatenate": 0.0,
    "mixture.batches": "shuffled",
    "model.causal": False,
    "model.positions": "sinusoidal",
    "model.null_key": False,
    "model.initialization": "torch",
}
_PAPER: Mapping[str, Any] = {
    "model.normalization": "post",  # reference [54]
    "model.activation": "relu",
    "model.embedding_dropout": "modality",
    "model.unimodal_gate": "learned",  # eq. 7
    "objective.kl": "as_printed",  # eq. 18
    "class_weight": 0.0,
}
_PROGRAM: Mapping[str, Any] = {
    "model.normalization": "pre",
    "model.activation": "gelu",
    "model.embedding_dropout": "encoder",
    "objective.kl": "teacher_to_student",
}


def choose_preset(name: str, corpus: str | None, system: str = "sdt") -> dict[str, Any]:
    """Option of `fit` -> its default under the preset of that name, of the program for that corpus. UsageError."""
    if name not in get_args(PresetName):
        known = get_args(PresetName)
        raise UsageError(f"preset is {name!r}: choose from {', '.join(known)}.{suggest_name(name, known)}")
    if system != "sdt":
        raise UsageError(f"preset {name} is of SDT, and system is {system}: leave one of them out.")
    if name == "paper":
        return {**_SHARED, **_PAPER}
    gate = "identity" if corpus == "meld" else "learned"  # eq. 7 frozen for MELD
    # The program weighs IEMOCAP's classes by their inverse frequency, and MELD's not at all.
    weight = 1.0 if corpus == "iemocap" else 0.0
    return {**_SHARED, **_PROGRAM, "model.unimodal_gate": gate, "class_weight": weight}
