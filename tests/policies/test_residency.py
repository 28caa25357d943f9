"""Whatever the order of leaving is: the bytes are kept, who is held stays, and sessions stay if they can."""

from collections.abc import Callable, Iterable
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from populace.policies.replacements import REPLACEMENTS
from populace.policies.residency import Replacement, Residency
from populace.policies.segmented_lru import Lru, SegmentedLru
from populace.policies.tiny_lfu import TinyLfu

BYTES = 100
ORDERS: dict[str, Callable[[], Replacement]] = {
    **{name: partial(make, BYTES) for name, make in REPLACEMENTS.items()},
    "lru": Lru,
    "w-tinylfu of few entries": lambda: TinyLfu(BYTES, entries=16),
}
KEYS = [str(number) for number in range(31)]
keys = st.sampled_from(KEYS)


class Tier(RuleBasedStateMachine):
    """Plays uses, loads, holds, sessions and removals against plain sets."""

    order = "lru"

    def __init__(self) -> None:
        super().__init__()
        self.tier = Residency(BYTES, ORDERS[self.order]())
        self.sizes: dict[str, int] = {}
        self.holds: list[str] = []
        self.sessions: dict[str, float] = {}
        self.now = 0.0

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys, size=st.integers(0, 120))
    def ask(self, key: str, size: int) -> None:
        assert self.tier.use(key) == (key in self.sizes)
        if key in self.sizes:
            return
        kept = sum(self.sizes[one] for one in set(self.holds))
        left = self.tier.admit(key, size, self.now)
        assert (left is None) == (kept + size > BYTES)
        if left is None:
            return
        assert not set(left) & set(self.holds)
        in_session = [self.sessions.get(one, 0.0) > self.now for one in left]
        assert in_session == sorted(in_session), "a session ended while others could have left"
        if any(in_session):
            others = {one for one in self.sizes if self.sessions.get(one, 0.0) <= self.now} - set(self.holds)
            assert others <= set(left)
        for one in left:
            del self.sizes[one]
            self.sessions.pop(one, None)
        self.sizes[key] = size

    @rule(key=keys)
    def hold(self, key: str) -> None:
        if key in self.sizes:
            self.tier.hold(key)
            self.holds.append(key)

    @rule(place=st.integers(0, 100))
    def release(self, place: int) -> None:
        if self.holds:
            self.tier.release(self.holds.pop(place % len(self.holds)))

    @rule(key=keys, seconds=st.floats(0, 20))
    def talk(self, key: str, seconds: float) -> None:
        if key in self.sizes:
            self.tier.continue_session(key, self.now + seconds)
            self.sessions[key] = self.now + seconds

    @rule(key=keys)
    def remove(self, key: str) -> None:
        if key in self.sizes and key not in self.holds:
            self.tier.remove(key)
            del self.sizes[key]
            self.sessions.pop(key, None)

    @invariant()
    def the_books_balance(self) -> None:
        self.tier.check_integrity()
        assert {key for key in KEYS if key in self.tier} == set(self.sizes)
        assert self.tier.bytes == sum(self.sizes.values())
        assert all(self.tier.held(key) == (key in self.holds) for key in self.sizes)


@pytest.mark.parametrize("name", list(ORDERS))
def test_a_tier_never_exceeds_its_bytes_nor_loses_who_is_held(name: str) -> None:
    class OfThisOrder(Tier):
        order = name

    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType] - partly untyped
        OfThisOrder, settings=settings(max_examples=60, stateful_step_count=60, deadline=None)
    )


def played(order: Replacement, uses: Iterable[int]) -> Residency:
    """Use the keys in turn, each of one byte."""
    tier = Residency(BYTES, order)
    for key in map(str, uses):
        if not tier.use(key):
            assert tier.admit(key, 1, 0.0) is not None
    return tier


def count_in(tier: Residency, keys: Iterable[int]) -> int:
    return sum(str(key) in tier for key in keys)


def test_a_scan_pushes_out_of_an_lru_what_is_used_all_the_time_and_not_of_a_segmented_one() -> None:
    uses = [*range(50)] * 3 + [*range(1000, 1200)]

    assert count_in(played(Lru(), uses), range(50)) == 0
    assert count_in(played(SegmentedLru(BYTES), uses), range(50)) == 50


def test_a_protected_key_that_is_not_used_again_leaves_in_the_end() -> None:
    assert "1" not in played(SegmentedLru(BYTES), twice(range(1, 200)))


def test_what_is_used_often_stays_while_many_come_that_are_used_twice() -> None:
    uses = [*range(40)] * 20 + twice(range(1000, 1150))

    assert count_in(played(TinyLfu(BYTES, entries=256), uses), range(40)) >= 30
    assert count_in(played(SegmentedLru(BYTES), uses), range(40)) == 0


def test_what_was_used_often_long_ago_leaves_in_the_end() -> None:
    uses = [*range(40)] * 20 + twice(range(1000, 6000))

    assert count_in(played(TinyLfu(BYTES, entries=256), uses), range(40)) <= 20


def twice(keys: Iterable[int]) -> list[int]:
    return [key for key in keys for _ in range(2)]
