"""A sentence encoder of a few kilobytes, for tests that need one that is real but not good."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

WORDS = "[PAD] [UNK] [CLS] [SEP] you had your hands full . what ? ! i ' m so happy for , this is the best day".split()


def tiny_encoder(folder: Path, kind: str = "bert", seed: int = 0, layers: int = 2) -> Path:
    """A randomly initialised encoder of 16 dimensions in the hub's own format."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 80,
        "initializer_range": 0.3,
    }
    model = BertModel(BertConfig(**sizes)) if kind == "bert" else MPNetModel(MPNetConfig(**sizes))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
