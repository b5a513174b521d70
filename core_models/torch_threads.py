"""The CPU threads of one computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with `count` threads; behind it, with as many as before.

    OpenMP's threads spin when another process wants their core, so features take one by default.
    The setting belongs to the calling thread, so it is made at each call rather than at construction; a training whose
    features are extracted in between goes on with its own number, on which its sums depend.
    """
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)
