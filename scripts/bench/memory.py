"""``populace bench memory``: the time that a δ-mem adds to an engine's prefill and decoding.

One engine process runs the same batches with and without a memory in turn. A gated memory is measured twice:
gates that are always open read with every token of a reply and write every prompt, and gates that are always
closed do neither.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from populace.actors.engine import EngineKind, GenerateRequest, MemoryUse, Message, OwnedEngine, Sampling
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import FIRST_LAYER_SHARE, MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.base.files import BaseModelFiles
from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from scripts.bench.measured_engine import start_measured
from scripts.bench.random_module import random_module, random_state, with_gates
from scripts.bench.report import Aim, BenchReport
from scripts.bench.scan_times import time_scans

BATCHES = (1, 8, 16)
DECODE_RATIO_MAX = 1.10
PREFILL_RATIO_MAX = {"gated": 1.05, "published": 1.25}
SHORT_PROMPT = 16
SCAN_TOKENS = 2048
IDS = (100, 20_000)
"""A half-open range of token ids that are in the vocabulary of every base."""

GATED = MemoryShape(rank=64, gated=True, layer_step=4)
"""The shape that ``python -m examples.memory_module train --gated`` trains."""

Report = Callable[[str, float], None]
Rule = Literal["gated", "published"]


@dataclass(frozen=True, slots=True)
class MemoryBench:
    """The engines, the memory's rule, and the lengths in tokens of decoded replies and prefilled prompts.

    With the ``rule`` "published" every token is written and read in every layer
    (``adapters/memory/layer.py``).
    """

    rule: Rule = "gated"
    engines: tuple[EngineKind, ...] = ("vllm", "torch")
    rounds: int = 5
    reply_tokens: int = 48
    prompt_tokens: int = 256


class _Timed(NamedTuple):
    """The seconds until the first token, and the mean seconds per token after it."""

    first: float
    each: float


class _Measured(NamedTuple):
    """A memory module to measure, and its name in the rows."""

    name: str
    module: MemoryModule


def bench_memory(bench: MemoryBench, settings: Settings, report: Report) -> BenchReport:
    """Start, measure and stop each engine in turn; for the published rule, time the scan as well."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    result = BenchReport(
        "memory",
        columns=("engine", "memory", "what", "batch", "without_ms", "with_ms", "ratio"),
        notes=["medians over the rounds; again: a conversation whose beginning is in the prefix cache"],
    )
    modules = _modules(bench.rule, base)
    runs: list[tuple[EngineKind, _Measured]] = [
        (kind, measured) for kind in bench.engines for measured in modules
    ]
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        path = Path(folder) / "module.safetensors"
        for index, (kind, measured) in enumerate(runs):
            path.write_bytes(measured.module.pack())
            report(f"The {kind} engine, {measured.name}", index / (len(runs) + 1))
            asyncio.run(_measure_engine(kind, measured, bench, settings, base, path, result))
    if bench.rule == "published":
        report("The scan", len(runs) / (len(runs) + 1))
        _measure_scan(bench, result)
    state_bytes = modules[0].module.state_format("0" * 64).packed_bytes
    result.rows.append({"engine": "", "what": "state of one person, bytes", "with_ms": state_bytes})
    return result


def _modules(rule: Rule, base: BaseModelFiles) -> list[_Measured]:
    if rule == "published":
        return [_Measured("read and written", random_module(base.directory, base.fingerprint))]
    layers = len(attention_layers(read_base_modules(base.directory)))
    shape = replace(GATED, first_layer=round(FIRST_LAYER_SHARE * layers))
    return [
        _Measured(name, with_gates(random_module(base.directory, base.fingerprint, shape), open_=open_))
        for name, open_ in (("gates open", True), ("gates closed", False))
    ]


async def _measure_engine(
    kind: EngineKind,
    measured: _Measured,
    bench: MemoryBench,
    settings: Settings,
    base: BaseModelFiles,
    path: Path,
    result: BenchReport,
) -> None:
    engine = await start_measured(
        kind,
        settings,
        base.directory,
        base.fingerprint,
        path,
        context_tokens=settings.context_tokens,
        sequences_max=max(BATCHES),
    )
    prefill_max = PREFILL_RATIO_MAX[bench.rule]
    state = random_state(measured.module)
    try:
        timings = [
            ("decode, a token", _decoded(engine, bench), DECODE_RATIO_MAX),
            (f"prefill, {bench.prompt_tokens} tokens", _prefilled(engine, bench), prefill_max),
        ]
        if bench.rule == "gated":  # without gates a cached prefix is valid for one state alone
            again = f"prefill again, {bench.prompt_tokens} tokens"
            timings.append((again, _prefilled_again(engine, bench), prefill_max))
        for what, timed, ratio_max in timings:
            for batch in BATCHES:
                times: dict[bool, list[float]] = defaultdict(list)
                for round_number in range(-1, bench.rounds):
                    for remembers in (False, True):
                        seconds = await timed(batch, MemoryUse(state) if remembers else None)
                        if round_number >= 0:
                            times[remembers].append(seconds)
                without, with_ = (statistics.median(times[side]) * 1000 for side in (False, True))
                result.rows.append(
                    {
                        "engine": kind,
                        "memory": measured.name,
                        "what": what,
                        "batch": batch,
                        "without_ms": round(without, 2),
                        "with_ms": round(with_, 2),
                        "ratio": round(with_ / without, 3),
                    }
                )
                name = f"{kind}, {measured.name}, {what.split(',')[0]}, batch {batch}: time with memory"
                result.aims.append(Aim(name, round(with_ / without, 3), ratio_max, "x without", at_most=True))
    finally:
        await engine.close()


Timing = Callable[[int, MemoryUse | None], Awaitable[float]]
"""Times a batch of this many requests in seconds, with a memory, or None without."""


def _decoded(engine: OwnedEngine, bench: MemoryBench) -> Timing:
    async def timed(batch: int, use: MemoryUse | None) -> float:
        prompts = [_tokens(SHORT_PROMPT) for _ in range(batch)]
        return (await _batch(engine, prompts, bench.reply_tokens, use)).each

    return timed


def _prefilled(engine: OwnedEngine, bench: MemoryBench) -> Timing:
    async def timed(batch: int, use: MemoryUse | None) -> float:
        return (await _batch(engine, [_tokens(bench.prompt_tokens) for _ in range(batch)], 1, use)).first

    return timed


def _prefilled_again(engine: OwnedEngine, bench: MemoryBench) -> Timing:
    """Time conversations whose beginning is cached; only their last message is new to the memory."""

    async def timed(batch: int, use: MemoryUse | None) -> float:
        begun = [_conversation(bench.prompt_tokens) for _ in range(batch)]
        await _batch(engine, begun, 1, None)
        more = (Message("assistant", "I see."), Message("user", "And now?"))
        asked = [(*conversation, *more) for conversation in begun]
        use = None if use is None else use._replace(new_from=2)
        return (await _batch(engine, asked, 1, use)).first

    return timed


Prompt = tuple[int, ...] | tuple[Message, ...]


def _tokens(count: int) -> tuple[int, ...]:
    """Draw a random prompt, so that no beginning of it is in the prefix cache."""
    source = random.SystemRandom()
    return tuple(source.randrange(*IDS) for _ in range(count))


def _conversation(tokens: int) -> tuple[Message, ...]:
    """Draw one message of about ``tokens`` tokens: most tokenizers make each digit a token."""
    source = random.SystemRandom()
    return (Message("user", "".join(str(source.randrange(10)) for _ in range(tokens))),)


async def _batch(
    engine: OwnedEngine, prompts: Sequence[Prompt], reply_tokens: int, use: MemoryUse | None
) -> _Timed:
    """Send all prompts at once; return the seconds until all have a first token, and the median per token."""
    timed = await asyncio.gather(
        *(
            _time_request(engine, f"{time.time_ns()}-{index}", prompt, reply_tokens, use)
            for index, prompt in enumerate(prompts)
        )
    )
    # The prompts of a batch take more than one engine step; the batch is read when the last one is.
    return _Timed(max(reply.first for reply in timed), statistics.median(reply.each for reply in timed))


async def _time_request(
    engine: OwnedEngine, name: str, prompt: Prompt, reply_tokens: int, use: MemoryUse | None
) -> _Timed:
    sampling = Sampling(max_tokens=reply_tokens, temperature=0.0, ignore_eos=True)
    began = time.perf_counter()
    first = began
    async for _ in engine.generate(GenerateRequest(name, prompt, sampling, memory=use)):
        first = time.perf_counter() if first == began else first
    return _Timed(first - began, (time.perf_counter() - first) / max(1, reply_tokens - 1))


def _measure_scan(bench: MemoryBench, result: BenchReport) -> None:
    """Add a row that compares the chunked scan of one layer with the loop over tokens."""
    times = time_scans(SCAN_TOKENS, MemoryShape().rank, bench.rounds)
    loop, chunks = times.loop * 1000, times.chunks * 1000
    result.rows.append(
        {
            "engine": "scan",
            "what": f"{SCAN_TOKENS} tokens in one layer: loop, chunks",
            "batch": 1,
            "without_ms": round(loop, 2),
            "with_ms": round(chunks, 2),
            "ratio": round(chunks / loop, 3),
        }
    )
