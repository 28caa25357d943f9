"""``populace bench identities``: time and memory of one host with a million identities, most of them idle.

The host is an actor on Ray with a store in a temporary directory, called as every client calls it: calls of
the same turn of the event loop share a message. A small store is measured first, because the time to start
should not depend on the number of identities.
"""

import asyncio
import random
import tempfile
import time
from pathlib import Path

from populace.actors.engine import BaseInfo
from populace.actors.turn import ModelId, TurnGrant, TurnRequest
from populace.hosting.directory.directory import Directory
from scripts.bench.one_host import CONCURRENCY, OneHost, Report, disk_bytes, many, model, running_ray
from scripts.bench.report import Aim, BenchReport, Row, percentile

BUDGET_BYTES = 1024 * 1024 * 1024
"""Largest aimed-at private memory of the host's process."""

LOOKUPS_MAX = 50_000
ACTIVATIONS_MAX = 50_000
SMALL = 1000
BASE = BaseInfo("bench", "0" * 64, 2048)


def bench_identities(n: int, *, report: Report) -> BenchReport:
    """Build a store of ``n`` identities through a host on Ray and measure it."""
    result = BenchReport("identities")
    with running_ray(), tempfile.TemporaryDirectory() as folder:
        small = OneHost(Path(folder) / "small", BASE)
        asyncio.run(_create(small, SMALL, lambda step, part: report(f"Small store: {step}", part)))
        start_small_s = asyncio.run(small.restart())
        small.stop()
        large = OneHost(Path(folder) / "large", BASE)
        asyncio.run(_measure(large, n, result, report))
        # Before the restart, because this process has created and activated all of them.
        private_bytes = large.private_bytes()
        report("Restarting", 1.0)
        start_large_s = asyncio.run(large.restart())
        _add_sizes(large.path, n, result, private_bytes, start_small_s, start_large_s)
        large.stop()
    return result


async def _create(host: OneHost, n: int, report: Report) -> list[float]:
    directory = host.directory()
    return await many(n, lambda i: directory.create_model(model(i)), "creating", report)


async def _measure(host: OneHost, n: int, result: BenchReport, report: Report) -> None:
    directory = host.directory()
    chance = random.Random(1)  # noqa: S311

    started = time.perf_counter()
    times = await _create(host, n, report)
    result.rows.append(_row("create", n, time.perf_counter() - started, times))

    count = min(n, LOOKUPS_MAX)
    chosen = [model(chance.randrange(n)) for _ in range(count)]
    started = time.perf_counter()
    times = await many(count, lambda i: directory.show_model(chosen[i]), "looking up", report)
    result.rows.append(_row("look up", count, time.perf_counter() - started, times))

    count = min(n, ACTIVATIONS_MAX)
    chosen = [model(index) for index in chance.sample(range(n), count)]
    started = time.perf_counter()
    times = await many(count, lambda i: _activate(directory, chosen[i], i), "activating", report)
    result.rows.append(_row("activate, passivating over budget", count, time.perf_counter() - started, times))
    (statistics,) = await directory.statistics()
    result.notes.append(
        f"{statistics.activations:,} activations, {statistics.passivations:,} passivations, "
        f"{statistics.active:,} active at the end in {statistics.resident_bytes / 2**20:.0f} MiB of "
        f"{statistics.resident_bytes_max / 2**20:.0f}; {statistics.commits:,} commits in "
        f"{statistics.commit_batches:,} transactions"
    )


async def _activate(directory: Directory, chosen: ModelId, number: int) -> None:
    """Begin a turn and give it up, which is the least that makes a model active."""
    turn = await directory.begin_turn(TurnRequest(chosen, f"bench-{number}", b""))
    assert isinstance(turn, TurnGrant)
    await directory.abandon_turn(turn, "bench")


def _row(name: str, count: int, seconds: float, times: list[float]) -> Row:
    return {
        "operation": name,
        "count": count,
        "per second": round(count / seconds),
        "p50 ms": round(percentile(times, 50) * 1000, 2),
        "p99 ms": round(percentile(times, 99) * 1000, 2),
    }


def _add_sizes(
    path: Path,
    n: int,
    result: BenchReport,
    private_bytes: int,
    start_small_s: float,
    start_large_s: float,
) -> None:
    files = disk_bytes(path)
    result.notes += [
        f"store {files / 2**20:,.0f} MiB, {files / n:,.0f} bytes per identity",
        f"{CONCURRENCY} calls in flight; latencies include the wait for the group commit and for each other",
        f"start to first answer: {start_small_s:.2f} s with {SMALL:,}, {start_large_s:.2f} s with {n:,}",
    ]
    result.aims += [
        Aim(
            "private memory of the host",
            round(private_bytes / 2**20),
            BUDGET_BYTES / 2**20,
            "MiB",
            at_most=True,
        ),
        Aim(
            f"start-up time with {n:,} identities relative to {SMALL:,}",
            round(start_large_s / start_small_s, 2),
            1.25,
            "×",
            at_most=True,
        ),
    ]
