# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""``populace bench identities``: what a host does with a million names, most of them idle.

One host actor on Ray over a store in a temporary directory, called as every client calls it: many
calls of one event-loop turn share a message. Small stores are built first, to show that the time
to start does not depend on how many identities there are.
"""

import asyncio
import logging
import os
import random
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import ray

from populace.actors.engine import BaseInfo
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ModelId, TurnGrant, TurnRequest
from populace.bench.private_memory import Memory
from populace.bench.report import Aim, BenchReport, Row, percentile
from populace.directory import Directory
from populace.host_actor import NAMESPACE, HostOptions, RayHostClient, host_name, start_hosts
from populace.storage.store import Store

BUDGET_BYTES = 1024 * 1024 * 1024
"""Private memory of the host process, at most."""

RESIDENT_BYTES_MAX = 64 * 1024 * 1024
"""The host's own budget for activations: small, so that activating more than fit passivates others."""

CONCURRENCY = 256
LOOKUPS_MAX = 50_000
ACTIVATIONS_MAX = 50_000
SMALL = 1000
BASE = BaseInfo("bench", "0" * 64, 2048)

Report = Callable[[str, float], None]


def bench_identities(n: int, *, report: Report) -> BenchReport:
    """Build a store of ``n`` identities through a host on Ray and measure it."""
    result = BenchReport("identities")
    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        object_store_memory=128 * 1024 * 1024,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            small = _Population(Path(folder) / "small", SMALL)
            asyncio.run(small.create(lambda step, part: report(f"Small store: {step}", part)))
            start_small_s = small.restart()
            small.stop()
            large = _Population(Path(folder) / "large", n)
            asyncio.run(_measure(large, result, report))
            # Before the restart: the process that created and activated them all.
            private_bytes = Memory.of(large.process()).private_bytes
            report("Restarting", 1.0)
            start_large_s = large.restart()
            _add_sizes(large, result, private_bytes, start_small_s, start_large_s)
            large.stop()
    finally:
        ray.shutdown()
    return result


class _Population:
    """One store and the host actor over it."""

    def __init__(self, path: Path, n: int) -> None:
        self.path = path
        self.n = n
        store = Store.create_or_open(path, shards=8)
        limits = HostLimits(resident_bytes_max=RESIDENT_BYTES_MAX)
        options = HostOptions(
            number=0,
            hosts=1,
            data_directory=str(path),
            base=BASE,
            base_directory="",
            rank_max=16,
            limits=limits,
            has_engine=False,
        )
        self.handle: Any = start_hosts([options], environment={"OMP_NUM_THREADS": "1"})[0]
        self._shards = store.shards

    def directory(self) -> Directory:
        return Directory([RayHostClient(self.handle, host_name(0))], shard_count=self._shards)

    async def create(self, report: Report) -> list[float]:
        directory = self.directory()
        return await _many(self.n, lambda i: directory.create_model(model(i)), "creating", report)

    def restart(self) -> float:
        """Kill the host and time the new process from its start to its first answer, in seconds."""
        before = self.process()
        os.kill(before.pid, signal.SIGKILL)
        before.wait(30)
        asyncio.run(self.directory().show_model(model(0)))
        return time.time() - self.process().create_time()

    def process(self) -> psutil.Process:
        return psutil.Process(ray.get(self.handle.process_id.remote()))

    def stop(self) -> None:
        ray.get(self.handle.close.remote())
        ray.kill(self.handle)


def model(index: int) -> ModelId:
    return ModelId("bench", f"person-{index}")


async def _measure(population: _Population, result: BenchReport, report: Report) -> None:
    directory = population.directory()
    chance = random.Random(1)  # noqa: S311

    started = time.perf_counter()
    times = await population.create(report)
    result.rows.append(_row("create", population.n, time.perf_counter() - started, times))

    count = min(population.n, LOOKUPS_MAX)
    chosen = [model(chance.randrange(population.n)) for _ in range(count)]
    started = time.perf_counter()
    times = await _many(count, lambda i: directory.show_model(chosen[i]), "looking up", report)
    result.rows.append(_row("look up", count, time.perf_counter() - started, times))

    count = min(population.n, ACTIVATIONS_MAX)
    chosen = [model(index) for index in chance.sample(range(population.n), count)]
    started = time.perf_counter()
    times = await _many(count, lambda i: _activate(directory, chosen[i], i), "activating", report)
    result.rows.append(_row("activate, passivating over budget", count, time.perf_counter() - started, times))
    (statistics,) = await directory.statistics()
    result.notes.append(
        f"{statistics.activations:,} activations, {statistics.passivations:,} passivations, "
        f"{statistics.active:,} active at the end in {statistics.resident_bytes / 2**20:.0f} MiB of "
        f"{statistics.resident_bytes_max / 2**20:.0f}; {statistics.commits:,} commits in "
        f"{statistics.commit_batches:,} transactions"
    )


async def _activate(directory: Directory, chosen: ModelId, number: int) -> None:
    """Take a turn and give it back: the least that makes a model active."""
    turn = await directory.begin_turn(TurnRequest(chosen, f"bench-{number}", b""))
    assert isinstance(turn, TurnGrant)
    await directory.abandon_turn(turn, "bench")


async def _many(
    count: int, call: Callable[[int], Awaitable[object]], step: str, report: Report
) -> list[float]:
    """Make ``count`` calls, ``CONCURRENCY`` at a time; answer the seconds that each took."""
    times: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            await call(number)
            times.append(time.perf_counter() - started)
            if number % 1000 == 0:
                report(step.capitalize(), number / count)

    await asyncio.gather(*(worker() for _ in range(min(CONCURRENCY, count))))
    return times


def _row(name: str, count: int, seconds: float, times: list[float]) -> Row:
    return {
        "operation": name,
        "count": count,
        "per second": round(count / seconds),
        "p50 ms": round(percentile(times, 50) * 1000, 2),
        "p99 ms": round(percentile(times, 99) * 1000, 2),
    }


def _add_sizes(
    population: _Population,
    result: BenchReport,
    private_bytes: int,
    start_small_s: float,
    start_large_s: float,
) -> None:
    files = sum(file.stat().st_blocks * 512 for file in population.path.rglob("*") if file.is_file())
    result.notes += [
        f"store {files / 2**20:,.0f} MiB, {files / population.n:,.0f} bytes an identity",
        f"{CONCURRENCY} calls in flight; latencies include the wait for the group commit and for each other",
        f"start to answer: {start_small_s:.2f} s at {SMALL:,}, {start_large_s:.2f} s at {population.n:,}",
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
            f"start-up time ratio, {population.n:,} against {SMALL:,} identities",
            round(start_large_s / start_small_s, 2),
            1.25,
            "×",
            at_most=True,
        ),
    ]
