"""The buckets of the tenants that are placed at one host."""

from collections.abc import Sequence

from populace.actors.clock import Clock
from populace.actors.rates import Ask, Rate, Taken
from populace.policies.token_bucket import TokenBucket

BUCKETS_KEPT = 10_000
"""Beyond this number those that are full are forgotten: a new one is full as well."""


class RateKeeper:
    """Serves ``Rates``, in memory alone."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str, str], TokenBucket] = {}

    async def take(self, tenant: str, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        now_s = self._clock.monotonic()
        asked = [(ask, self._bucket(tenant, ask.rate, now_s)) for ask in asks]
        waits = [
            0.0 if ask.is_owed or ask.amount <= 0 else bucket.wait_s(ask.amount + ask.advance, now_s=now_s)
            for ask, bucket in asked
        ]
        if any(waits):
            return tuple(
                Taken(0.0, wait_s, bucket.level(now_s), bucket.capacity)
                for (_, bucket), wait_s in zip(asked, waits, strict=True)
            )
        return tuple(_taken(ask, bucket, now_s) for ask, bucket in asked)

    def _bucket(self, tenant: str, rate: Rate, now_s: float) -> TokenBucket:
        key = (tenant, rate.key_id, rate.kind)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_KEPT:
                self._forget_full(now_s)
            bucket = self._buckets[key] = TokenBucket(rate.per_minute, now_s=now_s)
        bucket.resize(rate.per_minute, now_s=now_s)
        return bucket

    def _forget_full(self, now_s: float) -> None:
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.full_in_s(now_s) > 0}


def _taken(ask: Ask, bucket: TokenBucket, now_s: float) -> Taken:
    amount = ask.amount
    if amount > 0 and bucket.level(now_s) >= amount + ask.advance:
        amount += ask.advance
    bucket.take(amount, now_s=now_s)
    return Taken(amount, 0.0, bucket.level(now_s), bucket.capacity)
