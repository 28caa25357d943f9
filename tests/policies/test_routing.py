"""A request goes where its adapter is, and nobody is piled on: the choice is the same for every router."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.holdings import HOT_MAX, MARK_BYTES, WARM_MAX, Holdings, mark_of, summary_of
from populace.policies.routing import LOAD_SLACK, ReplicaView, Tier, load_max, order

KEY = mark_of("an adapter")

tiers = st.sampled_from(["hot", "warm", "cool"])
names = st.text("abcdef", min_size=1, max_size=4)
replica_views = st.lists(
    st.builds(ReplicaView, name=names, tier=tiers, load=st.integers(0, 60)),
    min_size=1,
    max_size=8,
    unique_by=lambda view: view.name,
)


def views(*tiers_and_loads: tuple[Tier, int]) -> list[ReplicaView]:
    return [ReplicaView(f"r{number}", *one) for number, one in enumerate(tiers_and_loads)]


def first(*tiers_and_loads: tuple[Tier, int]) -> tuple[str, str]:
    return order(views(*tiers_and_loads), KEY)[0]


def test_a_hot_replica_is_preferred_to_a_warm_one_and_that_to_an_idle_one() -> None:
    assert first(("cool", 0), ("warm", 1), ("hot", 2)) == ("r2", "hot")
    assert first(("cool", 0), ("warm", 1), ("cool", 2)) == ("r1", "warm")
    assert first(("cool", 1), ("cool", 0), ("cool", 2)) == ("r1", "least_loaded")


def test_a_replica_with_too_much_to_do_loses_its_preference() -> None:
    assert first(("hot", 40), ("cool", 3)) == ("r1", "overflow")
    assert first(("hot", 40), ("warm", 3), ("cool", 1)) == ("r1", "warm")


def test_a_few_requests_are_never_too_many() -> None:
    assert first(("hot", LOAD_SLACK), ("cool", 0)) == ("r0", "hot")


@given(replica_views, st.binary(min_size=8, max_size=8))
def test_every_replica_has_its_place_in_the_order(replicas: list[ReplicaView], key: bytes) -> None:
    assert sorted(choice.replica for choice in order(replicas, key)) == sorted(one.name for one in replicas)


@given(replica_views)
def test_nobody_gets_more_than_the_bound(replicas: list[ReplicaView]) -> None:
    chosen = order(replicas, KEY)[0].replica

    load = next(one.load for one in replicas if one.name == chosen)
    assert load + 1 <= load_max(sum(one.load for one in replicas) + 1, len(replicas))


@given(replica_views)
def test_a_holder_within_the_bound_wins_and_the_best_of_them(replicas: list[ReplicaView]) -> None:
    bound = load_max(sum(one.load for one in replicas) + 1, len(replicas))
    within = [one for one in replicas if one.tier != "cool" and one.load < bound]

    choice = order(replicas, KEY)[0]

    chosen = next(one for one in replicas if one.name == choice.replica)
    if within:
        best = min((one.tier != "hot", one.load) for one in within)
        assert (chosen.tier != "hot", chosen.load) == best
        assert choice.reason == chosen.tier
    else:
        assert chosen.load == min(one.load for one in replicas)
        held = any(one.tier != "cool" for one in replicas)
        assert choice.reason == ("overflow" if held else "least_loaded")


@given(replica_views, st.randoms())
def test_routers_that_know_the_same_agree(replicas: list[ReplicaView], random: Random) -> None:
    shuffled = random.sample(replicas, len(replicas))

    assert order(replicas, KEY) == order(shuffled, KEY)


@given(st.integers(2, 8), st.integers(0, 7), st.text())
def test_a_replica_that_leaves_moves_only_what_it_would_have_got(count: int, gone: int, digest: str) -> None:
    idle = [ReplicaView(f"r{number}", "cool", 0) for number in range(count)]
    before = order(idle, mark_of(digest))[0].replica
    left = [one for one in idle if one.name != f"r{gone}"]

    after = order(left, mark_of(digest))[0].replica

    assert after == before or before == f"r{gone}"


def test_new_adapters_spread_evenly_over_idle_replicas() -> None:
    idle = [ReplicaView(f"r{number}", "cool", 0) for number in range(4)]

    counts = Counter(order(idle, mark_of(str(number)))[0].replica for number in range(4000))

    assert all(counts[one.name] > 900 for one in idle)


@given(st.integers(1, 6), st.integers(1, 120))
def test_a_model_that_everybody_asks_for_becomes_hot_on_as_many_replicas_as_it_needs(
    count: int, requests: int
) -> None:
    loads: Counter[str] = Counter()
    for _ in range(requests):
        replicas = [
            ReplicaView(name, "hot" if loads[name] else "cool", loads[name])
            for name in (f"r{number}" for number in range(count))
        ]
        loads[order(replicas, KEY)[0].replica] += 1

    assert max(loads.values()) <= load_max(requests, count)
    if requests <= LOAD_SLACK:
        assert len(loads) == 1, "a few requests share one replica"


def test_no_replica_no_choice() -> None:
    assert order([], KEY) == []


@given(st.lists(names), st.lists(names), names)
def test_a_summary_tells_what_is_held_where(hot: list[str], warm: list[str], asked: str) -> None:
    tier = Holdings.read(summary_of(hot, warm)).tier(mark_of(asked))

    assert tier == ("hot" if asked in hot else "warm" if asked in warm else "cool")


def test_a_summary_is_bounded_and_leaves_out_what_leaves_first() -> None:
    digests = [str(number) for number in range(100_000)]

    summary = summary_of(digests[:50_000], digests)

    assert sum(map(len, summary.values())) == (HOT_MAX + WARM_MAX) * MARK_BYTES
    holdings = Holdings.read(summary)
    assert {holdings.tier(mark_of(digest)) for digest in digests[:HOT_MAX]} == {"hot"}
    assert {holdings.tier(mark_of(digest)) for digest in digests[HOT_MAX : HOT_MAX + WARM_MAX]} == {"warm"}
    assert holdings.tier(mark_of(digests[-1])) == "cool"


@given(st.permutations(["a", "b", "c", "d"]))
def test_a_summary_does_not_change_with_the_order_of_use(digests: list[str]) -> None:
    assert summary_of(digests, digests) == summary_of("abcd", "abcd")


def test_a_summary_that_is_missing_or_strange_holds_nothing() -> None:
    for strange in ({}, {"hot": None}, {"hot": 7, "warm": ["x"]}):
        assert Holdings.read(strange) == Holdings()
