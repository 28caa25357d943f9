"""A caller who is refused is told a time that is neither zero nor hopeless."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.admission import RETRY_AFTER_S_MAX, RETRY_AFTER_S_MIN, retry_after_s

waiting = st.integers(0, 10_000)
seconds = st.floats(0, 10_000)


def test_a_caller_comes_back_when_half_of_the_queue_is_served() -> None:
    assert retry_after_s(16, 2.0) == 16.0


@given(waiting, seconds)
def test_the_time_to_wait_is_bounded(waiting: int, mean_turn_s: float) -> None:
    assert RETRY_AFTER_S_MIN <= retry_after_s(waiting, mean_turn_s) <= RETRY_AFTER_S_MAX


@given(waiting, waiting, seconds)
def test_a_longer_queue_never_promises_less(one: int, other: int, mean_turn_s: float) -> None:
    shorter, longer = sorted((one, other))

    assert retry_after_s(shorter, mean_turn_s) <= retry_after_s(longer, mean_turn_s)
