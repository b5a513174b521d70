"""What training runs on: one process or many, CPU or GPU, through Fabric."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from core_models.errors import UsageError

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}


def open_fabric(device: str, devices: int, precision: str, threads: int) -> Fabric:
    """Fabric on `devices` processes, launched; under torchrun on as many as it started. Raises UsageError."""
    torch.set_num_threads(threads)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    world = int(os.environ.get("WORLD_SIZE", local))
    # An utterance without a voice leaves the voice's parameters without a gradient.
    strategy: Any = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=device,
            devices=local,
            num_nodes=max(1, world // local),
            strategy=strategy,
            precision=PRECISIONS[precision],  # type: ignore[arg-type]
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        sentence = " ".join(str(error).split()).rstrip(".")
        raise UsageError(f"--device {device} with --devices {local} cannot be used: {sentence}.") from None
    fabric.launch()
    return fabric


def gathered(fabric: Fabric, output: Any) -> Any:
    """The network's output (a named tuple of tensors [B / processes, ...]) of the whole batch, [B, ...].

    Gradients flow back to the process that each row came from. So every process computes the loss of the whole
    batch, as a single one would: a term that is a mean over the labelled, or over those who have a face, stays that
    mean, which an average of the processes' own means would not be.
    """
    if fabric.world_size == 1:
        return output

    def whole(x: Tensor) -> Tensor:
        # Each process takes the gradient of the same loss, so a row's gradient arrives world_size-fold; the
        # strategy's average over processes then gives the sum over all rows, which is the gradient of one process.
        every: Any = fabric.all_gather(x.contiguous(), sync_grads=True)
        return every.flatten(0, 1)  # type: ignore[no-any-return]

    return apply_to_collection(output, Tensor, whole)
