"""``populace bench cluster-simulation``: a population on a hundred nodes, by the policies alone.

Three questions, none of which needs a cluster: how even the shards are, what a node that joins or is lost
moves, and how many requests find their adapter warm by where they are sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.bench.report import Aim, BenchReport, Row
from scripts.bench.simulation.people import (
    ADAPTER_BYTES,
    TIMES_MEAN_MAX,
    ZIPF_EXPONENT,
    Numbers,
    People,
    Places,
    Shards,
    people_of,
    shares_of,
    sums_of,
)
from scripts.bench.simulation.routing import (
    SERVICE_SECONDS,
    ByResidency,
    Routed,
    Routing,
    at_random,
    by_person,
    least_loaded,
    play,
    sessions,
)
from scripts.bench.simulation.shard_rules import RULES

GIB = float(2**30)
REQUESTS_AT_ONCE = 8
"""Mean number of requests of a replica."""
MOST_MAX = 1.2
"""Most turns that a node should have, times the mean."""
WARM_MIN = 0.95
"""Least aimed-at warm requests of our routing, relative to sending each person to one replica always."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ClusterSimulation:
    """How many people and nodes there are, which numbers of shards and warm bytes, and how many requests."""

    people: int = 10_000_000
    nodes: int = 100
    shards: tuple[int, ...] = (64, 1024, 4096)
    warm_mib: tuple[int, ...] = (32, 128, 512)
    requests: int = 500_000
    seed: int = 1


def bench_cluster_simulation(bench: ClusterSimulation, report: Report) -> BenchReport:
    """Simulate the cluster. The same settings and seed give the same numbers everywhere."""
    columns = ("case", "rule", "most", "join moves", "most then", "loss moves", "most left", "warm", "peak")
    result = BenchReport(
        "cluster-simulation",
        columns=columns,
        notes=[
            "most: the most turns of a node, times the mean; then: when one joined; left: when one is lost.",
            f"Turns: Zipf, exponent {ZIPF_EXPONENT}; one person has {TIMES_MEAN_MAX:g} x the mean at most.",
            "moves: bytes of rows whose node is another afterwards, as a share of all.",
            "warm: requests whose replica has the adapter.",
            f"peak: most requests that one replica had at once; on average it has {REQUESTS_AT_ONCE}.",
        ],
    )
    report("hashing the people", 0.0)
    people = people_of(bench.people, ZIPF_EXPONENT)
    for number, shards in enumerate(bench.shards):
        report(f"{shards} shards", 0.2 + 0.1 * number / len(bench.shards))
        _place(result, bench, sums_of(people, shards), shards)
    _route(result, bench, people, report)
    return result


def _place(result: BenchReport, bench: ClusterSimulation, sums: Shards, shards: int) -> None:
    nodes = list(range(bench.nodes))
    changes = {
        "join": [*nodes, bench.nodes],
        "loss": nodes[: bench.nodes // 3] + nodes[bench.nodes // 3 + 1 :],
    }
    for rule in RULES:
        before = rule.place(shards, nodes, None)
        row: Row = {"case": f"{shards} shards", "rule": rule.name, "most": _most(before, nodes, sums.shares)}
        row["most people"] = _most(before, nodes, sums.people)
        row["most bytes"] = _most(before, nodes, sums.row_bytes)
        for (change, there), most in zip(changes.items(), ("most then", "most left"), strict=True):
            after = rule.place(shards, there, before)
            moved = after != before
            share = float(sums.row_bytes[moved].sum() / sums.row_bytes.sum())
            row[f"{change} moves"] = f"{share:.1%}"
            row[f"{change} GiB"] = round(float(sums.row_bytes[moved].sum()) / GIB, 1)
            row[f"{change} adapters GiB"] = round(float(sums.people[moved].sum()) * ADAPTER_BYTES / GIB, 1)
            row[most] = _most(after, there, sums.shares)
        result.rows.append(row)
    if shards == max(bench.shards):
        today = result.rows[-len(RULES)]
        aim = f"{shards} shards, {RULES[0].name}: most turns of a node"
        result.aims.append(Aim(aim, float(today["most"]), MOST_MAX, "x the mean", at_most=True))


def _most(placed: Places, nodes: Sequence[int], values: Numbers) -> float:
    """Return the largest sum of a node, times the mean."""
    of_nodes = np.bincount(placed, values, minlength=max(nodes) + 1)[list(nodes)]
    return round(float(of_nodes.max() / of_nodes.mean()), 2)


def _route(result: BenchReport, bench: ClusterSimulation, people: People, report: Report) -> None:
    uses = {"Zipf": people.shares, "uniform": shares_of(bench.people, 0.0)}
    makers: dict[str, Callable[[], Routing]] = {
        "random": lambda: at_random(bench.seed),
        "least loaded": least_loaded,
        "by person": by_person,
        "residency": ByResidency,
        "own if cool": lambda: ByResidency(prefers_own=True),
    }
    a_second = bench.nodes * REQUESTS_AT_ONCE / SERVICE_SECONDS
    done, runs = 0, len(uses) * len(bench.warm_mib) * len(makers)
    for use, shares in uses.items():
        trace = sessions(shares, bench.requests, a_second, bench.seed)
        for warm in bench.warm_mib:
            found: dict[str, float] = {}
            for name, make in makers.items():
                report(f"{use}, {warm} MiB, {name}", 0.3 + 0.7 * done / runs)
                routed = play(trace, bench.nodes, warm << 20, make())
                result.rows.append(_routed_row(f"{use}, {warm} MiB", name, routed))
                found[name] = routed.hits / routed.requests
                done += 1
            if warm == max(bench.warm_mib):
                aim = f"{use}, {warm} MiB: warm requests by residency"
                share = round(found["residency"] / found["by person"], 3)
                result.aims.append(Aim(aim, share, WARM_MIN, "x by person", at_most=False))


def _routed_row(case: str, rule: str, routed: Routed) -> Row:
    return {
        "case": case,
        "rule": rule,
        "warm": f"{routed.hits / routed.requests:.1%}",
        "warm in sessions": f"{routed.returns_hit / max(1, routed.returns):.1%}",
        "peak": routed.peak,
    }
