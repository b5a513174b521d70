"""What training runs on: one process or many, CPU or GPU, in which precision, through Fabric."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from core_models.atomic_write import reason_of
from core_models.errors import UsageError

# Float16 is left out: it would need a scaler of the loss, whose state a resumed run would have to carry as well.
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}


def open_fabric(device: str, precision: str, threads: int, devices: int = 1) -> Fabric:
    """Fabric on `devices` processes, launched; under torchrun on as many as it started. Raises UsageError."""
    # Before anything is computed: sums are split by threads, so their number decides the last bits of a result.
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
        raise UsageError(
            f"device {device} cannot be used here by {local} processes ({reason_of(error)}): set device to cpu or auto."
        ) from None
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

    return apply_to_collection(output, Tensor, _Whole.apply)


def random_states(fabric: Fabric) -> list[Tensor]:
    """The state of the random numbers of every process, by rank."""
    states = [torch.get_rng_state()] * fabric.world_size
    if fabric.world_size > 1:
        dist.all_gather_object(states, torch.get_rng_state())
    return states


class _Whole(torch.autograd.Function):
    """Rows of all processes, by rank. Each of them takes the gradient of the same loss, so the sum of a row's
    gradients is world_size-fold; the strategy's average over processes then gives that of one process."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        # That of a sum is one number, expanded.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.rows
        return gradient[first : first + ctx.rows]
