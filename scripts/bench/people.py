"""``populace bench people``: what it costs that those who share a batch are different people.

One engine answers the same requests without adapters, and then with an adapter in the batch for each of the
people, and a memory for each or none. Sides are measured in turn in each round, so that other load on the
machine affects them alike.
"""

import asyncio
import itertools
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.actors.engine import AdapterRef, EngineKind, MemoryUse, OwnedEngine
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.module import MemoryModule
from populace.base.files import BaseModelFiles
from populace.base.memory_module import SHIPPED, find_memory_module
from populace.base.prepare import prepare_base
from populace.engines.options import EngineOptions
from populace.engines.starting import start_engine
from populace.settings.settings import Settings
from populace.storage.revisions import adapter_digest
from scripts.bench.bare_engine import Person, run_bare
from scripts.bench.load import Load, Sample
from scripts.bench.random_adapters import write_random_adapters
from scripts.bench.random_module import random_state
from scripts.bench.report import Aim, BenchReport, Row

SPEED_MIN = 0.9

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class PeopleBench:
    """The batch has ``streams`` replies at a time; stream i is of person ``i % people``.

    Adapters have this ``rank`` on all linear layers, and the module of the memory is the settings', or the
    one that is shipped for the base.
    """

    people: tuple[int, ...] = (1, 4, 8, 16)
    streams: int = 16
    rounds: int = 5
    requests: int = 2
    reply_tokens: int = 48
    rank: int = 8
    engine: EngineKind = "vllm"


class _Side(NamedTuple):
    """Those who share the batch: no ``people`` is the base alone."""

    people: int
    remembers: bool


class _Figures(NamedTuple):
    """One round: tokens/s of the whole batch, seconds to the first token, and for each token after it."""

    speed: float
    first: float
    each: float

    @classmethod
    def of(cls, samples: Sequence[Sample], seconds: float) -> "_Figures":
        return cls(
            sum(sample.tokens for sample in samples) / seconds,
            statistics.median(sample.first_token_s for sample in samples),
            statistics.median((s.total_s - s.first_token_s) / max(1, s.tokens - 1) for s in samples),
        )


def bench_people(bench: PeopleBench, settings: Settings, report: Report) -> BenchReport:
    """Start the engine, measure every side in each round, and compare them with the base alone."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    modules = read_base_modules(base.directory)
    memory = find_memory_module(settings.memory_module or SHIPPED, base.fingerprint)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        ranks = [bench.rank] * max(bench.people)
        paths = write_random_adapters(Path(folder), base.directory, modules, ranks).packed
        adapters = [AdapterRef(adapter_digest(path)[0], str(path)) for path in paths]
        states = [] if memory is None else _states(memory.path, base, modules, len(adapters))
        measured = asyncio.run(
            _measure(bench, settings, base, None if memory is None else memory.path, adapters, states, report)
        )
    return _compare(bench, measured)


def _states(path: Path, base: BaseModelFiles, modules: BaseModules, count: int) -> list[bytes]:
    module = MemoryModule.read(path, base.fingerprint, attention_layers(modules))
    return [random_state(module, seed) for seed in range(count)]


async def _measure(
    bench: PeopleBench,
    settings: Settings,
    base: BaseModelFiles,
    module: Path | None,
    adapters: Sequence[AdapterRef],
    states: Sequence[bytes],
    report: Report,
) -> dict[_Side, list[_Figures]]:
    report("Starting the engine", 0.0)
    engine = await start_engine(
        bench.engine,
        EngineOptions(
            base.directory,
            base.fingerprint,
            settings.context_tokens,
            sequences_max=bench.streams,
            adapter_slots=max(bench.people),
            rank_max=max(bench.rank, settings.rank_max),
            threads=settings.threads,
            memory_module=module,
            kv_gib=settings.kv_gib,
        ),
    )
    sides = [_Side(0, remembers=False)]
    sides += [
        _Side(count, remembers)
        for remembers in (False, *([True] if states else []))
        for count in bench.people
    ]
    try:
        return await _rounds(bench, engine, sides, adapters, states, report)
    finally:
        await engine.close()


async def _rounds(
    bench: PeopleBench,
    engine: OwnedEngine,
    sides: Sequence[_Side],
    adapters: Sequence[AdapterRef],
    states: Sequence[bytes],
    report: Report,
) -> dict[_Side, list[_Figures]]:
    measured: defaultdict[_Side, list[_Figures]] = defaultdict(list)
    load = Load(bench.streams, bench.requests, bench.reply_tokens)
    steps = len(sides) * (bench.rounds + 1)
    for step, (number, side) in enumerate(itertools.product(range(-1, bench.rounds), sides)):
        report(
            f"{side.people or 'no'} people, {'with' if side.remembers else 'without'} memory", step / steps
        )
        people = [
            Person(adapters[index], MemoryUse(states[index]) if side.remembers else None)
            for index in range(side.people)
        ]
        played = await run_bare(engine, people or [Person()], load, round_number=number)
        if number >= 0:  # the first round warms up
            measured[side].append(_Figures.of(*played))
    return measured


def _compare(bench: PeopleBench, measured: dict[_Side, list[_Figures]]) -> BenchReport:
    result = BenchReport(
        "people",
        notes=[
            f"Medians of {bench.rounds} rounds; {bench.streams} streams in one engine.",
            f"{bench.requests} requests each, {bench.reply_tokens} tokens a reply.",
            f"Adapters have rank {bench.rank} on all linear layers.",
            "ratio: of tokens/s to the base alone, which has no adapter and no memory.",
        ],
    )
    figures = {
        side: _Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))
        for side, rounds in measured.items()
    }
    alone = figures[_Side(0, remembers=False)]
    for side, medians in figures.items():
        result.rows.append(_row(side, medians, alone))
    for side, medians in figures.items():
        if side.people == max(bench.people):
            name = f"{side.people} people {'with' if side.remembers else 'without'} memory: tokens/s"
            ratio = round(medians.speed / alone.speed, 3)
            result.aims.append(Aim(name, ratio, SPEED_MIN, "x the base alone", at_most=False))
    return result


def _row(side: _Side, medians: _Figures, alone: _Figures) -> Row:
    return {
        "people": side.people or "the base alone",
        "memory": "yes" if side.remembers else "no",
        "tokens/s": round(medians.speed, 1),
        "ratio": round(medians.speed / alone.speed, 3),
        "TTFT p50 ms": round(medians.first * 1000),
        "ms a token after it": round(medians.each * 1000, 1),
    }
