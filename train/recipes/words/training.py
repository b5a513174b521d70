"""One run of `train words`: what a pass draws, a step's loss, and what is told of validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from core_models.features.text.sentence_encoder import Encoder
from core_models.labels import MELD7
from train.data.length_buckets import bucket_by_length
from train.evaluation.metrics import score
from train.loop.trainer import Trainer
from train.recipes.words.config import WordsConfig
from train.recipes.words.emotion_encoder import EmotionEncoder
from train.recipes.words.partial_labels import PartialLine, admission_matrix, draw_lines, log_prior

SCORED_AT_ONCE = 64


@dataclass(frozen=True)
class SourceLines:
    """A source's training lines, its share of what is drawn, and the lines that it holds out."""

    name: str
    share: float
    lines: list[PartialLine]
    held_out: list[PartialLine]


class WordsRun:
    """The encoder, the draw of every pass, and their trainer in `config.run`."""

    def __init__(
        self,
        config: WordsConfig,
        settings: Mapping[str, Any],
        encoder: Encoder,
        sources: Sequence[SourceLines],
        fabric: Fabric,
        console: Console,
    ) -> None:
        torch.manual_seed(config.schedule.seed)
        self.config, self.sources, self.encoder = config, sources, encoder
        self.module = EmotionEncoder(encoder, MELD7, config.dropout, config.head_gain)
        self.lines = [line for source in sources for line in source.lines]
        self._rows = encoder.tokenize(
            [line.text for line in self.lines],
            config.max_tokens,
            [line.past for line in self.lines],
            config.context,
        )
        self._admitted = torch.from_numpy(admission_matrix(self.lines))
        self._drawn, self._prior = self._draw()
        # Fused, a step of the optimiser takes 20 ms in place of 66, beside 175 ms for the rest.
        optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=config.schedule.lr, weight_decay=config.schedule.decay, fused=True
        )
        self.trainer = Trainer(
            config.run, config.schedule, settings, self.module, optimizer, fabric, console, title="words"
        )

    def fit(self) -> None:
        """Train, and leave the module with the last pass's weights. Raises Diverged, OutOfMemory, DiskError."""
        self.trainer.fit(self._batches, self._step, self.validate)

    def distinct(self) -> dict[str, int]:
        """Source -> how many of its lines are drawn at least once in all passes together."""
        found, first = {}, 0
        drawn = np.unique(self._drawn)
        for source in self.sources:
            found[source.name] = int(((drawn >= first) & (drawn < first + len(source.lines))).sum())
            first += len(source.lines)
        return found

    def validate(self) -> dict[str, float]:
        """Macro F1 of each source's held-out lines of one label, under its own prior and (`uniform`) under none."""
        figures = {}
        for source in self.sources:
            lines = [line for line in source.held_out if len(line.admitted) == 1]
            if not lines:
                continue
            logits = self._logits(lines)
            truth = torch.tensor([line.admitted[0] for line in lines])
            prior = torch.from_numpy(log_prior(admission_matrix(source.lines)))
            for name, offset in ((source.name, prior), (f"{source.name} uniform", torch.zeros(len(MELD7)))):
                figures[name] = score(logits + offset, truth, MELD7).macro_f1
        figures["score"] = sum(value for name, value in figures.items() if "uniform" not in name) / max(1, len(figures))
        return figures

    def _draw(self) -> tuple[NDArray[np.int64], Tensor]:
        """([lines drawn in all passes], float32 [n, 7] log prior of each line's own corpus as it is drawn)."""
        config, first = self.config, 0
        total = sum(source.share for source in self.sources)
        drawn, priors = [], torch.zeros(len(self.lines), len(MELD7))
        for number, source in enumerate(self.sources):
            rng = np.random.default_rng([config.schedule.seed, number])
            admission = admission_matrix(source.lines)
            wanted = round(config.lines * config.schedule.epochs * source.share / total)
            rows = draw_lines(admission, wanted, config.class_power, rng)
            priors[first : first + len(source.lines)] = torch.from_numpy(log_prior(admission[rows]))
            drawn.append(first + rows)
            first += len(source.lines)
        rng = np.random.default_rng([config.schedule.seed, len(self.sources)])
        return rng.permutation(np.concatenate(drawn)), priors

    def _batches(self, epoch: int) -> list[list[int]]:
        parts = np.array_split(self._drawn, self.config.schedule.epochs)
        rows = parts[epoch].tolist()
        seed = (self.config.schedule.seed, 0, epoch)
        batches = bucket_by_length([len(self._rows[row].ids) for row in rows], self.config.schedule.batch, seed=seed)
        return [[rows[place] for place in batch] for batch in batches]

    def _step(self, batch: list[int]) -> dict[str, Tensor]:
        logits = self.trainer.model([self._rows[row] for row in batch]).float()
        under_prior = logits + self._prior[batch].to(logits.device)
        log_p = under_prior.log_softmax(dim=-1)
        admitted = self._admitted[batch].to(logits.device)
        return {"loss": -log_p.masked_fill(~admitted, -torch.inf).logsumexp(dim=-1).mean()}

    def _logits(self, lines: Sequence[PartialLine]) -> Tensor:
        """float32 [n, 7] under no prior, in full precision."""
        config = self.config
        rows = self.encoder.tokenize(
            [line.text for line in lines], config.max_tokens, [line.past for line in lines], config.context
        )
        logits = torch.empty(len(rows), len(MELD7))
        order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
        for start in range(0, len(order), SCORED_AT_ONCE):
            batch = order[start : start + SCORED_AT_ONCE]
            logits[batch] = self.module([rows[row] for row in batch]).float().cpu()
        return logits
