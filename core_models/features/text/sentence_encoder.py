"""Words to a vector: a sentence encoder, with or without an adapter that has taught it emotion.

An adapter may have been taught to read the dialogue's past as well: the turns before, cut to `context` tokens, stand
before the utterance behind a separator, each begun by who said it, seen from the one who speaks now ("me:",
"you:"). The vector is the mean over the utterance's own tokens, whatever stood before them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from core_models.errors import CheckpointError, WeightsError
from core_models.feature_spec import FeatureSpec, tensors_digest
from core_models.text_adapter import MAX_TOKENS, AdapterSidecar, load_adapter
from core_models.torch_threads import torch_threads

VERSION = 1
# Turns of the past that are read at most, however short they are.
REACH = 24
# Rows are sorted by length before they are batched, so that so many hold little padding.
BATCH = 32

# Corpora are printed with typographic marks, recognisers write plain ones; the tokenizers tell them apart.
_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"})


class PastTurn(NamedTuple):
    """A turn of the dialogue's past, as the speaker of the next one remembers it."""

    own: bool
    """Whether the one who speaks next said it."""
    text: str
    """Its words."""


class Row(NamedTuple):
    """A tokenised utterance."""

    ids: list[int]
    """Token ids, those of the past first."""
    start: int
    """Where the tokens that are pooled begin."""


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder as its folder holds it: the network, its tokenizer, and the digest of its tensors."""

    name: str
    network: nn.Module
    tokenizer: Tokenizer
    dimension: int
    digest: str

    def tokenize(
        self, texts: Sequence[str], max_tokens: int, pasts: Sequence[Sequence[PastTurn]] = (), context: int = 0
    ) -> list[Row]:
        """Token ids of each text with its start and end tokens, cut to `max_tokens`; not padded.

        The latest `context` tokens of `pasts[i]` (oldest turn first) stand before text i, and are not pooled.
        """
        self.tokenizer.enable_truncation(max_tokens)
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch([plain_marks(text) for text in texts])]
        if not context:
            return [Row(ids, 0) for ids in rows]
        befores = [self._tokenize_past(past, context) for past in (pasts or [()] * len(rows))]
        # [start] past [end] utterance [end]
        return [
            Row([ids[0], *before, ids[-1], *ids[1:]], len(before) + 2)
            for ids, before in zip(rows, befores, strict=True)
        ]

    def pool(self, rows: Sequence[Row]) -> Tensor:
        """Mean of the last layer over each row's tokens from its start on: [len(rows), dimension]."""
        device = next(self.network.parameters()).device
        ids, mask = pad_rows([row.ids for row in rows])
        hidden = self.network(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state
        own = torch.arange(ids.shape[1]) >= torch.tensor([row.start for row in rows])[:, None]
        weight = (mask * own).to(device, hidden.dtype)[:, :, None]  # [B, T, 1]
        pooled: Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return pooled

    def _tokenize_past(self, past: Sequence[PastTurn], context: int) -> list[int]:
        before: list[int] = []
        for turn in reversed(past[-REACH:]):
            marked = f"{'me' if turn.own else 'you'}: {plain_marks(turn.text)}"
            before = self.tokenizer.encode(marked).ids[1:-1] + before
            if len(before) >= context:
                break
        return before[-context:]


class Text(Protocol):
    """What words become: a vector, or one for each of their tokens."""

    spec: FeatureSpec
    languages: frozenset[str]

    def __call__(
        self, texts: Sequence[str], pasts: Sequence[Sequence[PastTurn]] = ()
    ) -> NDArray[np.float32] | Sequence[NDArray[np.float32]]:
        """float32 [dimension] or [T, dimension] for each text, after what was said before it."""


class TextFeature:
    """Utterances to vectors: the mean over tokens of the encoder's last layer, not normalised to a length
    (after fine-tuning the length says how sure the encoder is).

    `folder` holds config.json, model.safetensors and tokenizer.json of a BERT or MPNet encoder; `adapter`
    is a folder with adapter.safetensors and sidecar.json. Raises WeightsError for a folder that holds no
    such encoder and CheckpointError for an adapter that is broken or belongs to another encoder.
    """

    languages = frozenset({"en"})

    def __init__(
        self, folder: Path, *, adapter: Path | None = None, max_tokens: int | None = None, threads: int = 1
    ) -> None:
        encoder = load_encoder(folder)
        name, base, digest, self.context = encoder.name, encoder.name, encoder.digest, 0
        if adapter is not None:
            sidecar, digest = apply_adapter(encoder, adapter)
            # The base keeps the name that the adapter knows it by, whatever its folder is called here.
            name, base, self.context = adapter.name, sidecar.base, sidecar.context
            max_tokens = max_tokens or sidecar.max_tokens
        self._encoder = encoder
        self._max_tokens = max_tokens or MAX_TOKENS
        settings: dict[str, str | int | float | bool] = {
            "base": base,
            "adapter": "none" if adapter is None else name,
            "max_tokens": self._max_tokens,
            "pooling": "mean",
            "marks": "plain",
        }
        if self.context:
            settings["context"] = self.context
        self._threads = threads
        self.spec = FeatureSpec(
            modality="text",
            name=name,
            version=VERSION,
            dimension=encoder.dimension,
            digest=digest,
            settings=settings,
        )

    def rows(self, texts: Sequence[str], pasts: Sequence[Sequence[PastTurn]] = ()) -> list[Row]:
        """The tokens that `__call__` reads: all that a vector depends on besides the spec."""
        return self._encoder.tokenize(texts, self._max_tokens, pasts, self.context)

    def __call__(self, texts: Sequence[str], pasts: Sequence[Sequence[PastTurn]] = ()) -> NDArray[np.float32]:
        """float32 [len(texts), dimension]; a text's row does not depend on its neighbours beyond rounding.

        `pasts[i]`: the turns before text i, oldest first; they are read by adapters that were taught to
        (`context` is not 0), and may be longer than those read.
        """
        rows = self.rows(texts, pasts)
        vectors = np.empty((len(rows), self._encoder.dimension), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
        with torch_threads(self._threads), torch.inference_mode():
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                vectors[batch] = self._encoder.pool([rows[index] for index in batch]).numpy()
        return vectors


def plain_marks(text: str) -> str:
    """`text` with typographic quotes, dashes and ellipses as a recogniser writes them, and NFKC."""
    return unicodedata.normalize("NFKC", text.translate(_PLAIN)).strip()


def pad_rows(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(ids, mask), both int64 [B, T]; padded ids are 0 and masked, so which token that is never matters."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask


def load_encoder(folder: Path) -> Encoder:
    """The encoder in `folder`, fp32 on the CPU in evaluation mode; nothing but the folder is read."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        network = _build_network(settings)
    except Exception as error:  # the tokenizers library raises bare Exceptions
        raise WeightsError(
            f"{folder} holds no sentence encoder that can be read ({type(error).__name__}: {error}): "
            "expected config.json, model.safetensors and tokenizer.json of BERT or MPNet; run `make weights`."
        ) from None
    tokenizer.no_padding()
    used = {name: tensors[name].float() for name in network.state_dict() if name in tensors}
    absent = sorted(set(network.state_dict()) - set(used))
    if absent:
        raise WeightsError(f"{folder / 'model.safetensors'} lacks {absent[0]}: run `make weights`.")
    network.load_state_dict(used)
    return Encoder(folder.name, network.eval(), tokenizer, settings["hidden_size"], _digest_tensors(used))


def apply_adapter(encoder: Encoder, folder: Path) -> tuple[AdapterSidecar, str]:
    """Adds the adapter in `folder` to the encoder's weights in place: (its sidecar, digest of both).

    `<module>.lora_A` [rank, in] and `<module>.lora_B` [out, rank] add alpha / rank * B A to that module's
    weight (Hu et al., 2021, eq. 3), `<name>.delta` to that vector; `classifier.*` belongs to the trainer and is
    left alone. The digest is taken over the base's tensors and the adapter's, not over their sum, whose last bits
    differ between processors.
    """
    sidecar, factors = load_adapter(folder)
    if sidecar.base_digest != encoder.digest:
        raise CheckpointError(
            f"Adapter {folder.name} belongs to {sidecar.base} ({sidecar.base_digest[:8]}), not to "
            f"{encoder.name} ({encoder.digest[:8]}): set the base that it names, or another adapter."
        )
    weights = dict(encoder.network.named_parameters())
    with torch.no_grad():
        for target in sidecar.targets:
            down, up = factors[f"{target}.lora_A"].float(), factors[f"{target}.lora_B"].float()
            weights[f"{target}.weight"].add_(up @ down, alpha=sidecar.alpha / sidecar.rank)
        for name in sidecar.deltas:
            weights[name].add_(factors[f"{name}.delta"].float())
    summands: list[tuple[str, NDArray[np.generic]]] = [
        ("base", np.frombuffer(bytes.fromhex(encoder.digest), np.uint8)),
        ("scale", np.array([sidecar.alpha / sidecar.rank])),
    ]
    summands += [(name, tensor.numpy()) for name, tensor in factors.items() if not name.startswith("classifier.")]
    return sidecar, tensors_digest(summands)


def _digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    return tensors_digest((name, tensor.numpy()) for name, tensor in tensors.items())


def _build_network(settings: dict[str, Any]) -> nn.Module:
    # Imported here, and by their own modules, because transformers takes seconds that a run with text
    # switched off need not wait.
    kind = settings.get("model_type")
    network: nn.Module
    if kind == "bert":
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertModel

        network = BertModel(BertConfig(**settings), add_pooling_layer=False)
    elif kind == "mpnet":
        from transformers.models.mpnet.configuration_mpnet import MPNetConfig
        from transformers.models.mpnet.modeling_mpnet import MPNetModel

        network = MPNetModel(MPNetConfig(**settings), add_pooling_layer=False)
    else:
        raise ValueError(f"model_type {kind!r} is neither bert nor mpnet")
    return network
