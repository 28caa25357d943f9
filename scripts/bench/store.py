"""``populace bench store``: durable turns per second with group commit, and with a transaction for each.

Both sides write the same turns through the same ledger into the same shard with ``fsync``, in alternate
rounds. In groups, every model is a task on one event loop and its turns pass through the ``Committer``. One
by one, every model is a thread that commits each turn in its own transaction, as a server without group
commit does.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import psutil

from populace.actors.engine import Message
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ModelId, Reply, TurnGrant, TurnRequest
from populace.settings.clock import SystemClock
from populace.storage.records import keys
from populace.storage.records.records import (
    DataKeyRecord,
    HeadRecord,
    IdentityRecord,
    InteractionRecord,
    OperationRecord,
)
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards.committer import Committer
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from scripts.bench.report import Aim, BenchReport, Row, percentile

RATIO_MIN = 20.0
"""Least aimed-at speed of group commit relative to one commit per turn, with the most models."""

TENANT = "bench"
BASE = "0" * 64
FOREVER_MS = 2**60
HISTORY_TURNS = 8
LIMITS = HostLimits(mailbox_max=1)

_SENTENCE = "I remember that you asked me this before, and my answer has not changed since then. "
ASKED = (_SENTENCE * 6)[:420]
ANSWERED = (_SENTENCE * 8)[:600]

MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})

Report = Callable[[str, float], None]
Operation = Callable[[WriteTransaction], object]


@dataclass(frozen=True, slots=True)
class StoreBench:
    """The load. In each round and with each number of ``models`` each side commits for ``seconds``."""

    models: tuple[int, ...] = (1, 16, 64, 256)
    rounds: int = 5
    seconds: float = 1.0
    reads: int = 5000


class Round(NamedTuple):
    """The duration of a round, and the seconds that each of its turns took, all in seconds."""

    seconds: float
    times: list[float]

    @property
    def per_second(self) -> float:
        """Committed turns per second."""
        return len(self.times) / self.seconds


def bench_store(bench: StoreBench, directory: Path, *, report: Report) -> BenchReport:
    """Measure in a temporary directory under ``directory``, and remove it."""
    result = BenchReport("store")
    with tempfile.TemporaryDirectory(prefix="populace-bench-", dir=directory) as folder:
        store = Store.create_or_open(Path(folder) / "commits", shards=2)
        with closing(store.open_shard(0, "the bench")) as shard:
            population = _Population(shard, store.sealing, max(bench.models))
            ratio = _measure_commits(bench, population, result, report)
            _measure_reads(bench, population, result, report)
            report("Checking that every turn is in the log", 0.95)
            population.check_integrity()
        with closing(store.open_shard(1, "the bench")) as shard:
            ceiling = _measure_ceiling(bench, _Population(shard, store.sealing, max(bench.models)))
        asyncio.run(_measure_activations(bench, Path(folder) / "host", result, report))
    result.aims.append(
        Aim(
            f"turns per second, in groups relative to one by one, {max(bench.models)} models",
            round(ratio, 1),
            RATIO_MIN,
            "×",
            at_most=False,
        )
    )
    at_once = max(bench.models)
    result.notes += [
        f"medians of {bench.rounds} rounds of {bench.seconds:g} s, of which every other is one by one",
        f"a turn is three rows; its interaction has {len(_turn(0, '0' * 32).pack()):,} bytes",
        f"the same rows, ready and unchecked, {at_once} turns a transaction: {ceiling:,.0f} turns per second",
    ]
    return result


def filesystem_of(path: Path) -> str:
    """Return the type of the file system that holds ``path``, empty if the system does not say."""
    holding = [
        partition
        for partition in psutil.disk_partitions(all=True)
        if path.resolve().is_relative_to(partition.mountpoint)
    ]
    # Of two mounts at one place, the later one hides the earlier.
    return max(reversed(holding), key=lambda disk: len(disk.mountpoint)).fstype if holding else ""


class _Population:
    """The models of the bench, and the number of turns that each of them has."""

    def __init__(self, shard: Shard, sealing: Sealing, count: int) -> None:
        self.shard = shard
        self.positions = dict.fromkeys((f"person-{index}" for index in range(count)), 0)
        creations = [partial(_create, name=name, data_key=sealing.new_data_key()) for name in self.positions]
        for outcome in shard.write(creations):
            if isinstance(outcome, Exception):
                raise outcome

    def first(self, count: int) -> list[str]:
        """Return the names of the first ``count`` models."""
        return list(self.positions)[:count]

    def next_turn(self, name: str) -> Operation:
        """Return the operation that commits the model's next turn."""
        position = self.positions[name]
        self.positions[name] += 1
        interaction = _turn(position, f"{name}-{position:024}")
        return partial(_commit, name=name, interaction=interaction)

    def check_integrity(self) -> None:
        """Check the shard, and that each model's log has as many turns as were committed."""
        self.shard.check_integrity()
        with self.shard.read() as txn:
            for name, position in self.positions.items():
                model = ledger.read_model(txn, TENANT, name)
                assert model is not None, name
                assert model.head.log_position == position, (name, model.head.log_position, position)


def _create(txn: WriteTransaction, *, name: str, data_key: DataKeyRecord) -> None:
    ledger.create_model(txn, IdentityRecord(tenant=TENANT, name=name, base=BASE, created_ms=1), data_key)


def _commit(txn: WriteTransaction, *, name: str, interaction: InteractionRecord) -> None:
    ledger.commit_turn(
        txn,
        TENANT,
        name,
        interaction,
        body_hash=bytes(32),
        expected_position=interaction.position,
        expires_ms=FOREVER_MS,
        now_ms=1,
    )


def _turn(position: int, operation: str) -> InteractionRecord:
    return InteractionRecord(
        position=position,
        operation=operation,
        completion_id=f"chatcmpl-{operation}",
        messages=(("user", ASKED),),
        reply=ANSWERED,
        finish_reason="stop",
        prompt_tokens=90,
        completion_tokens=120,
        revision=BASE,
        base=BASE,
        memory_version=0,
        created_ms=1_764_000_000_000,
        conversation="main",
        history_turns=HISTORY_TURNS,
    )


def _measure_commits(
    bench: StoreBench, population: _Population, result: BenchReport, report: Report
) -> float:
    """Add the rows of both sides; return the ratio of their speeds with the most models."""
    ratio = 0.0
    for step, count in enumerate(bench.models):
        names = population.first(count)
        grouped: list[Round] = []
        single: list[Round] = []
        for number in range(bench.rounds):
            report(f"Committing, {count} models", 0.8 * (step + number / bench.rounds) / len(bench.models))
            grouped.append(asyncio.run(_commit_in_groups(population, names, bench.seconds)))
            single.append(_commit_one_by_one(population, names, bench.seconds))
        result.rows += [
            _commit_row("commit in groups", count, grouped),
            _commit_row("commit one by one", count, single),
        ]
        if count == max(bench.models):
            pairs = zip(grouped, single, strict=True)
            ratio = statistics.median(in_groups.per_second / by_one.per_second for in_groups, by_one in pairs)
    return ratio


async def _commit_in_groups(population: _Population, names: list[str], seconds: float) -> Round:
    times: list[float] = []
    started = time.perf_counter()

    async def take_turns(name: str) -> None:
        while (begun := time.perf_counter()) < started + seconds or not times:
            await committer.commit(population.next_turn(name))
            times.append(time.perf_counter() - begun)

    with closing(Committer(population.shard)) as committer:
        await asyncio.gather(*(take_turns(name) for name in names))
        return Round(time.perf_counter() - started, times)


def _commit_one_by_one(population: _Population, names: list[str], seconds: float) -> Round:
    started = time.perf_counter()

    def take_turns(name: str) -> list[float]:
        times: list[float] = []
        while (begun := time.perf_counter()) < started + seconds or not times:
            [outcome] = population.shard.write([population.next_turn(name)])
            if isinstance(outcome, Exception):
                raise outcome
            times.append(time.perf_counter() - begun)
        return times

    with ThreadPoolExecutor(len(names)) as pool:
        times = [seconds for times in pool.map(take_turns, names) for seconds in times]
    return Round(time.perf_counter() - started, times)


def _commit_row(name: str, models: int, rounds: list[Round]) -> Row:
    return {
        "operation": name,
        "models": models,
        "per second": round(statistics.median(measured.per_second for measured in rounds)),
        "p50 ms": _milliseconds(percentile(measured.times, 50) for measured in rounds),
        "p99 ms": _milliseconds(percentile(measured.times, 99) for measured in rounds),
    }


def _measure_reads(bench: StoreBench, population: _Population, result: BenchReport, report: Report) -> None:
    report("Reading", 0.8)
    chance = random.Random(1)  # noqa: S311
    names = list(population.positions)

    def read_model() -> None:
        with population.shard.read() as txn:
            assert ledger.read_model(txn, TENANT, chance.choice(names)) is not None

    def read_interaction() -> None:
        name = chance.choice(names)
        start = chance.randrange(population.positions[name])
        with population.shard.read() as txn:
            assert len(ledger.read_log(txn, TENANT, name, start=start, limit=1)) == 1

    result.rows += [
        _row("read a model", len(names), _timed(read_model, bench.reads)),
        _row("read an interaction", len(names), _timed(read_interaction, bench.reads)),
    ]


def _measure_ceiling(bench: StoreBench, population: _Population) -> float:
    """Write the rows of turns without any check; return the median turns per second of the rounds."""
    names = list(population.positions)
    head = HeadRecord(log_position=1, chain=bytes(16)).pack()
    operation = OperationRecord(body_hash=bytes(32), position=1, expires_ms=FOREVER_MS).pack()
    rounds: list[float] = []
    position = 0

    def put(txn: WriteTransaction) -> None:
        for key, value in rows:
            txn.put(key, value)

    for _ in range(bench.rounds):
        turns, spent_s = 0, 0.0
        while spent_s < bench.seconds:
            interaction = _turn(position, f"{position:032}").pack()
            rows = [
                row
                for name in names
                for row in (
                    (keys.interaction(TENANT, name, position), interaction),
                    (keys.head(TENANT, name), head),
                    (keys.operation(TENANT, name, f"{position:032}"), operation),
                )
            ]
            started = time.perf_counter()
            [outcome] = population.shard.write([put])
            spent_s += time.perf_counter() - started
            if outcome is not None:
                raise outcome
            turns += len(names)
            position += 1
        rounds.append(turns / spent_s)
    return statistics.median(rounds)


async def _measure_activations(bench: StoreBench, path: Path, result: BenchReport, report: Report) -> None:
    """Time an inactive model to its first grant, with and without earlier turns in the grant."""
    report("Activating", 0.97)
    store = Store.create_or_open(path)
    models = [ModelId(TENANT, f"person-{index}") for index in range(max(bench.models))]
    with closing(
        ModelHost("bench", store, range(store.shards), base=BASE, clock=SystemClock(), limits=LIMITS)
    ) as host:
        await asyncio.gather(*(_create_with_history(host, model) for model in models))
        for name, conversation, earlier in (
            ("activate", None, 0),
            (f"activate, with {HISTORY_TURNS} earlier turns", "main", HISTORY_TURNS),
        ):
            times: list[float] = []
            for number in range(bench.reads):
                model = models[number % len(models)]
                passivated = host.passivate(model)
                assert passivated, "a model that is still active would be measured as an inactive one"
                request = _request(model, f"{conversation}-{number}", conversation)
                begun = time.perf_counter()
                grant = await host.begin_turn(request)
                times.append(time.perf_counter() - begun)
                assert isinstance(grant, TurnGrant)
                assert len(grant.history) == earlier
                await host.abandon_turn(grant, "the bench makes no reply")
            result.rows.append(_row(name, len(models), times))


async def _create_with_history(host: ModelHost, model: ModelId) -> None:
    await host.create_model(model)
    for number in range(HISTORY_TURNS):
        grant = await host.begin_turn(_request(model, f"lived-{number}", "main"))
        assert isinstance(grant, TurnGrant)
        reply = Reply((Message("user", ASKED),), ANSWERED, "stop", 90, 120, f"chatcmpl-{number}")
        await host.finish_turn(grant, reply)


def _request(model: ModelId, operation: str, conversation: str | None) -> TurnRequest:
    return TurnRequest(model, operation, sha256(operation.encode()).digest(), history_of=conversation)


def _timed(call: Callable[[], None], count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return times


def _row(name: str, models: int, times: list[float]) -> Row:
    return {
        "operation": name,
        "models": models,
        "per second": round(len(times) / sum(times)),
        "p50 ms": _milliseconds([percentile(times, 50)]),
        "p99 ms": _milliseconds([percentile(times, 99)]),
    }


def _milliseconds(seconds: Iterable[float]) -> float:
    return round(statistics.median(seconds) * 1000, 3)
