"""The simulation of a cluster places and routes as the policies do, and its rules keep their promises."""

import json
from collections import Counter

import numpy as np
import pytest
from typer.testing import CliRunner

from populace.policies.placement import host_of, shard_of
from populace.policies.routing import ReplicaView, order
from scripts.bench.commands.main import app
from scripts.bench.simulation.people import TENANT, TIMES_MEAN_MAX, people_of, shares_of, sums_of
from scripts.bench.simulation.routing import (
    ByResidency,
    by_person,
    first_choice,
    key_of,
    least_loaded,
    name_of,
    play,
    sessions,
)
from scripts.bench.simulation.shard_rules import (
    BOUND,
    HOSTS_OF_NODE,
    RULES,
    Rule,
    bounded_rendezvous,
    kept_map,
    rendezvous,
)

NODES = list(range(10))
SHARDS = 203


def test_people_are_in_the_shards_that_the_store_puts_them_in() -> None:
    people = people_of(500, 0.9)

    for shards in (64, 100, 4096):
        real = [shard_of(TENANT, f"person-{index}", shards) for index in range(500)]
        assert people.shards(shards).tolist() == real
        sums = sums_of(people, shards)
        assert sums.people.tolist() == [Counter(real)[shard] for shard in range(shards)]
        assert sums.shares.sum() == pytest.approx(1.0)
        assert sums.row_bytes.sum() == pytest.approx(people.row_bytes.sum())


def test_some_talk_more_than_others_but_no_one_more_than_a_person_can() -> None:
    shares = shares_of(100_000, 0.9)

    assert shares.sum() == pytest.approx(1.0)
    assert shares.max() * 100_000 == pytest.approx(TIMES_MEAN_MAX, rel=0.01)
    assert (np.diff(shares) <= 0).all()
    assert set(shares_of(100, 0.0).tolist()) == {0.01}


def test_what_is_not_published_is_found_where_it_would_have_been_sent() -> None:
    trace = sessions(shares_of(100_000, 0.9), 6000, 25.0, 1)

    unpublished = play(trace, 10, 512 << 20, ByResidency(published_max=8))
    found = play(trace, 10, 512 << 20, ByResidency(published_max=8, prefers_own=True))

    assert found.hits > 1.2 * unpublished.hits
    assert found.peak <= unpublished.peak + 4


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_shard_is_on_a_node_that_there_is_and_a_rule_has_no_whims(rule: Rule) -> None:
    before = rule.place(SHARDS, NODES, None)
    fewer = [node for node in NODES if node != 4]

    for nodes in ([*NODES, 10], fewer):
        after = rule.place(SHARDS, nodes, before)
        assert set(after.tolist()) <= set(nodes)
        assert after.tolist() == rule.place(SHARDS, nodes, before).tolist()
        assert (after[before == 4] != 4).all() or nodes is not fewer


def test_today_is_shard_modulo_hosts() -> None:
    hosts = HOSTS_OF_NODE * len(NODES)

    placed = RULES[0].place(SHARDS, NODES, None)

    assert placed.tolist() == [host_of(shard, hosts) % len(NODES) for shard in range(SHARDS)]
    assert RULES[0].place(SHARDS, [*NODES, 10], placed).tolist() == placed.tolist()


def test_rendezvous_moves_what_a_lost_node_had_and_what_a_new_one_gets() -> None:
    before = rendezvous(SHARDS, NODES, None)
    fewer = [node for node in NODES if node != 4]

    lost = rendezvous(SHARDS, fewer, before)
    joined = rendezvous(SHARDS, [*NODES, 10], before)

    assert ((lost != before) == (before == 4)).all()
    assert (joined[joined != before] == 10).all()
    assert (joined == 10).any()


def test_a_bound_holds_and_a_map_is_even_and_moves_least() -> None:
    bounded = bounded_rendezvous(SHARDS, NODES, None)
    assert max(Counter[int](bounded.tolist()).values()) <= np.ceil(BOUND * SHARDS / len(NODES))

    before = kept_map(SHARDS, NODES, None)
    for nodes, moved_most in (([*NODES, 10], SHARDS // 11), ([node for node in NODES if node != 4], 21)):
        after = kept_map(SHARDS, nodes, before)
        counts = Counter[int](after.tolist())
        assert max(counts.values()) - min(counts[node] for node in nodes) <= 1
        assert (after != before).sum() <= moved_most


def test_the_first_choice_is_that_of_the_policy() -> None:
    draw = np.random.default_rng(3)
    for person in range(300):
        loads = draw.integers(0, 6, 12).tolist()
        holders = np.flatnonzero(draw.random(12) < 0.2).tolist()
        views = [
            ReplicaView(name_of(replica), "warm" if replica in holders else "cool", load)
            for replica, load in enumerate(loads)
        ]

        assert name_of(first_choice(holders, loads, person)) == order(views, key_of(person))[0].replica


def test_requests_of_a_session_come_in_order_and_the_same_seed_makes_them_again() -> None:
    trace = sessions(shares_of(1000, 0.9), 5000, 20.0, 1)

    assert len(trace.times) == len(trace.people) == len(trace.is_first) == 5000
    assert (np.diff(trace.times) >= 0).all()
    assert 0.1 < sum(trace.is_first) / 5000 < 0.25
    assert trace.times.tolist() == sessions(shares_of(1000, 0.9), 5000, 20.0, 1).times.tolist()


def test_who_is_sent_where_the_adapter_is_finds_it_and_the_load_stays_even() -> None:
    trace = sessions(shares_of(100_000, 0.0), 6000, 25.0, 1)

    aware = play(trace, 10, 512 << 20, ByResidency())
    fixed = play(trace, 10, 512 << 20, by_person())
    unaware = play(trace, 10, 512 << 20, least_loaded())

    assert fixed.returns_hit == fixed.returns
    assert aware.returns_hit > 0.9 * aware.returns
    assert unaware.returns_hit < 0.5 * unaware.returns
    assert unaware.peak <= aware.peak < fixed.peak


def test_a_router_forgets_what_left_once_it_is_published() -> None:
    routing = ByResidency(published_max=2)
    loads = [5, 0]
    routing.loaded(1, 0, 0.0)
    assert routing.choose(1, [0, 0], 0.0) == 0

    routing.left(1, 0, 10.0)
    assert routing.choose(1, loads, 11.0) == first_choice([0], loads, 1)
    assert routing.choose(1, loads, 14.0) == 1

    for person in (2, 3, 4):
        routing.loaded(person, 0, 20.0)
    assert routing.choose(2, [1, 0], 21.0) == 1
    assert routing.choose(4, [1, 0], 21.0) == 0


def test_the_command_prints_one_object_with_every_case() -> None:
    options = ["--people", "2000", "--nodes", "5", "--shards", "64", "--warm-mib", "16", "--requests", "1000"]

    result = CliRunner().invoke(app, ["cluster-simulation", *options, "--json"])

    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert body["bench"] == "cluster-simulation"
    assert [row["rule"] for row in body["rows"][: len(RULES)]] == [rule.name for rule in RULES]
    assert len(body["rows"]) == len(RULES) + 10
    assert len(body["aims"]) == 3
