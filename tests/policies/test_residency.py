"""The bytes are kept, who is held stays, and of the others the least recently used leave."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from populace.policies.residency import Residency

BYTES = 100
KEYS = [str(number) for number in range(31)]
keys = st.sampled_from(KEYS)


class Tier(RuleBasedStateMachine):
    """Plays uses, loads, holds and removals against a plain list, the least recently used first."""

    def __init__(self) -> None:
        super().__init__()
        self.tier = Residency(BYTES)
        self.sizes: dict[str, int] = {}
        self.recent: list[str] = []
        self.holds: list[str] = []

    def used(self, key: str) -> None:
        self.recent = [one for one in self.recent if one != key] + [key]

    @rule(key=keys, size=st.integers(0, 120))
    def ask(self, key: str, size: int) -> None:
        assert self.tier.use(key) == (key in self.sizes)
        if key in self.sizes:
            self.used(key)
            return
        kept = sum(self.sizes[one] for one in set(self.holds))
        left = self.tier.admit(key, size)
        assert (left is None) == (kept + size > BYTES)
        if left is None:
            return
        may_leave = [one for one in self.recent if one not in self.holds]
        assert list(left) == may_leave[: len(left)], "another left than the least recently used"
        if left:
            stayed = sum(self.sizes.values()) - sum(self.sizes[one] for one in left[:-1])
            assert stayed + size > BYTES, "more left than had to"
        for one in left:
            del self.sizes[one]
            self.recent.remove(one)
        self.sizes[key] = size
        self.used(key)

    @rule(key=keys)
    def hold(self, key: str) -> None:
        if key in self.sizes:
            self.tier.hold(key)
            self.holds.append(key)

    @rule(place=st.integers(0, 100))
    def release(self, place: int) -> None:
        if self.holds:
            key = self.holds.pop(place % len(self.holds))
            self.tier.release(key)

    @rule(key=keys)
    def remove(self, key: str) -> None:
        if key in self.sizes and key not in self.holds:
            self.tier.remove(key)
            del self.sizes[key]
            self.recent.remove(key)

    @invariant()
    def the_books_balance(self) -> None:
        self.tier.check_integrity()
        assert list(self.tier.leaving()) == self.recent
        assert self.tier.bytes == sum(self.sizes.values())
        assert all(self.tier.held(key) == (key in self.holds) for key in self.sizes)


def test_a_tier_never_exceeds_its_bytes_nor_loses_who_is_held() -> None:
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType] - partly untyped
        Tier, settings=settings(max_examples=120, stateful_step_count=60, deadline=None)
    )


def test_a_tier_needs_room() -> None:
    with pytest.raises(AssertionError):
        Residency(0)
