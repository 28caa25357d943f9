"""Made-up traffic is what it says, recorded traces are read or refused, and each is played on each policy."""

from collections import Counter
from pathlib import Path

import pytest

from populace.policies.replacements import REPLACEMENTS
from populace.policies.residency_trace import Access
from scripts.bench.residency.bench import POLICIES, ResidencyPolicyBench, bench_residency_policy
from scripts.bench.residency.traces import TRAFFIC, TraceInvalid, Traffic, read_trace

NAMES = [policy.name for policy in POLICIES]


def quiet(_step: str, _fraction: float) -> None:
    pass


@pytest.mark.parametrize("traffic", TRAFFIC, ids=lambda traffic: traffic.name)
def test_traffic_is_in_the_order_of_time_and_the_same_seed_makes_it_again(traffic: Traffic) -> None:
    trace = traffic.make(500, 3000, 7)

    assert len(trace) == 3000
    assert [access.time for access in trace] == sorted(access.time for access in trace)
    assert all(0 <= int(access.key) < 500 for access in trace)
    assert trace == traffic.make(500, 3000, 7)
    assert trace != traffic.make(500, 3000, 8)


def test_people_talk_in_sessions_and_some_much_more_than_others() -> None:
    trace = next(traffic for traffic in TRAFFIC if traffic.name == "chat").make(2000, 20_000, 1)
    last: dict[str, float] = {}
    again_soon = 0
    for access in trace:
        again_soon += access.time - last.get(access.key, -1e9) < 120
        last[access.key] = access.time
    counts = sorted(Counter(access.key for access in trace).values(), reverse=True)

    assert again_soon > len(trace) / 2
    assert sum(counts[:200]) > len(trace) / 3


def test_mixed_ranks_are_of_sixteen_sizes_apart_and_each_model_keeps_its_own() -> None:
    trace = next(traffic for traffic in TRAFFIC if traffic.name == "ranks").make(500, 5000, 1)
    sizes = {access.key: access.size for access in trace}

    assert all(sizes[access.key] == access.size for access in trace)
    assert max(sizes.values()) == 16 * min(sizes.values())


def test_every_policy_that_can_be_chosen_is_measured() -> None:
    assert {policy.make for policy in POLICIES} >= set(REPLACEMENTS.values())


def test_each_trace_is_played_on_each_policy_at_each_size_and_the_best_is_the_clairvoyant() -> None:
    result = bench_residency_policy(ResidencyPolicyBench(models=300, accesses=2000, shares=(0.1,)), quiet)

    assert [row["trace"] for row in result.rows] == [traffic.name for traffic in TRAFFIC]
    for row in result.rows:
        hits = {name: float(str(row[name]).rstrip("%")) for name in (*NAMES, "clairvoyant", "bound")}
        assert hits["bound"] == max(hits.values())
        if row["trace"] != "ranks":
            assert hits["clairvoyant"] >= max(hits[name] for name in NAMES)
    assert len(result.aims) == len(TRAFFIC)


def test_a_recorded_trace_is_played_instead(tmp_path: Path) -> None:
    path = tmp_path / "monday.csv"
    path.write_text("0,ada,100\n1.5,bob,300\n2,ada,100\n")

    assert read_trace(path) == [Access(0.0, "ada", 100), Access(1.5, "bob", 300), Access(2.0, "ada", 100)]
    result = bench_residency_policy(ResidencyPolicyBench(shares=(1.0,), traces=(path,)), quiet)
    assert {row["trace"] for row in result.rows} == {"monday"}
    assert all(result.rows[0][name] == "33.3%" for name in (*NAMES, "clairvoyant", "bound"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("0,ada\n", "Line 1 .* is not seconds,key,bytes"),
        ("0,ada,1\nnow,bob,1\n", "Line 2 .* is not seconds,key,bytes"),
        ("5,ada,1\n4,bob,1\n", "Line 2 .* goes back in time"),
        ("nan,ada,1\n", "Line 1 .* goes back in time"),
        ("0,ada,-1\n", "a size below 0"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_the_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)

    with pytest.raises(TraceInvalid, match=complaint):
        read_trace(path)


def test_a_trace_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TraceInvalid, match=r"nowhere\.csv cannot be read"):
        read_trace(tmp_path / "nowhere.csv")
