"""A router remembers what it sent where, forgets it in time, and sends what comes again where it may run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.engines import routes as routes_module
from populace.engines.routes import OPEN_SECONDS_MAX, OTHERS_SECONDS, SENT_SECONDS, Call, Routes
from populace.policies.holdings import summary_of

REPLICAS = ["a", "b"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def routes(clock: Clock) -> Routes:
    return Routes(clock)


def send(routes: Routes, call: Call, replicas: list[str] = REPLICAS) -> tuple[str, str]:
    """Route a call as Serve does: it takes the first replica."""
    replica, reason = routes.choose(call, replicas)[0]
    routes.settle(call, replica, reason)
    routes.check_integrity()
    return replica, reason


def other(replica: str) -> str:
    return "b" if replica == "a" else "a"


def test_the_first_requests_of_an_adapter_go_to_one_replica_before_it_has_published(routes: Routes) -> None:
    first, reason = send(routes, Call("1", "ada"))

    assert reason == "least_loaded"
    assert [send(routes, Call(str(number), "ada")) for number in (2, 3)] == [(first, "hot")] * 2


def test_requests_of_different_adapters_go_to_different_replicas_while_they_run(routes: Routes) -> None:
    chosen = [send(routes, Call(str(number), f"model-{number}"))[0] for number in range(10)]

    assert sorted(chosen) == ["a"] * 5 + ["b"] * 5


def test_what_is_published_counts_when_what_was_sent_is_forgotten(routes: Routes, clock: Clock) -> None:
    first, _ = send(routes, Call("1", "ada"))
    routes.end("1")
    clock.now = SENT_SECONDS
    routes.update({first: {}, other(first): summary_of([], ["ada"])})

    assert send(routes, Call("2", "ada")) == (other(first), "warm")


def test_a_successor_is_prepared_where_its_predecessor_is_and_found_there(routes: Routes) -> None:
    homes = {name: send(routes, Call(name, name))[0] for name in ("ada", "bob", "eve", "kim")}

    for name, home in homes.items():
        assert send(routes, Call(f"prepare {name}", f"{name}'s next", follows=name)) == (home, "hot")
        assert send(routes, Call(f"ask {name}", f"{name}'s next")) == (home, "hot")


def test_a_replica_that_published_nothing_is_routed_to_all_the_same(routes: Routes) -> None:
    routes.update({"a": {}, "b": {}})

    assert [reason for _, reason in routes.choose(Call("1", "ada"), REPLICAS)] == ["least_loaded"] * 2


def test_requests_of_others_count_as_long_as_they_were_heard_of(routes: Routes, clock: Clock) -> None:
    routes.update({"a": summary_of(["ada"], []), "b": {}})
    routes.hear("a", 50)

    assert routes.choose(Call("1", "ada"), REPLICAS)[0] == ("b", "overflow")
    routes.end("1")
    clock.now = max(OTHERS_SECONDS, SENT_SECONDS)
    assert routes.choose(Call("2", "ada"), REPLICAS)[0] == ("a", "hot")


def test_a_request_that_comes_again_finds_its_replica_and_then_the_other(routes: Routes) -> None:
    first, _ = send(routes, Call("1", "ada", b"stream"))
    for number in range(20):
        send(routes, Call(f"more-{number}", "ada"))

    assert send(routes, Call("2", "ada", b"stream")) == (first, "repeat")
    assert send(routes, Call("3", "ada", b"stream"))[0] == other(first)


def test_a_request_that_comes_again_goes_elsewhere_when_its_replica_is_dead(routes: Routes) -> None:
    first, _ = send(routes, Call("1", "ada", b"stream"))
    routes.remove(first)

    assert send(routes, Call("2", "ada", b"stream"), [other(first)])[0] == other(first)


def test_the_replica_that_serve_took_instead_is_the_one_that_counts(routes: Routes) -> None:
    call = Call("1", "ada", b"stream")
    first, _ = routes.choose(call, REPLICAS)[0]

    routes.settle(call, other(first), "least_loaded")

    assert send(routes, Call("2"))[0] == first, "the one with less to do"
    assert send(routes, Call("3", "ada", b"stream")) == (other(first), "repeat")


def test_a_call_that_is_lost_without_a_word_does_not_count_for_ever(routes: Routes, clock: Clock) -> None:
    for number in range(20):
        send(routes, Call(f"lost-{number}"), ["a"])
    clock.now = OPEN_SECONDS_MAX

    assert sorted(send(routes, Call(str(number)))[0] for number in range(10)) == ["a"] * 5 + ["b"] * 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "end", "lose", "hear", "die", "come back"]),
            st.integers(0, 30),
            st.sampled_from("abc"),
            st.floats(0, 5),
        ),
        max_size=80,
    )
)
def test_the_books_balance_and_stay_bounded_whatever_happens(
    events: list[tuple[str, int, str, float]],
) -> None:
    clock, alive = Clock(), ["a", "b", "c"]
    routes = Routes(clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routes_module, "SENT_MAX", 4)
        patch.setattr(routes_module, "STREAMS_MAX", 4)
        for what, number, replica, seconds in events:
            clock.now += seconds
            call = Call(str(number), f"model-{number % 7}", bytes([number % 9]))
            if what in ("send", "lose") and alive:
                chosen = routes.choose(call, alive)
                assert sorted(name for name, _ in chosen) == sorted(alive)
                if what == "send":
                    routes.settle(call, *chosen[0])
            elif what == "end":
                routes.end(call.id)
            elif what == "hear":
                routes.hear(replica, number)
            elif what == "die":
                alive = [one for one in alive if one != replica]
                routes.remove(replica)
            else:
                alive = sorted({*alive, replica})
                routes.update({one: summary_of([f"model-{number % 7}"], []) for one in alive})
            routes.check_integrity()
