"""Times the two forms of the δ-mem scan for ``populace bench memory``."""

import statistics
import time
from collections import defaultdict
from typing import NamedTuple

import torch
from torch.nn import functional

from populace.adapters.memory.scan import TokenInputs, scan_chunks, scan_loop


class ScanTimes(NamedTuple):
    """The median seconds of one layer's scan: a loop over tokens, and chunks of tokens."""

    loop: float
    chunks: float


def time_scans(tokens: int, rank: int, rounds: int) -> ScanTimes:
    """Time both forms in turn for ``rounds`` rounds, after one round of warm-up."""
    generator = torch.Generator().manual_seed(0)
    parts = [functional.normalize(torch.randn(tokens, rank, generator=generator), dim=-1) for _ in range(3)]
    inputs = TokenInputs(*parts, rate=torch.rand(tokens, rank, generator=generator))
    times: dict[str, list[float]] = defaultdict(list)
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, scan in (("loop", scan_loop), ("chunks", scan_chunks)):
                began = time.perf_counter()
                scan(inputs, torch.zeros(rank, rank))
                times[name].append(time.perf_counter() - began)
    return ScanTimes(*(statistics.median(times[name][1:]) for name in ("loop", "chunks")))
