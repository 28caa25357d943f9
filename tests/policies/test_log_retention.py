"""The hard bounds always hold, the newest stay, and nothing is dropped that training still needs."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.log_retention import InteractionSize, LogExtent, LogLimits, keep_from

ROOMY = LogLimits(interactions_min=2, seconds_kept=10, interactions_max=1000, bytes_max=1000)
NOW_MS = 100_000

sizes = st.lists(st.integers(1, 50), max_size=40)
limits_of = st.builds(
    LogLimits,
    interactions_min=st.integers(0, 10),
    seconds_kept=st.integers(0, 40),
    interactions_max=st.integers(0, 40),
    bytes_max=st.integers(0, 1000),
)


def made_at(*seconds: float, size: int = 1) -> list[InteractionSize]:
    return [InteractionSize(int(one * 1000), size) for one in seconds]


def kept_from(
    oldest: list[InteractionSize], limits: LogLimits, *, start: int = 0, untrained_from: int | None = None
) -> int:
    extent = LogExtent(start, start + len(oldest), sum(one.bytes_kept for one in oldest), untrained_from)
    return keep_from(extent, oldest, limits, NOW_MS)


def test_what_is_young_stays() -> None:
    assert kept_from(made_at(91, 92, 93, 94), ROOMY) == 0


def test_what_is_old_leaves_at_its_time_and_not_before() -> None:
    assert kept_from(made_at(89, 90, 90.001, 94, 95), ROOMY, start=7) == 9


def test_the_newest_outlive_their_time() -> None:
    assert kept_from(made_at(1, 2, 3, 4), ROOMY) == 2


def test_what_was_not_trained_yet_outlives_its_time() -> None:
    assert kept_from(made_at(1, 2, 3, 4, 5), ROOMY, start=10, untrained_from=11) == 11


def test_a_hard_bound_wins_over_time_training_and_the_newest() -> None:
    few = LogLimits(interactions_min=4, interactions_max=2)
    small = LogLimits(interactions_min=4, bytes_max=25)

    assert kept_from(made_at(99, 99, 99, 99), few, untrained_from=0) == 2
    assert kept_from(made_at(99, 99, 99, 99, size=10), small, untrained_from=0) == 2


def test_no_more_interactions_are_looked_at_than_are_dropped_and_one() -> None:
    oldest = iter(made_at(1, 2, 99, 99, 99))

    assert keep_from(LogExtent(0, 5, 5, None), oldest, ROOMY, NOW_MS) == 2
    assert len(list(oldest)) == 2


def test_it_goes_no_further_than_what_it_is_shown() -> None:
    assert keep_from(LogExtent(0, 50, 50, None), made_at(1, 2), ROOMY, NOW_MS) == 2


@given(sizes, limits_of, st.integers(0, 1000), st.none() | st.integers(0, 1040))
def test_what_is_kept_is_in_bounds_and_nothing_is_dropped_without_a_reason(
    bytes_kept: list[int], limits: LogLimits, start: int, untrained_from: int | None
) -> None:
    log = [InteractionSize(NOW_MS - (len(bytes_kept) - n) * 1000, one) for n, one in enumerate(bytes_kept)]

    position = kept_from(log, limits, start=start, untrained_from=untrained_from)

    kept = log[position - start :]
    assert len(kept) <= limits.interactions_max
    assert sum(one.bytes_kept for one in kept) <= limits.bytes_max
    if position > start:
        last = log[position - start - 1]
        was_in_bounds = len(kept) < limits.interactions_max and (
            sum(one.bytes_kept for one in [last, *kept]) <= limits.bytes_max
        )
        if was_in_bounds:
            assert last.made_ms <= NOW_MS - limits.seconds_kept * 1000
            assert len(kept) >= limits.interactions_min
            assert untrained_from is None or position <= untrained_from
