"""``populace bench tenants``: quiet tenants chat with their models while another one floods the engine.

Each round measures the quiet tenants alone and beside each flood, in one run against one Populace. The time
to first token of what a flood costs is compared with that of the same requests alone.
"""

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.report import Aim, BenchReport, Row, percentile
from scripts.bench.served_populace import ServedPopulace, served_populace
from scripts.bench.tenants.clients import Flood, Found, Tenant, flood_body
from scripts.bench.tenants.jobs import compare_jobs
from scripts.bench.tenants.limits import measure_limits

SLOWDOWN_MAX = 2.0
"""The most that a flood may cost the others, in times of their own time to first token."""

MODEL = "ada"
REPLY_TOKENS = 16
CHOICES = 16
"""The most that a request may ask for."""

LONG_TEXT = "The tide comes in twice a day, and goes out as often. " * 110
"""About 1,500 tokens, which fit the default context."""

FLOODS, LIMITS = "floods", "limits"
"""Each is measured with a Populace of its own."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class TenantsBench:
    """``tenants`` quiet ones ask ``requests`` times each in a round, every ``pause_s`` seconds."""

    tenants: int = 10
    rounds: int = 3
    requests: int = 4
    pause_s: float = 3.0
    flood_first_s: float = 4.0
    """How long a flood has gone on when the quiet tenants begin."""

    engine: str = "auto"
    streams: int = 200
    """Replies that a flood asks for at once."""

    jobs: int = 1000
    """Trainings of another tenant, of 1,000 steps each, behind which a quiet one asks for two steps; 0 asks
    for none."""

    limit_seconds: int = 60
    """For how long a flood is measured against each limit of its tenant; 0 does not."""

    @property
    def floods(self) -> tuple[Flood, ...]:
        """Ways to take all of an engine: many streams, many choices of a few, and long prompts."""
        story, several = "Tell me a story.", max(1, self.streams // CHOICES)
        return (
            Flood(f"{self.streams} streams", self.streams, flood_body(story, tokens=150)),
            Flood(
                f"{several} requests for {CHOICES} choices",
                several,
                flood_body(story, tokens=150, choices=CHOICES),
            ),
            Flood(f"{self.streams} long prompts", self.streams, flood_body(LONG_TEXT, tokens=1)),
        )


def bench_tenants(bench: TenantsBench, *, report: Report) -> BenchReport:
    """Measure what floods cost. Raises ``BenchFailed``."""
    with tempfile.TemporaryDirectory(prefix="populace-bench-") as folder:
        root = Path(folder)
        for part in (FLOODS, LIMITS):
            (root / part).mkdir()
        return asyncio.run(_measure(bench, root, report))


async def _measure(bench: TenantsBench, root: Path, report: Report) -> BenchReport:
    result = BenchReport("populace bench tenants")
    if bench.rounds or bench.jobs:
        await _measure_floods(bench, root / FLOODS, report, result)
    if bench.limit_seconds:
        report("Limits", 1.0)
        await measure_limits(root / LIMITS, bench.engine, bench.limit_seconds, result)
    return result


async def _measure_floods(bench: TenantsBench, root: Path, report: Report, result: BenchReport) -> None:
    report("Starting populace serve", 0.0)
    alone = Found()
    beside = {flood.name: (Found(), Found()) for flood in bench.floods}
    with contextlib.ExitStack() as stack:
        context = served_populace(root, ["--engine", bench.engine], {})
        served = await asyncio.to_thread(stack.enter_context, context)
        async with _tenants(served, bench.tenants) as (flooding, quiet):
            # The first request of a model and its tenant loads what later ones find.
            await _ask_all(quiet, 1, 0.0, number=-1)
            for number in range(bench.rounds):
                report(f"Round {number + 1}: nothing else", number / bench.rounds)
                _add(alone, await _ask_all(quiet, bench.requests, bench.pause_s, number))
                for flood in bench.floods:
                    report(f"Round {number + 1}: {flood.name}", number / bench.rounds)
                    flooded = asyncio.create_task(flooding.floods(flood))
                    await asyncio.sleep(bench.flood_first_s)
                    ours, theirs = beside[flood.name]
                    _add(ours, await _ask_all(quiet, bench.requests, bench.pause_s, number))
                    flooded.cancel()
                    _add(theirs, await flooded)
            _add_floods(bench, alone, beside, result)
            if bench.jobs:
                report(f"A training behind {bench.jobs:,} others", 1.0)
                await compare_jobs(flooding, quiet[0], bench.jobs, result)


@contextlib.asynccontextmanager
async def _tenants(served: ServedPopulace, quiet: int) -> AsyncGenerator[tuple[Tenant, list[Tenant]]]:
    names = ["flood", *(f"quiet-{number}" for number in range(quiet))]
    keys = [await asyncio.to_thread(served.new_key, name) for name in names]
    tenants = [Tenant(served.url, key) for key in keys]
    try:
        for tenant in tenants[1:]:
            await tenant.create(MODEL)
        yield tenants[0], tenants[1:]
    finally:
        for tenant in tenants:
            await tenant.close()


async def _ask_all(quiet: list[Tenant], times: int, pause_s: float, number: int) -> list[Found]:
    """Each asks its own model, at its own time within the pause."""

    async def ask(place: int, tenant: Tenant) -> Found:
        await asyncio.sleep(pause_s * place / len(quiet))
        return await tenant.asks(_body(f"Round {number}: where is the sea, for {place}?"), times, pause_s)

    return await asyncio.gather(*(ask(place, tenant) for place, tenant in enumerate(quiet)))


def _body(text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    # Without earlier turns, or each request would be longer than the one before.
    sampling = {"max_tokens": REPLY_TOKENS, "temperature": 0, "ignore_eos": True}
    return {"model": MODEL, "messages": messages, "stream": True, **sampling}


def _add(all_found: Found, more: Found | list[Found]) -> None:
    for found in [more] if isinstance(more, Found) else more:
        all_found.first_token_s += found.first_token_s
        all_found.refused += found.refused


def _add_floods(
    bench: TenantsBench, alone: Found, beside: dict[str, tuple[Found, Found]], result: BenchReport
) -> None:
    result.rows.append(_row("nothing else", "quiet", alone))
    own = percentile(alone.first_token_s, 50)
    refused: Counter[str] = Counter()
    for name, (ours, theirs) in beside.items():
        result.rows += [_row(name, "quiet", ours), _row(name, "flood", theirs)]
        slowdown = percentile(ours.first_token_s, 50) / own if ours.first_token_s else float("inf")
        what = f"time to first token of the others beside {name}, p50"
        result.aims.append(Aim(what, round(slowdown, 2), SLOWDOWN_MAX, "x alone", at_most=True))
        refused += ours.refused
    count = sum(refused.values())
    result.aims.append(Aim("requests of the others that were refused", count, 0, "requests", at_most=True))
    result.notes.append(
        f"{bench.tenants} quiet tenants, each with a model of its own, {bench.requests} requests each in a "
        f"round, {bench.rounds} rounds; what is refused is not asked again"
    )


def _row(beside: str, tenant: str, found: Found) -> Row:
    seconds = found.first_token_s
    return {
        "beside": beside,
        "tenant": tenant,
        "replies": len(seconds),
        "first token p50 ms": round(percentile(seconds, 50) * 1e3) if seconds else 0,
        "p95 ms": round(percentile(seconds, 95) * 1e3) if seconds else 0,
        "longest ms": round(max(seconds) * 1e3) if seconds else 0,
        "refused": ", ".join(f"{code} {count}" for code, count in found.refused.most_common()) or "none",
    }
