"""``populace bench failover``: people talk while processes and machines are killed, and nothing may be lost.

First each process of a served Populace is killed in turn (``processes.py``). Then three machines of a Ray are
on this one: a head, and two store nodes with data directories of their own and one bucket in a directory
(``store_machines.py``). Each round kills a host's process, or a store node with all that runs there; hosts
go on from the journal, in sync mode, on the other node, and the lost one comes back with its old directory. A
turn is a grant and its commit through Ray there, without an engine. The same on links that are slow, lose
packets and break (``links.py``). Last, the cost of the journal is measured (``journal_latency.py``).
"""

import asyncio
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from populace.actors.engine import BaseInfo
from scripts.bench.failover.journal_latency import LatencyBench, measure_latency
from scripts.bench.failover.links import LinkBench, break_links
from scripts.bench.failover.load import Audit, FailoverLoad, take_turn
from scripts.bench.failover.processes import ProcessBench, lose_processes
from scripts.bench.failover.served_again import served_aim
from scripts.bench.failover.store_machines import StoreMachines, store_machines
from scripts.bench.report import Aim, BenchReport, Row, percentile

BASE = BaseInfo("bench", "0" * 64, 2048)
HOSTS = 2
COLUMNS = (
    "what",
    "journal",
    "count",
    "p50 s",
    "p99 s",
    "runs again s",
    "p50 ms",
    "p99 ms",
    "added ms",
    "errors",
)
LOSSES = ("processes", "store", "links", "journal")
"""Processes of one machine are lost, hosts and store nodes, and links; and what a journal adds to a turn."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class FailoverBench:
    """``rounds`` of each kind of loss, with ``clients`` people who talk, for ``seconds`` before each."""

    rounds: int = 5
    clients: int = 8
    seconds: float = 2.0
    shards: int = 16
    losses: Collection[str] = LOSSES
    processes: ProcessBench = field(default_factory=ProcessBench)
    links: LinkBench = field(default_factory=LinkBench)
    latency: LatencyBench = field(default_factory=LatencyBench)


def bench_failover(bench: FailoverBench, directory: Path, *, report: Report) -> BenchReport:
    """Run it in a temporary directory under ``directory`` and remove that, also after Ctrl-C."""
    result = BenchReport("failover", columns=COLUMNS)
    with tempfile.TemporaryDirectory(prefix="populace-failover-", dir=directory) as folder:
        for loss in bench.losses:
            root = Path(folder) / loss
            root.mkdir()
            if loss == "processes":
                asyncio.run(lose_processes(bench.processes, root, result, report))
            elif loss == "store":
                # Ray tells of every death on threads of its own.
                with contextlib.redirect_stdout(io.StringIO()):
                    asyncio.run(_lose(bench, root, result, report))
            elif loss == "links":
                break_links(bench.links, root, result, report)
            else:
                rows, notes = measure_latency(bench.latency, root, report=report)
                result.rows += rows
                result.notes += notes
    return result


async def _lose(bench: FailoverBench, root: Path, result: BenchReport, report: Report) -> None:
    report("Starting three machines", 0.0)
    with store_machines(root, shards=bench.shards) as machines:
        for name in ("one", "two"):
            machines.add(name)
        machines.start_hosts(HOSTS, BASE, preferred="one")
        directory = machines.directory()
        load = FailoverLoad(
            directory,
            partial(take_turn, directory),
            clients=bench.clients,
            shards=bench.shards,
            hosts=HOSTS,
        )
        await load.begin()
        hosts = await _rounds(bench, "a host's process is killed", machines, load, result, report)
        nodes = await _rounds(bench, "a store node is lost", machines, load, result, report)
        await load.finish()
        report("Reading all logs", 1.0)
        audit = await load.audit()
    _add_aims(result, audit, hosts, nodes)
    result.notes.append(
        f"{audit.acknowledged:,} turns of {bench.clients} people were acknowledged, in sync mode with the "
        f"bucket in a directory, on {HOSTS} hosts with {bench.shards} shards; a turn has no engine"
    )


async def _rounds(
    bench: FailoverBench,
    what: str,
    machines: StoreMachines,
    load: FailoverLoad,
    result: BenchReport,
    report: Report,
) -> list[float]:
    served: list[float] = []
    errors = load.errors.copy()
    serving = ["one", "two"]
    for number in range(bench.rounds):
        report(what.capitalize(), number / bench.rounds)
        await load.talk_for(bench.seconds)
        if "host" in what:
            victim = load.hosts[number % len(load.hosts)]
            process = await asyncio.to_thread(machines.host_process, victim)
            lost_s = time.monotonic()
            process.kill()
            served += await load.served_again(lost_s, [victim])
        else:
            lost_s = time.monotonic()
            await asyncio.to_thread(machines.lose, serving[0])
            served += await load.served_again(lost_s, range(HOSTS))
            # On this thread, as Ray wants it: people wait for it, after what is measured.
            machines.add(serving[0])
            serving.reverse()
    met = load.errors - errors
    result.rows.append(_row(what, served, ", ".join(f"{code} {count}" for code, count in met.most_common())))
    return served


def _row(what: str, served: list[float], errors: str) -> Row:
    return {
        "what": what,
        "journal": "sync, directory",
        "count": len(served),
        "p50 s": round(percentile(served, 50), 2),
        "p99 s": round(percentile(served, 99), 2),
        "errors": errors or "none",
    }


def _add_aims(result: BenchReport, audit: Audit, hosts: list[float], nodes: list[float]) -> None:
    result.aims += [
        Aim("acknowledged turns that were lost", audit.lost, 0, "turns", at_most=True),
        Aim("turns that took effect twice", audit.doubled, 0, "turns", at_most=True),
        served_aim("a host's process was killed", hosts),
        served_aim("a store node was lost", nodes),
    ]
