"""``populace bench cliff``: throughput when more adapters are in use than an engine has slots.

Populace's engine is compared with unchanged vLLM. Each side is an engine in its own process, and all get the
same traffic: clients that send one request after the other, each for an adapter that is drawn (Zipf or
uniform) from a working set that is a multiple of the slots. Adapters have ranks 1 to 16 on all linear layers;
vLLM pads each slot to 16.
"""

import math
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from scripts.bench.engine_process import Round, longest_gap, running_engine
from scripts.bench.engine_sides import PROMPT_TOKENS, EngineRequest, Side, Start, draw_prompt
from scripts.bench.random_adapters import write_random_adapters
from scripts.bench.report import Aim, BenchReport, Row, percentile

RATIOS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
RANKS = (1, 2, 4, 8, 16)

STOCK = "vllm"
SAME_SLOTS = "same slots"
SAME_BYTES = "same bytes"

THROUGHPUT_MIN = 1.15
FIRST_TOKEN_MAX = 0.5
GAP_MAX = 1.2
FALL_MIN = 0.95

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class CliffBench:
    """The traffic and the engines' slots. ``ratios`` are sizes of working sets, in multiples of ``slots``."""

    slots: int = 4
    ratios: tuple[float, ...] = RATIOS
    clients: int = 8
    requests: int = 6
    reply_tokens: int = 24
    rounds: int = 3


class _Cell(NamedTuple):
    """One combination of traffic (zipf or uniform) and size of the working set."""

    traffic: str
    ratio: float


class _Figures(NamedTuple):
    """The figures of one round: tokens/s, seconds to the first token, and the longest pause in a reply."""

    speed: float
    first_p50: float
    first_p95: float
    first_p99: float
    first_max: float
    gap: float


def bench_cliff(bench: CliffBench, settings: Settings, report: Report) -> BenchReport:
    """Start each side in turn, run all rounds on it and stop it; then compare the sides."""
    base = prepare_base(settings.base, settings.cache, allow_hub=False)
    modules = read_base_modules(base.directory)
    with tempfile.TemporaryDirectory(prefix="populace-") as folder:
        count = math.ceil(bench.slots * max(bench.ratios))
        ranks = [RANKS[number % len(RANKS)] for number in range(count)]
        adapters = write_random_adapters(Path(folder), base.directory, modules, ranks)
        common = Start(
            base.directory,
            base.fingerprint,
            adapters.packed,
            settings.context_tokens,
            max(RANKS),
            settings.threads,
        )
        slot_bytes = _slot_bytes(modules, max(RANKS))
        sides = (
            Side(STOCK, stock=True, slots=bench.slots),
            Side(SAME_SLOTS, stock=False, slots=bench.slots),
            Side(SAME_BYTES, stock=False, slots=bench.clients, warm_bytes_max=bench.slots * slot_bytes),
        )
        starts = dict.fromkeys(sides, common)
        starts[sides[0]] = common._replace(adapters=adapters.directories)
        measured = _measure(bench, starts, report)
    return _compare(bench, sides, measured, slot_bytes)


def _measure(
    bench: CliffBench, starts: Mapping[Side, Start], report: Report
) -> dict[tuple[str, _Cell], list[_Figures]]:
    measured: dict[tuple[str, _Cell], list[_Figures]] = defaultdict(list)
    cells = [_Cell(traffic, ratio) for traffic in ("zipf", "uniform") for ratio in bench.ratios]
    for side, start in starts.items():
        report(f"Starting {side.name}", 0.0)
        # Only one engine runs at a time, because an idle one still competes for CPU caches and runs timers.
        with running_engine(side, start) as engine:
            steps = len(cells) * (bench.rounds + 1)
            for step in range(steps):
                number, cell = step // len(cells), cells[step % len(cells)]
                report(f"{side.name}: {cell.traffic}, {cell.ratio:g} x", step / steps)
                clients = _traffic(bench, cell, number)
                played = engine.play(clients)
                if number:  # the first round warms up
                    measured[side.name, cell].append(_figures(played))
    return measured


def _traffic(bench: CliffBench, cell: _Cell, number: int) -> list[list[EngineRequest]]:
    """Draw the requests of each client: the same for every side in a round, and no prompt twice."""
    draw = random.Random(f"{cell} {number}")  # noqa: S311 - traffic, not a secret
    working_set = range(max(1, round(bench.slots * cell.ratio)))
    weights = [1 / (rank + 1) if cell.traffic == "zipf" else 1.0 for rank in working_set]

    def ask() -> EngineRequest:
        [adapter] = draw.choices(working_set, weights)
        prompt = draw_prompt(draw)
        # Replies of one length would all end together, and no prompt would be computed during a reply.
        return EngineRequest(
            adapter, prompt, draw.randint(bench.reply_tokens // 2, bench.reply_tokens * 3 // 2)
        )

    return [[ask() for _ in range(bench.requests)] for _ in range(bench.clients)]


def _figures(played: Round) -> _Figures:
    firsts = [served.token_times[0] for served in played.served]
    tokens = sum(len(served.token_times) for served in played.served)
    return _Figures(
        tokens / played.seconds,
        percentile(firsts, 50),
        percentile(firsts, 95),
        percentile(firsts, 99),
        max(firsts),
        longest_gap(played.served),
    )


def _compare(
    bench: CliffBench,
    sides: tuple[Side, ...],
    measured: dict[tuple[str, _Cell], list[_Figures]],
    slot_bytes: int,
) -> BenchReport:
    result = BenchReport(
        "cliff",
        notes=[
            f"Medians of {bench.rounds} rounds; {bench.clients} clients, {bench.requests} requests each.",
            f"Prompts of {PROMPT_TOKENS} tokens, replies of {bench.reply_tokens} (by half more or less); ms.",
            "working set: adapters in use, in multiples of the slots. gap: the longest pause in a reply.",
            f"{STOCK}: {bench.slots} slots of {slot_bytes / 1e6:.1f} MB each, PEFT directories.",
            f"{SAME_SLOTS}: Populace with as many slots. {SAME_BYTES}: Populace with as many bytes for them.",
            "Populace reads packed files, as a store has them.",
        ],
    )
    figures = {
        key: _Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))
        for key, rounds in measured.items()
    }
    for (side, cell), medians in figures.items():
        result.rows.append(_row(side, cell, medians))
    for traffic in ("zipf", "uniform"):
        result.aims += _aims(bench, figures, traffic)
    return result


def _row(side: str, cell: _Cell, medians: _Figures) -> Row:
    return {
        "traffic": cell.traffic,
        "working set": f"{cell.ratio:g} x",
        "side": side,
        "tokens/s": round(medians.speed, 1),
        "TTFT p50": round(medians.first_p50 * 1000),
        "p95": round(medians.first_p95 * 1000),
        "p99": round(medians.first_p99 * 1000),
        "max": round(medians.first_max * 1000),
        "gap": round(medians.gap * 1000),
    }


def _aims(bench: CliffBench, figures: dict[tuple[str, _Cell], _Figures], traffic: str) -> list[Aim]:
    hot, far = min(bench.ratios), max(ratio for ratio in bench.ratios if ratio <= 8)
    stock, own = (figures[side, _Cell(traffic, far)] for side in (STOCK, SAME_SLOTS))
    all_hot = figures[SAME_SLOTS, _Cell(traffic, hot)]
    where = f"{traffic}, {far:g} x, same slots"
    speed, first = own.speed / stock.speed, own.first_p50 / stock.first_p50
    aims = [
        Aim(f"{where}: throughput", round(speed, 3), THROUGHPUT_MIN, "x vllm", at_most=False),
        Aim(f"{where}: TTFT p50", round(first, 3), FIRST_TOKEN_MAX, "x vllm", at_most=True),
        Aim(f"{where}: longest gap", round(own.gap / all_hot.gap, 3), GAP_MAX, "x all hot", at_most=True),
    ]
    fitting = [ratio for ratio in bench.ratios if ratio <= 2]
    slowest = min(figures[SAME_BYTES, _Cell(traffic, ratio)].speed for ratio in fitting)
    fall = slowest / figures[SAME_BYTES, _Cell(traffic, hot)].speed
    name = f"{traffic}, up to {max(fitting):g} x, same bytes: throughput"
    return [*aims, Aim(name, round(fall, 3), FALL_MIN, "x all hot", at_most=False)]


def _slot_bytes(modules: BaseModules, rank: int) -> int:
    """Return the size of one of vLLM's slots: A and B of each linear layer at this rank, in bfloat16."""
    return 2 * rank * sum(shape.inputs + shape.outputs for shape in modules.linears.values())
