"""Served time never runs ahead of true time, whatever the wall clock says and however often hosts end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.served_time import ServedTime

lives = st.lists(
    st.tuples(
        st.floats(0, 1e6).map(lambda seconds: round(seconds, 3)),
        st.integers(-(10**12), 10**12),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


def test_a_shard_that_was_never_served_begins_with_the_wall_clock() -> None:
    served = ServedTime(None, wall_ms=5000, monotonic_s=7.0)

    assert [served.now_ms(7.0), served.now_ms(8.5)] == [5000, 6500]


@given(lives)
def test_time_passes_only_while_the_shard_is_served(lives: list[tuple[float, int, bool]]) -> None:
    """Each life of a host lasts for some seconds under some wall clock, and records its end or does not."""
    stored_ms, recorded_s = None, 0.0
    began_ms = lives[0][1]
    monotonic_s = 0.0
    for seconds, wall_ms, is_recorded in lives:
        served = ServedTime(stored_ms, wall_ms=wall_ms, monotonic_s=monotonic_s)
        if stored_ms is None:
            began_ms = wall_ms
        monotonic_s += seconds
        assert served.now_ms(monotonic_s) == pytest.approx(began_ms + (recorded_s + seconds) * 1000, abs=20)
        if is_recorded:
            stored_ms, recorded_s = served.now_ms(monotonic_s), recorded_s + seconds
        # The next host may be on a machine whose monotonic clock says something else.
        monotonic_s = abs(hash(seconds)) % 1000.0


def test_the_time_is_recorded_at_first_and_when_it_lags() -> None:
    served = ServedTime(None, wall_ms=0, monotonic_s=0.0)
    assert served.is_unrecorded(0, 60)

    served.note_recorded(0)

    assert not served.is_unrecorded(59_999, 60)
    assert served.is_unrecorded(60_000, 60)


def test_a_shard_cannot_have_been_served_for_longer_than_time_passed() -> None:
    served = ServedTime(1000, wall_ms=0, monotonic_s=0.0)
    served.check_integrity(0.0)

    served.note_recorded(1001)

    with pytest.raises(AssertionError):
        served.check_integrity(0.0)
