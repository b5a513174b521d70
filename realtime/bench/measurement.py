"""Timing of benchmarks, and summaries of what was timed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import psutil
import torch


def time_call(work: Callable[[], object]) -> float:
    """Milliseconds that `work` takes, what it left to a GPU included."""
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) * 1000


def summarize_spread(values: list[float]) -> dict[str, float]:
    """Least, median, 95th percentile and greatest; empty of nothing."""
    if not values:
        return {}
    low, p50, p95, high = np.percentile(values, [0, 50, 95, 100])
    return {"min": float(low), "p50": float(p50), "p95": float(p95), "max": float(high)}


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process so far, its own and the system's for it."""
    times = process.cpu_times()
    return float(times.user + times.system)
