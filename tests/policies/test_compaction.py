"""A file is written anew when that gives back as much as it costs, and enough to matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.compaction import FREE_BYTES_MIN, FREE_SHARE_MIN, erasure_due, worth_compacting

MIB = 2**20
SIZES = st.integers(0, 2**44)


@pytest.mark.parametrize(
    ("mib_used", "mib_free", "is_worth_it"),
    [
        (128, 64, True),
        (127, 63, False),
        (129, 64, False),
        (1000, 499, False),
        (1000, 500, True),
        (0, 0, False),
    ],
)
def test_half_of_the_file_and_64_mib_must_be_free(mib_used: int, mib_free: int, is_worth_it: bool) -> None:
    assert worth_compacting(mib_used * MIB, mib_free * MIB) is is_worth_it


@given(live=SIZES, free=SIZES)
def test_a_file_that_is_left_alone_is_bounded_by_its_live_bytes(live: int, free: int) -> None:
    if not worth_compacting(live + free, free):
        assert live + free <= max(live / (1 - FREE_SHARE_MIN), live + FREE_BYTES_MIN)


@given(live=SIZES, free=SIZES)
def test_a_compaction_gives_back_what_it_copies_and_is_not_worth_it_again(live: int, free: int) -> None:
    if worth_compacting(live + free, free):
        assert free >= live
    assert not worth_compacting(live, 0)


def test_a_clock_that_was_set_back_does_not_put_off_what_erasures_left() -> None:
    assert not erasure_due(2**30, 0.0)
    assert erasure_due(2**30, -1.0)
