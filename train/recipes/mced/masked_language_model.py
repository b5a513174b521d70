"""M_1, the second stage of MCED's teacher: more masked language modelling on text of the domain (section 2.1).

Devlin et al., BERT (2019), section 3.1: 15% of the tokens are asked for; of those 80% are masked, 10% are other
tokens, 10% stay. Embedded sentence encoders come without the head that answers, so a new one learns with them (a
dense layer, GELU, a layer normalisation, and the encoder's own word embeddings as output weights) and is thrown away.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.assets import model_folder_of
from core_models.atomic_write import require_writable, write_atomically
from core_models.errors import UsageError
from core_models.features.text.sentence_encoder import Encoder, load_encoder, pad_rows
from train.corpora.registry import CorpusConfig, read_corpus
from train.data.length_buckets import bucket_by_length
from train.loop.accelerator import open_fabric
from train.loop.failures import guarded
from train.loop.fingerprint import fingerprint
from train.loop.schedule import Schedule, adamw
from train.loop.trainer import Trainer

# BERT's shares (Devlin et al., 2019): 15% of the tokens are asked for, of which 80% are masked, 10% replaced by another
# token and 10% left as they are, so that the encoder also learns from text without masks.
ASKED, MASKED, OTHER = 0.15, 0.8, 0.1
# What BERT's and MPNet's tokenizers call it.
MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """What the encoder reads, and where M_1 goes."""

    out: Path
    """Folder of M_1: config.json, model.safetensors and tokenizer.json, as the hub has them."""
    run: Path
    """Folder of the unfinished run: a killed one goes on from here."""
    base: str = "minilm-l6"
    """M_0: a name in configs/models.yaml, or a folder."""
    lines: list[Path] = field(default_factory=list)
    """Text files with a sentence a line, such as OpenSubtitles has them."""
    corpora: list[CorpusConfig] = field(default_factory=list)
    """Parts of corpora whose words are read, labels unseen."""
    max_tokens: int = 64
    """Longer lines are cut."""
    validation: float = 0.02
    """Share of the lines that is held out."""
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20, lr=5e-5, batch=64))
    """How long and how fast (paper: 20 epochs)."""


def fit_language(config: LanguageConfig, console: Console) -> None:
    """Trains M_1 and writes it to `config.out`, unless it stands there.

    Raises UsageError, WeightsError, Diverged, OutOfMemory, DiskError.
    """
    if (config.out / "model.safetensors").is_file():
        console.print(f"{config.out} is finished: not trained again", highlight=False)
        return
    schedule = config.schedule
    fabric = open_fabric(schedule.device, schedule.precision, schedule.threads)
    require_writable([config.run, config.out])
    base = model_folder_of(config.base)
    encoder = load_encoder(base)
    training, validation = _split_sentences(config, encoder)
    torch.manual_seed(schedule.seed)
    module = MaskedLanguage(encoder)
    count = len(training) + len(validation)
    settings = fingerprint(config) | {"base_digest": encoder.digest, "count": count}
    optimizer = adamw(module.parameters(), schedule)
    trainer = Trainer(config.run, schedule, settings, module, optimizer, fabric, console, title="M_1")
    _fit_encoder(trainer, training, validation)
    _write_encoder(config.out, base, encoder)
    best = trainer.progress.best_epoch
    console.print(f"{config.out}: {len(training)} lines, best epoch {best}", highlight=False)


def _split_sentences(config: LanguageConfig, encoder: Encoder) -> tuple[list[list[int]], list[list[int]]]:
    """(training, validation): the token ids of each sentence. Raises UsageError."""
    rows = [row.ids for row in encoder.tokenize(_read_sentences(config), config.max_tokens)]
    rows = [ids for ids in rows if len(ids) > 2]
    held = max(1, round(config.validation * len(rows)))
    if len(rows) <= held:
        raise UsageError(f"There are {len(rows)} lines to read: name more in language.lines or language.corpora.")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(config.schedule.seed)).tolist()
    return [rows[i] for i in order[held:]], [rows[i] for i in order[:held]]


def _fit_encoder(trainer: Trainer, training: list[list[int]], validation: list[list[int]]) -> None:
    schedule = trainer.schedule

    def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
        listed = bucket_by_length([len(ids) for ids in training], schedule.batch, seed=(schedule.seed, 0, epoch))
        return [pad_rows([training[row] for row in rows]) for rows in listed]

    def step(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = trainer.model(trainer.fabric.to_device(batch))
        return losses

    def validate() -> dict[str, float]:
        random = torch.get_rng_state()
        # The same questions after every pass.
        torch.manual_seed(0)
        asked = [pad_rows(validation[at : at + 64]) for at in range(0, len(validation), 64)]
        loss = sum(float(step(one)["loss"]) for one in asked) / len(asked)
        torch.set_rng_state(random)
        return {"score": -loss}

    trainer.fit(batches, step, validate)


class MaskedLanguage(nn.Module):
    """The encoder under a head that answers which tokens were masked."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        found = [encoder.tokenizer.token_to_id(mask) for mask in MASKS]
        mask = next((token for token in found if token is not None), None)
        if mask is None:
            raise UsageError(f"The tokenizer of {encoder.name} has no {' or '.join(MASKS)}: choose another base.")
        self.mask: int = mask
        self.network = encoder.network
        self.words = encoder.network.get_input_embeddings()  # type: ignore[operator]
        self.answer = nn.Sequential(
            nn.Linear(encoder.dimension, encoder.dimension), nn.GELU(), nn.LayerNorm(encoder.dimension)
        )
        self.bias = nn.Parameter(torch.zeros(self.words.num_embeddings))

    def forward(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """batch: ids and mask, int64 [B, T] (see `pad_rows`). The loss is the mean over the tokens asked for."""
        ids, mask = batch
        asked = self.ask(ids, mask)
        hidden = self.network(input_ids=self.disturb(ids, asked), attention_mask=mask).last_hidden_state
        answers = self.answer(hidden[asked]) @ self.words.weight.T + self.bias
        loss = F.cross_entropy(answers, ids[asked]) if len(answers) else answers.sum()
        return {"loss": loss}

    def ask(self, ids: Tensor, mask: Tensor) -> Tensor:
        """bool [B, T]: which tokens are asked for, never the marks of start and end."""
        inner = mask.bool().clone()
        inner[:, 0] = False
        inner.scatter_(1, mask.sum(dim=1, keepdim=True) - 1, False)
        return inner & (torch.rand(ids.shape).to(ids.device) < ASKED)

    def disturb(self, ids: Tensor, asked: Tensor) -> Tensor:
        """The ids that the encoder reads in place of `ids`."""
        chance = torch.rand(ids.shape).to(ids.device)
        other = torch.randint(self.words.num_embeddings, ids.shape).to(ids.device)
        ids = ids.masked_fill(asked & (chance < MASKED), self.mask)
        return torch.where(asked & (chance >= MASKED) & (chance < MASKED + OTHER), other, ids)


def _read_sentences(config: LanguageConfig) -> Sequence[str]:
    found = [line.text for part in config.corpora for line in read_corpus(part).utterances() if line.text]
    for path in config.lines:
        try:
            found += [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read ({error}): expected a text file, a sentence a line.") from None
    return list(dict.fromkeys(line for line in found if line))


def _write_encoder(out: Path, base: Path, encoder: Encoder) -> None:
    """M_1 in the hub's format; the weights come last, since the stage is finished where they stand."""
    tensors = {name: value.cpu().contiguous() for name, value in encoder.network.state_dict().items()}
    with guarded(f"the writing of M_1 to {out}"):
        out.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(base / name, out / name)
    write_atomically(out / "model.safetensors", lambda path: save_file(tensors, path))
