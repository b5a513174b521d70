"""Words to the encoder's last layer, one vector for each token (TDFNet)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core_models.feature_spec import FeatureSpec
from core_models.features.text.sentence_encoder import PastTurn, apply_adapter, load_encoder, pad_rows
from core_models.text_adapter import MAX_TOKENS
from core_models.torch_threads import torch_threads

VERSION = 1


class TokenStates:
    """Utterances to the last layer of a sentence encoder, one vector a token, start and end tokens among them.

    `folder` is that of a BERT or MPNet encoder in the hub's own format, `adapter` one of an adapter that has taught it
    emotion, whose past is not read. Raises WeightsError, CheckpointError.
    """

    languages = frozenset({"en"})

    def __init__(
        self, folder: Path, *, adapter: Path | None = None, max_tokens: int = MAX_TOKENS, threads: int = 1
    ) -> None:
        self._encoder = load_encoder(folder)
        self._max_tokens, self._threads = max_tokens, threads
        name, base, digest = self._encoder.name, self._encoder.name, self._encoder.digest
        if adapter is not None:
            sidecar, digest = apply_adapter(self._encoder, adapter)
            name, base = adapter.name, sidecar.base
        self.spec = FeatureSpec(
            modality="text",
            name=f"{name}-tokens",
            version=VERSION,
            dimension=self._encoder.dimension,
            digest=digest,
            settings={
                "base": base,
                "adapter": "none" if adapter is None else name,
                "max_tokens": max_tokens,
                "pooling": "none",
                "marks": "plain",
            },
        )

    def __call__(self, texts: Sequence[str], pasts: Sequence[Sequence[PastTurn]] = ()) -> list[NDArray[np.float32]]:
        """float32 [T, dimension] of each text, whatever was said before it and whatever its neighbours are."""
        rows = [row.ids for row in self._encoder.tokenize(texts, self._max_tokens)]
        ids, mask = pad_rows(rows)
        with torch_threads(self._threads), torch.inference_mode():
            states = self._encoder.network(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
        return [np.array(state[: len(row)]) for state, row in zip(states, rows, strict=True)]
