"""What a text encoder costs an utterance, beside what its record says that it is worth."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from core_models.assets import model_folder
from core_models.checkpoint import WEIGHTS
from core_models.features.text.sentence_encoder import PastTurn, TextFeature
from core_models.text_adapter import load_adapter

# 18 tokens of MiniLM's and MPNet's tokenizer with their start and end.
_UTTERANCE = "I really thought that you were going to tell her about the house before we left."
# Turns of the past, more than any context reads.
_REPEATED = 40


def text(adapters: tuple[str, ...] = ("text-minilm-emotion",), repeats: int = 30, threads: int = 1) -> dict[str, Any]:
    """Milliseconds of the text feature for one utterance of 18 tokens, the context full, for each adapter in turn.

    Args:
        adapters: names under core_models/weights, or folders
        repeats: utterances a measurement
        threads: CPU threads
    """
    result: dict[str, Any] = {"benchmark": "text", "threads": threads}
    features = {}
    for name in adapters:
        folder = WEIGHTS / name if (WEIGHTS / name).is_dir() else Path(name)
        sidecar, _ = load_adapter(folder)
        features[name] = TextFeature(model_folder(sidecar.base), adapter=folder, threads=threads)
        dev = sidecar.record.get("dev", {})
        result[folder.name] = {
            "base": sidecar.base,
            "context": sidecar.context,
            "weighted_f1": round(dev["weighted_f1"], 1) if dev else None,
            "on": f"{sidecar.record['config']['stages'][-1]['corpus']} {dev.get('part', 'dev')}" if dev else None,
        }
    past = [PastTurn(turn % 2 == 0, _UTTERANCE) for turn in range(_REPEATED)]
    times: dict[str, list[float]] = {name: [] for name in adapters}
    with torch.inference_mode():
        # In turn, so that the machine's drift meets all; two warm up.
        for _ in range(repeats + 2):
            for name, feature in features.items():
                begun = time.perf_counter()
                feature([_UTTERANCE], [past])
                times[name].append((time.perf_counter() - begun) * 1000)
    for name in adapters:
        result[Path(name).name]["ms"] = round(statistics.median(times[name][2:]), 1)
    return result
