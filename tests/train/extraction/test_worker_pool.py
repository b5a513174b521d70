"""Processes side by side: every batch comes back once, whatever becomes of the process that had it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_models.errors import MediaError
from core_models.feature_spec import FeatureSpec
from train.corpora.dialogues import Utterance, UtteranceInContext
from train.extraction.worker_pool import extract_batches


class Lengths:
    """A line's vector is how long its text is and which process looked; two lines are fatal to it, or broken."""

    batch = 1
    spec = FeatureSpec(modality="text", name="lengths", version=1, dimension=2, digest="0")

    def __reduce__(self) -> Any:
        return Lengths, ()

    def key(self, turn: UtteranceInContext) -> str | None:
        return turn.utterance.text

    def vectors(self, turns: Sequence[UtteranceInContext]) -> list[NDArray[np.float32] | None]:
        if turns[0].utterance.text == "fatal":
            os._exit(9)  # as a decoder does that reads where it must not
        if turns[0].utterance.text == "broken":
            raise MediaError("this one is broken")
        return [np.array([len(turn.utterance.text or ""), os.getpid()], np.float32) for turn in turns]


def batches(*texts: str) -> list[list[UtteranceInContext]]:
    return [[UtteranceInContext(Utterance(text, "Al", text))] for text in texts]


def test_a_clip_that_ends_its_process_is_named_and_the_others_are_computed() -> None:
    """A process that dies costs its own clip alone; a clip that raises is told as it would be in one process."""
    texts = ["a" * size for size in range(1, 12)]
    texts[9:9] = ["fatal", "broken"]
    found = dict(extract_batches(Lengths(), batches(*texts), workers=2))
    assert sorted(found) == list(range(13))
    for number, text in enumerate(texts):
        made = found[number]
        if text == "fatal":
            assert "fatal ended the process" in made
        elif text == "broken":
            assert made == "this one is broken"
        else:
            assert made[0][0] == len(text)
            assert made[0][1] != np.float32(os.getpid())


def test_few_batches_are_computed_here() -> None:
    """What is done before another process has begun is done in this one."""
    found = dict(extract_batches(Lengths(), batches("a", "broken"), workers=2))
    assert found[0][0][1] == np.float32(os.getpid())
    assert found[1] == "this one is broken"
