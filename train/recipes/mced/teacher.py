"""MCED's text teacher: the three stages of section 2.1, and its outputs for a student.

M_0 is a sentence encoder as it is fetched (MiniLM, mpnet; the paper's is BERT-base). M_1 is M_0 after more masked
language modelling on subtitles or other lines (train/recipes/mced/masked_language_model.py), a folder in the hub's own
format. M_T is M_1, or M_0 where that stage is left out (Table 4, first row), fine-tuned on labelled text; here that is
an adapter, as `python -m train text` writes it, so any adapter can teach. One of MELD's seven classes teaches five of
them: a softmax over those five logits alone is what it believes given that it is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from core_models.assets import model_folder_of
from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import apply_adapter, load_encoder, pad_rows
from core_models.labels import LABEL_SETS, MCED5, LabelSet
from core_models.text_adapter import adapter_folder, load_adapter
from train.recipes.mced.masked_language_model import LanguageConfig, fit_language
from train.recipes.text.config import TextConfig
from train.recipes.text.fit import fit_text


@dataclass(frozen=True)
class TeacherConfig:
    """The stages of the teacher."""

    text: TextConfig
    """M_T: fine-tuning on labelled text. Its `labels` are mced5 unless others are given; its base is M_1's folder
    where there is such a stage."""
    language: LanguageConfig | None = None
    """M_1: masked language modelling; left out where it is null."""


@dataclass(frozen=True)
class TeacherNames:
    """A finished teacher."""

    adapter: str = "text-minilm-emotion"
    """M_T: a text adapter, by its name under core_models/weights, or a folder."""
    encoder: str | None = None
    """The encoder below it: a name in configs/models.yaml, or the folder of M_1; null: the adapter's."""


class TeacherOutput(NamedTuple):
    """The teacher's output for n sentences."""

    logits: Tensor
    """[n, C], z^t."""
    words: tuple[Tensor, ...]
    """h^t_m of each layer m asked for, [n, T, d_t]: its tokens, marks of start and end among them."""
    said: Tensor
    """bool [n, T], False at padding."""


def fit_teacher(config: TeacherConfig, console: Console) -> None:
    """Run the stages; what is finished is not run again. Raises UsageError, Diverged, OutOfMemory, DiskError."""
    text = config.text if config.text.labels else replace(config.text, labels=MCED5.name)
    if config.language is not None:
        fit_language(config.language, console)
        text = replace(text, base=str(config.language.out))
    fit_text(text)


class Teacher:
    """M_T with its weights fixed. Raises UsageError, WeightsError, CheckpointError where it cannot be had."""

    def __init__(self, chosen: TeacherNames, labels: LabelSet = MCED5) -> None:
        folder = adapter_folder(chosen.adapter)
        assert folder is not None
        sidecar, tensors = load_adapter(folder)
        known = LABEL_SETS.get(sidecar.labels)
        head = tensors.get("classifier.weight")
        if head is None or known is None or len(head) != len(known) or not set(labels.labels) <= set(known.labels):
            raise UsageError(
                f"Adapter {folder.name} cannot teach {', '.join(labels.labels)}: choose one whose label set has "
                "them all."
            )
        name = chosen.encoder or sidecar.base
        encoder = load_encoder(model_folder_of(name))
        _, self.digest = apply_adapter(encoder, folder)
        rows = [known.index(label) for label in labels.labels]
        self.dimension = encoder.dimension
        settings: Any = encoder.network.config
        self.layers = int(settings.num_hidden_layers)
        self._encoder, self._sidecar, self._device = encoder, sidecar, torch.device("cpu")
        self._network: nn.Module = encoder.network.requires_grad_(False)
        self._weight, self._bias = head[rows].float(), tensors["classifier.bias"][rows].float()

    def to(self, device: torch.device) -> None:
        """Move to where the student learns."""
        self._device = device
        self._network.to(device)
        self._weight, self._bias = self._weight.to(device), self._bias.to(device)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], layers: Sequence[int] = ()) -> TeacherOutput:
        """Logits over the label set and the hidden states of `layers`, counted from 1; on the teacher's device."""
        rows = self._encoder.tokenize(texts, self._sidecar.max_tokens, (), self._sidecar.context)
        ids, mask = (tensor.to(self._device) for tensor in pad_rows([row.ids for row in rows]))
        states = self._network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        starts = torch.tensor([row.start for row in rows], device=self._device)
        said = mask.bool() & (torch.arange(ids.shape[1], device=self._device) >= starts[:, None])
        weight = said[:, :, None].to(states[-1].dtype)
        pooled = (states[-1] * weight).sum(1) / weight.sum(1)  # as Encoder.pool has it
        return TeacherOutput(pooled @ self._weight.T + self._bias, tuple(states[m] for m in layers), said)

    def teach(self, texts: Sequence[str], layers: Sequence[int]) -> TeacherOutput:
        """The same, each different sentence read once: corpora say some lines again and again."""
        # RAVDESS has two sentences in 1,440 clips: a batch of 32 would read each of them sixteen times.
        different = sorted(set(texts))
        taught = self(different, layers)
        rows = torch.tensor([different.index(text) for text in texts], device=self._device)
        return TeacherOutput(taught.logits[rows], tuple(h[rows] for h in taught.words), taught.said[rows])
