"""``populace bench soak``: whether a million identities, a hundredth of them active, stay within all bounds.

The hosts run in this process without Ray, so that its memory is theirs, and are swept as a host actor sweeps
them. Limits are small, so that budgets, log lengths and free space in files reach them all the time. A turn
is a grant and a fixed reply, without an engine.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import psutil

from populace.actors.keepers.log_compactor import TURNS_BETWEEN_LOOKS
from populace.storage.records.errors import RecordInvalid
from populace.storage.store import Store
from scripts.bench.private_memory import Memory
from scripts.bench.report import Aim, BenchReport
from scripts.bench.soak.population import SoakBench, SoakPopulation
from scripts.bench.soak.samples import MIB, SoakSamples

PRIVATE_GROWTH_BYTES_MAX = 32 * MIB
"""The last nine tenths of the identities may add at most this much private memory, however many they are."""

PRIVATE_SPARE_BYTES = 96 * MIB
"""Private memory beside that of activations: calls in flight, LMDB's dirty pages, and Python itself."""

READER_SLOTS_MAX = 16
"""Readers of a shard are its event loop's thread, and the threads that compact and measure."""

FILE_RATIO_MAX = 2.0
"""Largest size of a file relative to its live data; ``policies/compaction.py`` compacts files above it."""

SAMPLE_SECONDS = 0.5
ROWS_MAX = 8
"""At most this many rows for a step, beside the one at its end."""

COLUMNS = ("step", "identities", "turns", "private MiB", "file MiB", "free MiB", "map share", "p99 ms")
"""The columns of the table; the rows of the JSON object have more."""

Report = Callable[[str, float], None]


def bench_soak(bench: SoakBench, directory: Path, *, report: Report) -> BenchReport:
    """Run the soak in a temporary directory under ``directory`` and remove it, also after Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="populace-soak-", dir=directory) as folder:
        path = Path(folder) / "store"
        result = asyncio.run(_soak(bench, path, report))
        check_rows(path, result, report)
    return result


async def _soak(bench: SoakBench, path: Path, report: Report) -> BenchReport:
    async with SoakPopulation.running(bench, path) as population:
        samples = SoakSamples(population)

        def created() -> float:
            return 0.5 * population.identities / bench.identities

        leaving = bench.leaving

        def left() -> float:
            return 0.75 + 0.1 * (bench.identities - population.identities) / leaving

        empty = Memory.of(psutil.Process())
        async with _watched("create", samples, created, report):
            await population.create(bench.identities // 10)
        tenth = Memory.of(psutil.Process())
        async with _watched("create", samples, created, report):
            await population.create(bench.identities)
        full = Memory.of(psutil.Process())
        async with _watched("talk", samples, _talking(bench, population), report):
            started = time.monotonic()
            await population.talk()
            talked_seconds = time.monotonic() - started
        logs = await population.check_logs()
        async with _watched("leave", samples, left, report):
            await population.leave()
        await population.compact()
        await samples.take("compact", is_row=True)

    result = BenchReport("soak", rows=samples.rows, columns=COLUMNS)
    _add_memory_aims(bench, result, samples, (empty, tenth, full))
    _add_store_aims(bench, result, samples)
    # A log may exceed its limit by turns since the last sweep and by those that operation ids pinned.
    pinned = logs.longest * min(1.0, 2 * bench.limits.operation_seconds_kept / talked_seconds)
    log_max = bench.limits.log.interactions_max + TURNS_BETWEEN_LOOKS + round(pinned)
    result.aims += [
        _at_most(f"interactions kept of the longest log, of {logs.longest:,}", logs.longest_kept, log_max),
        _at_most("models whose log is not exactly the acknowledged turns", logs.wrong),
    ]
    result.notes.append(
        f"{len(population.times):,} turns of {bench.active:,} models by Zipf's law, seed {bench.seed}; "
        "latencies are from the request for the turn to its durable commit"
    )
    return result


@asynccontextmanager
async def _watched(
    step: str, samples: SoakSamples, fraction: Callable[[], float], report: Report
) -> AsyncGenerator[None]:
    """Take samples and report the progress until the block ends."""

    async def watch() -> None:
        stride, first = 1, len(samples.rows)
        while True:
            for number in range(stride):
                await asyncio.sleep(SAMPLE_SECONDS)
                await samples.take(step, is_row=number == stride - 1)
                report(step.capitalize(), fraction())
            if len(samples.rows) - first >= ROWS_MAX:
                # A step may last seconds or hours: at the limit, every other row goes and samples get rarer.
                del samples.rows[first::2]
                stride *= 2

    report(step.capitalize(), fraction())
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    await samples.take(step, is_row=True)


def _talking(bench: SoakBench, population: SoakPopulation) -> Callable[[], float]:
    started = time.monotonic()

    def fraction() -> float:
        taken = 0.0 if bench.turns is None else len(population.times) / bench.turns
        return 0.5 + 0.25 * min(1.0, max(taken, (time.monotonic() - started) / bench.seconds))

    return fraction


def _add_memory_aims(
    bench: SoakBench, result: BenchReport, samples: SoakSamples, memory: tuple[Memory, Memory, Memory]
) -> None:
    empty, tenth, full = (measured.private_bytes for measured in memory)
    most = samples.extremes
    identities = f"{bench.identities // 10:,} → {bench.identities:,} identities"
    result.aims += [
        _at_most(
            f"private memory, {identities}", _mebibytes(full - tenth), PRIVATE_GROWTH_BYTES_MAX / MIB, "MiB"
        ),
        _at_most(
            "private memory at most, above that with an empty store",
            _mebibytes(most.private_bytes - empty),
            (bench.resident_bytes_max + PRIVATE_SPARE_BYTES) / MIB,
            "MiB",
        ),
        _at_most(
            "size of activations relative to their budget, at most", round(most.resident_share, 3), 1.0, "×"
        ),
    ]
    result.notes.append(
        "RSS counts pages of mapped files, which the kernel may reclaim at any time; private memory does not"
    )


def _add_store_aims(bench: SoakBench, result: BenchReport, samples: SoakSamples) -> None:
    most = samples.extremes
    growth = samples.map_bytes / (bench.map_bytes * bench.shards)
    result.aims += [
        _at_most("reader slots of a shard, at most", most.reader_slots, READER_SLOTS_MAX),
        _at_most("reads that were open too long", most.long_reads),
        _at_most("writes that met a full map", samples.full_maps),
        Aim("maps grew to", round(growth, 2), 2.0, "× their first size", at_most=False),
        _at_most(
            "size of the files relative to their live data, after compaction",
            round(samples.file_bytes / samples.live_bytes, 3),
            FILE_RATIO_MAX,
            "×",
        ),
    ]


def check_rows(path: Path, result: BenchReport, report: Report) -> None:
    """Open the shards again, check every row of them, and add the aim and what failed."""
    store, wrong = Store.open(path), 0
    for number in range(store.shards):
        report("Checking every row", 0.85 + 0.15 * number / store.shards)
        try:
            with closing(store.open_shard(number, "the soak")) as shard:
                shard.check_integrity()
        except (AssertionError, RecordInvalid) as error:
            wrong += 1
            result.notes.append(f"shard {number}: {error}")
    result.aims.append(_at_most("shards that fail their integrity check", wrong))


def _at_most(name: str, value: float, aim: float = 0, unit: str = "") -> Aim:
    return Aim(name, value, aim, unit, at_most=True)


def _mebibytes(count: int) -> float:
    return round(count / MIB, 1)
