"""The machine that a benchmark ran on, as it stands beside every figure."""

from __future__ import annotations

import os
import platform
from typing import Any


def measure_load() -> float | None:
    """Processes that waited or ran in the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def describe_machine(load_before: float | None) -> dict[str, Any]:
    """Processor, cores, GPU and versions; `load_before` is `measure_load` of before the benchmark."""
    # Two seconds, which a refused command line or a benchmark without models would pay.
    import torch

    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_before": load_before,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
