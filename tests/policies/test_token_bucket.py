"""A bucket lets through what its limit says, at once little more, and makes good what is owed."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.token_bucket import BURST, SLICE, TokenBucket, burst_of, slice_of

per_minutes = st.floats(min_value=0.5, max_value=1e6)
pauses = st.lists(st.floats(min_value=0.0, max_value=30.0), min_size=1, max_size=60)
shares = st.lists(st.floats(min_value=0.001, max_value=1.0), min_size=1, max_size=60)


def rounding(per_minute: float) -> float:
    return 1e-6 * per_minute


def asked(bucket: TokenBucket, pauses: list[float], amounts: list[float]) -> Iterator[tuple[float, float]]:
    """Ask after each pause, and yield the time and the amount of what is granted."""
    now_s = 0.0
    for pause, amount in zip(pauses, amounts, strict=False):
        now_s += pause
        if bucket.wait_s(amount, now_s=now_s) == 0.0:
            bucket.take(amount, now_s=now_s)
            yield now_s, amount


@given(per_minutes, pauses, shares)
def test_in_any_time_no_more_is_taken_than_the_limit_and_what_the_bucket_holds(
    per_minute: float, pauses: list[float], shares: list[float]
) -> None:
    bucket = TokenBucket(per_minute, now_s=0.0)
    granted = list(asked(bucket, pauses, [share * bucket.capacity for share in shares]))

    for first, (begin_s, _) in enumerate(granted):
        taken = 0.0
        for end_s, amount in granted[first:]:
            taken += amount
            most = bucket.capacity + per_minute * (end_s - begin_s) / 60
            assert taken <= most + rounding(per_minute)


@given(per_minutes, pauses, st.lists(st.floats(min_value=1.0, max_value=100.0), min_size=1, max_size=60))
def test_over_time_the_limit_holds_for_pieces_that_are_larger_than_the_bucket(
    per_minute: float, pauses: list[float], times: list[float]
) -> None:
    bucket = TokenBucket(per_minute, now_s=0.0)
    granted = list(asked(bucket, pauses, [times_larger * bucket.capacity for times_larger in times]))

    total = 0.0
    for end_s, amount in granted:
        # All before the last piece were made good when it was taken.
        assert total <= per_minute * end_s / 60 + rounding(per_minute)
        total += amount


@given(per_minutes, pauses, st.lists(st.floats(min_value=0.01, max_value=50.0), min_size=1, max_size=60))
def test_after_the_wait_that_was_told_it_may_be_taken_and_not_before(
    per_minute: float, pauses: list[float], times: list[float]
) -> None:
    bucket, now_s = TokenBucket(per_minute, now_s=0.0), 0.0
    for pause, times_larger in zip(pauses, times, strict=False):
        now_s += pause
        amount = times_larger * bucket.capacity
        wait_s = bucket.wait_s(amount, now_s=now_s)
        if wait_s > 0.01:
            assert bucket.wait_s(amount, now_s=now_s + 0.9 * wait_s) > 0
        now_s += wait_s
        assert bucket.wait_s(amount, now_s=now_s) < 1e-6
        bucket.take(amount, now_s=now_s)


@given(per_minutes, pauses)
def test_who_always_asks_gets_all_that_the_limit_gives(per_minute: float, pauses: list[float]) -> None:
    bucket, now_s, taken = TokenBucket(per_minute, now_s=0.0), 0.0, 0.0
    piece = bucket.capacity / 10
    for pause in pauses:
        until_s = now_s + pause
        while (wait_s := bucket.wait_s(piece, now_s=now_s)) <= until_s - now_s and taken < 1e4 * piece:
            now_s += wait_s
            bucket.take(piece, now_s=now_s)
            taken += piece
        now_s = until_s

    possible = min(bucket.capacity + per_minute * now_s / 60, 1e4 * piece)
    assert taken >= possible - piece - rounding(per_minute) - 1e-6


@given(per_minutes, st.floats(min_value=0.0, max_value=1.0))
def test_what_is_given_back_may_be_taken_again_and_no_bucket_overflows(
    per_minute: float, share: float
) -> None:
    bucket = TokenBucket(per_minute, now_s=0.0)
    amount = share * bucket.capacity
    bucket.take(amount, now_s=0.0)
    bucket.take(-amount, now_s=0.0)
    restored = bucket.level(0.0)
    bucket.take(-1000 * bucket.capacity, now_s=0.0)

    assert abs(restored - bucket.capacity) <= rounding(per_minute)
    assert bucket.level(0.0) == bucket.capacity


@given(per_minutes, per_minutes, st.floats(min_value=-3.0, max_value=1.0))
def test_another_limit_forgives_no_debt_and_gives_no_more_than_the_bucket_holds(
    before: float, after: float, share: float
) -> None:
    bucket = TokenBucket(before, now_s=0.0)
    bucket.take((1 - share) * bucket.capacity, now_s=0.0)
    level = bucket.level(0.0)
    bucket.resize(after, now_s=0.0)

    assert bucket.level(0.0) == min(level, bucket.capacity)
    assert bucket.full_in_s(0.0) * after / 60 >= bucket.capacity - level - rounding(after)


def test_a_clock_that_stands_still_or_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(60.0, now_s=100.0)
    bucket.take(bucket.capacity, now_s=100.0)

    assert bucket.level(50.0) == bucket.level(100.0) == 0.0


def test_four_who_share_a_large_limit_keep_to_it_within_five_percent() -> None:
    assert BURST + 4 * SLICE <= 0.05
    assert (burst_of(6000), slice_of(6000)) == (150.0, 30.0)
    assert burst_of(10) == 1.0
