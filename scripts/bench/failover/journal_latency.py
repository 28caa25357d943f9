"""What a journal adds to a turn: the same turns on hosts without one, and with one in each mode and bucket.

The hosts are in this process, without Ray and without an engine, so that a turn is a grant and its commit.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.settings.clock import SystemClock
from populace.settings.environment import lent_environment, process_environment
from populace.settings.settings import DAY_SECONDS
from populace.storage.journal.description import describe
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.store import Store
from scripts.bench.failover.load import take_turn
from scripts.bench.ports import free_port
from scripts.bench.processes import child, wait_until_ready
from scripts.bench.report import Row, percentile

BASE = "0" * 64
SHARDS = 4
S3_BUCKET = "populace-bench"

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Mode:
    """How a host is journaled: not at all, or in a bucket by the ``mode`` of the settings."""

    name: str
    bucket: str | None = None
    is_sync: bool = False


@dataclass(slots=True)
class _Side:
    mode: Mode
    host: ModelHost
    directory: Directory
    turns: int = 0


@dataclass(frozen=True, slots=True)
class LatencyBench:
    """In each round, ``turns`` are measured for each number of people who talk at once."""

    clients: Sequence[int] = (1, 16)
    turns: int = 320
    rounds: int = 5


def measure_latency(bench: LatencyBench, root: Path, *, report: Report) -> tuple[list[Row], list[str]]:
    """Measure all modes in turns under ``root``; return rows by mode and number of people, and notes."""
    notes: list[str] = []
    with ExitStack() as stack:
        (root / "bucket").mkdir()
        directory = f"file://{root}/bucket"
        modes = [Mode("none"), Mode("async, directory", directory), Mode("sync, directory", directory, True)]
        if find_spec("moto") is None or find_spec("flask") is None:
            notes.append("moto's server is not installed, so that no S3 was measured")
        else:
            url = stack.enter_context(_s3(root))
            modes += [Mode("async, S3 (moto)", url), Mode("sync, S3 (moto)", url, True)]
        rows = asyncio.run(_measure(bench, modes, root, report))
    return rows, notes


async def _measure(bench: LatencyBench, modes: list[Mode], root: Path, report: Report) -> list[Row]:
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(mode, root / f"store-{n}")) for n, mode in enumerate(modes)]
        for side in sides:
            await asyncio.gather(
                *(side.directory.create_model(_person(number)) for number in range(max(bench.clients)))
            )
        rows: list[Row] = []
        for clients in bench.clients:
            times: dict[str, list[float]] = {side.mode.name: [] for side in sides}
            medians: dict[str, list[float]] = {side.mode.name: [] for side in sides}
            for number in range(bench.rounds + 1):
                report(f"Turns of {clients} at once", number / (bench.rounds + 1))
                # In another order each time: what one leaves to be written must not always meet the same.
                for side in (*sides[number % len(sides) :], *sides[: number % len(sides)]):
                    taken = await _turns(side, clients, bench.turns)
                    if number:  # the first one warms up
                        times[side.mode.name] += taken
                        medians[side.mode.name].append(percentile(taken, 50))
            rows += [_row(name, clients, times[name], medians[name], medians["none"]) for name in times]
    return rows


async def _turns(side: _Side, clients: int, turns: int) -> list[float]:
    """Take turns of some people at once; return the milliseconds that each took."""
    taken: list[float] = []

    async def talk(number: int) -> None:
        for _ in range(turns // clients):
            side.turns += 1
            begun = time.perf_counter()
            await take_turn(side.directory, _person(number), f"turn-{side.turns}")
            taken.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(talk(number) for number in range(clients)))
    return taken


@contextmanager
def _side(mode: Mode, path: Path) -> Generator[_Side]:
    store = Store.create_or_open(path, SHARDS)
    journal = None
    if mode.bucket is not None:
        describe(open_bucket(mode.bucket), store)
        journal = JournalOptions(mode.bucket, mode.is_sync, DAY_SECONDS)
    host = ModelHost("bench", store, range(SHARDS), base=BASE, clock=SystemClock(), journal=journal)
    try:
        yield _Side(mode, host, Directory.over([LocalHostClient(host)], shard_count=SHARDS))
    finally:
        host.close()


@contextmanager
def _s3(root: Path) -> Generator[str]:
    """Run moto's server, S3 on this machine, and lend this process its address; yield a bucket's URL."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = root / "moto.log"
    with (
        child(command, process_environment(), log) as process,
        lent_environment(
            AWS_ACCESS_KEY_ID="bench",
            AWS_SECRET_ACCESS_KEY="bench",  # noqa: S106 - moto takes any
            AWS_REGION="us-east-1",
            AWS_ENDPOINT_URL=address,
        ),
    ):
        wait_until_ready(f"{address}/moto-api/data.json", process, log)
        httpx.put(f"{address}/{S3_BUCKET}").raise_for_status()
        yield f"s3://{S3_BUCKET}/journal"


def _person(number: int) -> ModelId:
    return ModelId("bench", f"person-{number}")


def _row(name: str, clients: int, taken: list[float], medians: list[float], without: list[float]) -> Row:
    added = [with_journal - bare for with_journal, bare in zip(medians, without, strict=True)]
    return {
        "what": f"turns of {clients} at once",
        "journal": name,
        "count": len(taken),
        "p50 ms": round(percentile(taken, 50), 2),
        "p99 ms": round(percentile(taken, 99), 2),
        "added ms": round(percentile(added, 50), 2),
    }
