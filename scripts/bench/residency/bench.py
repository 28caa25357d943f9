"""``populace bench residency-policy``: hit rates of the residency policies, and the best that is possible.

Traces are replayed on the policies alone, without an engine; one of the policies knows the future.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.policies.clairvoyant import clairvoyant, hits_bound
from populace.policies.residency import Replacement, Residency
from populace.policies.residency_trace import Access, Outcome, play
from populace.policies.segmented_lru import Lru, SegmentedLru
from populace.policies.tiny_lfu import TinyLfu
from scripts.bench.report import Aim, BenchReport, Row
from scripts.bench.residency.traces import TRAFFIC, read_trace

SESSION_SECONDS = 60.0
HITS_MIN = 0.99
"""Least aimed-at hits of the default policy, relative to plain LRU."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ResidencyPolicyBench:
    """The recorded ``traces`` to replay, or else the size and seed of synthetic traffic.

    ``shares`` are sizes of the tier, as shares of the total size of all adapters in the trace.
    """

    models: int = 10_000
    accesses: int = 100_000
    shares: tuple[float, ...] = (0.01, 0.05, 0.2)
    traces: tuple[Path, ...] = ()
    seed: int = 1


class _Policy(NamedTuple):
    name: str
    make: Callable[[int], Replacement]
    session_seconds: float = 0.0


def _plain(_bytes_max: int) -> Replacement:
    return Lru()


DEFAULT = "sessions"
POLICIES = (
    _Policy("LRU", _plain),
    _Policy("SLRU", SegmentedLru),
    _Policy(DEFAULT, SegmentedLru, SESSION_SECONDS),
    _Policy("W-TinyLFU", TinyLfu),
)


def bench_residency_policy(bench: ResidencyPolicyBench, report: Report) -> BenchReport:
    """Replay each trace on each policy at each size. Raises ``TraceInvalid`` for an unreadable trace."""
    result = BenchReport(
        "residency-policy",
        columns=("trace", "tier", *(policy.name for policy in POLICIES), "clairvoyant", "bound"),
        notes=[
            "Hit rates: uses without a load. tier: its share of the size of all adapters in the trace.",
            "sessions: SLRU that keeps adapters with a running session while any other can be evicted.",
            "clairvoyant: evicts the adapter whose next use is last; optimal if all sizes are equal.",
            "bound: no policy can have more hits.",
        ],
    )
    traces = _traces(bench)
    steps = len(traces) * len(bench.shares)
    for number, (name, trace) in enumerate(traces):
        everything = sum({access.key: access.size for access in trace}.values())
        for index, share in enumerate(bench.shares):
            report(f"{name}, {share:.0%} of the bytes", (number * len(bench.shares) + index) / steps)
            bytes_max = max(1, int(everything * share))
            _measure(result, name, share, trace, bytes_max)
    return result


def _traces(bench: ResidencyPolicyBench) -> list[tuple[str, list[Access]]]:
    if bench.traces:
        return [(path.stem, read_trace(path)) for path in bench.traces]
    return [(traffic.name, traffic.make(bench.models, bench.accesses, bench.seed)) for traffic in TRAFFIC]


def _measure(result: BenchReport, name: str, share: float, trace: Sequence[Access], bytes_max: int) -> None:
    outcomes = {policy.name: _played(policy, trace, bytes_max) for policy in POLICIES}
    outcomes["clairvoyant"] = clairvoyant(trace, bytes_max)
    row: Row = {"trace": name, "tier": f"{share:.0%}"}
    for policy, outcome in outcomes.items():
        row[policy] = f"{outcome.hit_rate:.1%}"
        row[f"{policy}, loads"] = outcome.loads
        row[f"{policy}, loaded bytes"] = outcome.bytes
        row[f"{policy}, evictions"] = outcome.evictions
    row["bound"] = f"{hits_bound(trace, bytes_max) / len(trace):.1%}"
    result.rows.append(row)
    hits, plain = outcomes[DEFAULT].hits, outcomes["LRU"].hits
    if plain:
        aim = f"{name}, {share:.0%}: hits of the default"
        result.aims.append(Aim(aim, round(hits / plain, 3), HITS_MIN, "x LRU", at_most=False))


def _played(policy: _Policy, trace: Sequence[Access], bytes_max: int) -> Outcome:
    residency = Residency(bytes_max, policy.make(bytes_max))
    return play(trace, residency, session_seconds=policy.session_seconds)
