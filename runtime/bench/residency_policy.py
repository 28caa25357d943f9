"""``populace bench residency-policy``: which policy keeps what is asked for next, and what could be had.

Nothing is served here: traces are played on the policies alone, also on one that knows the future.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.bench.report import Aim, BenchReport, Row
from populace.bench.residency_traces import TRAFFIC, read_trace
from populace.policies.clairvoyant import clairvoyant, hits_bound
from populace.policies.residency import Replacement, Residency
from populace.policies.residency_trace import Access, Outcome, play
from populace.policies.segmented_lru import Lru, SegmentedLru
from populace.policies.tiny_lfu import TinyLfu

SESSION_SECONDS = 60.0
HITS_MIN = 0.99
"""Of those of plain LRU: what the default policy may cost where no scan disturbs."""

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ResidencyPolicyBench:
    """What to play: made-up traffic over so many models, or recorded traces.

    ``shares`` are sizes of the tier, of the bytes of all that the trace uses.
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
    """Play each trace on each policy at each size. Raises ``TraceInvalid``."""
    result = BenchReport(
        "residency-policy",
        columns=("trace", "tier", *(policy.name for policy in POLICIES), "clairvoyant", "bound"),
        notes=[
            "Hits: of all uses, without a load. tier: its bytes, of those of all that the trace uses.",
            "sessions: SLRU, and whose session is under way stays if anybody else can leave.",
            "clairvoyant: who is used again last leaves first; the optimum if all sizes are equal.",
            "bound: no policy has more hits.",
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
