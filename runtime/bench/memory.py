"""``populace bench memory``: what a δ-mem costs an engine, against the same engine without one.

Both sides take turns in one engine process, round by round: the same prompts, the same batch, with and
without a memory that is read and written.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.actors.engine import GenerateRequest, MemoryUse, OwnedEngine, Sampling
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.random_module import random_module
from populace.adapters.memory.scan_times import time_scans
from populace.base import prepare_base
from populace.bench.measured_engine import start_measured
from populace.bench.report import Aim, BenchReport
from populace.config import Settings

BATCHES = (1, 8, 16)
DECODE_RATIO_MAX = 1.10
PREFILL_RATIO_MAX = 1.25
SHORT_PROMPT = 16
SCAN_TOKENS = 2048
IDS = (100, 20_000)
"""Token ids that every base has."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class MemoryBench:
    """What to measure. Tokens of a reply that is decoded, and of a prompt that is read."""

    engines: tuple[str, ...] = ("vllm", "torch")
    rounds: int = 5
    reply_tokens: int = 48
    prompt_tokens: int = 256


class _Timed(NamedTuple):
    """Seconds to the first token, and of each token after it."""

    first: float
    each: float


def bench_memory(bench: MemoryBench, settings: Settings, report: Report) -> BenchReport:
    """Measure each engine and the scan. Starts the engines, and stops them."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    result = BenchReport(
        "memory",
        columns=("engine", "what", "batch", "without_ms", "with_ms", "ratio"),
        notes=["with: the memory is read, and written by every token; medians over the rounds"],
    )
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        path = Path(folder) / "module.safetensors"
        module = random_module(base.directory, base.fingerprint)
        path.write_bytes(module.pack())
        for index, kind in enumerate(bench.engines):
            report(f"Starting the {kind} engine", index / (len(bench.engines) + 1))
            asyncio.run(
                _measure_engine(kind, bench, settings, base.directory, base.fingerprint, path, result)
            )
    report("The scan", len(bench.engines) / (len(bench.engines) + 1))
    _measure_scan(bench, result)
    state_bytes = module.state_format("0" * 64).packed_bytes
    result.rows.append({"engine": "", "what": "state of one person, bytes", "with_ms": state_bytes})
    return result


async def _measure_engine(
    kind: str,
    bench: MemoryBench,
    settings: Settings,
    directory: Path,
    fingerprint: str,
    module: Path,
    result: BenchReport,
) -> None:
    engine = await start_measured(
        kind,
        settings,
        directory,
        fingerprint,
        module,
        context_tokens=settings.context_tokens,
        sequences_max=max(BATCHES),
    )
    try:
        state = await _some_state(engine)
        for what, prompt_tokens, reply_tokens, ratio_max in (
            ("decode, a token", SHORT_PROMPT, bench.reply_tokens, DECODE_RATIO_MAX),
            (f"prefill, {bench.prompt_tokens} tokens", bench.prompt_tokens, 1, PREFILL_RATIO_MAX),
        ):
            for batch in BATCHES:
                times: dict[bool, list[float]] = defaultdict(list)
                for round_number in range(-1, bench.rounds):
                    for remembers in (False, True):
                        use = MemoryUse(state) if remembers else None
                        timed = await _batch(engine, batch, prompt_tokens, reply_tokens, use)
                        if round_number >= 0:
                            times[remembers].append(timed.first if reply_tokens == 1 else timed.each)
                without, with_ = (statistics.median(times[side]) * 1000 for side in (False, True))
                result.rows.append(
                    {
                        "engine": kind,
                        "what": what,
                        "batch": batch,
                        "without_ms": round(without, 2),
                        "with_ms": round(with_, 2),
                        "ratio": round(with_ / without, 3),
                    }
                )
                name = f"{kind}, {what.split(',')[0]}, batch {batch}: time with memory"
                result.aims.append(Aim(name, round(with_ / without, 3), ratio_max, "x without", at_most=True))
    finally:
        await engine.close()


async def _batch(
    engine: OwnedEngine,
    batch: int,
    prompt_tokens: int,
    reply_tokens: int,
    use: MemoryUse | None,
) -> _Timed:
    """Ask so many at once, each with a prompt of its own."""
    timed = await asyncio.gather(
        *(
            _one(engine, f"{time.time_ns()}-{index}", prompt_tokens, reply_tokens, use)
            for index in range(batch)
        )
    )
    # The prompts of a batch are read in more than one step: what counts is when all of them are.
    return _Timed(max(one.first for one in timed), statistics.median(one.each for one in timed))


async def _one(
    engine: OwnedEngine,
    name: str,
    prompt_tokens: int,
    reply_tokens: int,
    use: MemoryUse | None,
) -> _Timed:
    source = random.Random(name)  # noqa: S311 - no prompt twice: it would be in the prefix cache
    prompt = tuple(source.randrange(*IDS) for _ in range(prompt_tokens))
    sampling = Sampling(max_tokens=reply_tokens, temperature=0.0, ignore_eos=True)
    began = time.perf_counter()
    first = began
    async for _ in engine.generate(GenerateRequest(name, prompt, sampling, memory=use)):
        first = time.perf_counter() if first == began else first
    return _Timed(first - began, (time.perf_counter() - first) / max(1, reply_tokens - 1))


async def _some_state(engine: OwnedEngine) -> bytes | None:
    state: bytes | None = None
    request = GenerateRequest(
        "state", tuple(range(*IDS, 400)), Sampling(max_tokens=2, temperature=0.0), memory=MemoryUse()
    )
    async for delta in engine.generate(request):
        state = delta.memory
    return state


def _measure_scan(bench: MemoryBench, result: BenchReport) -> None:
    """Chunks against the plain loop, of one layer."""
    times = time_scans(SCAN_TOKENS, MemoryShape().rank, bench.rounds)
    loop, chunks = times.loop * 1000, times.chunks * 1000
    result.rows.append(
        {
            "engine": "scan",
            "what": f"{SCAN_TOKENS} tokens of a layer: loop, chunks",
            "batch": 1,
            "without_ms": round(loop, 2),
            "with_ms": round(chunks, 2),
            "ratio": round(chunks / loop, 3),
        }
    )
