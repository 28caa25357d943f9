"""Keeps tenants and keys to their limits; who has none costs nothing here.

The buckets of requests and tokens are at the tenant's host, exact for all gateways. A gateway takes a little
more than it needs from them and serves from that, so that it asks some times a second and not for each
request. While that host does not answer, requests and tokens are not limited: a limit is worth no outage.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Literal

from populace.actors.access_errors import LimitReached
from populace.actors.api_keys import KeyHolder
from populace.actors.hosts import Hosts
from populace.actors.rates import Ask, Kind, Rate, Taken
from populace.actors.tenants import NO_LIMITS
from populace.storage.records.errors import PopulaceError

Stock = Literal["people", "bytes", "open_jobs"]

BYTES_SECONDS = 10.0
"""For how long at least the bytes of a tenant are not counted again."""

COUNTING_SHARE = 20
"""They are not counted for this many times as long as it took, either."""

PURSES_KEPT = 10_000

ANSWER_SECONDS = 3.0
"""How long a request waits for the host that has its tenant's buckets."""

AWAY_SECONDS = 10.0
"""For how long that host is not asked again if it did not answer."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Purse:
    """What a gateway has in advance of one limit, and what it knows of the bucket."""

    rate: Rate
    level: float
    told_s: float
    left: float = 0.0
    refused_until_s: float = -math.inf

    def note(self, taken: Taken, now_s: float) -> None:
        self.left += taken.amount
        self.level, self.told_s = taken.level, now_s
        if taken.wait_s > 0:
            self.refused_until_s = now_s + taken.wait_s

    def remaining(self, now_s: float) -> float:
        """Return about how much may be taken now."""
        filled = (now_s - self.told_s) * self.rate.per_minute / 60
        return max(0.0, self.left + min(self.rate.burst, self.level + filled))

    def full_in_s(self, now_s: float) -> float:
        """Return about how long it takes until all that may be taken at once may be."""
        return max(0.0, self.rate.burst - self.remaining(now_s)) * 60 / self.rate.per_minute


class Limiter:
    """The limits of all callers of one gateway."""

    def __init__(self, hosts: Hosts, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._hosts = hosts
        self._purses: dict[tuple[str, str, Kind], Purse] = {}
        self._held: Counter[tuple[str, Stock]] = Counter()
        self._taking: dict[str, asyncio.Lock] = {}
        self._counting: dict[str, asyncio.Lock] = {}
        self._bytes: dict[str, tuple[int, float]] = {}
        self._away: dict[str, float] = {}
        self._telling = set[asyncio.Task[None]]()

    async def begin(self, caller: KeyHolder) -> "Allowance | None":
        """Take a request of the caller's limits; None if there are none. Raises ``LimitReached``."""
        if caller.limits == NO_LIMITS == caller.key_limits:
            return None
        allowance = Allowance(self, caller, self._purses_of(caller))
        await self.take(caller, [(purse, 1.0) for purse in allowance.purses if purse.rate.kind == "requests"])
        return allowance

    async def take(
        self, caller: KeyHolder, wanted: Sequence[tuple[Purse, float]], *, is_owed: bool = False
    ) -> None:
        """Take these amounts, all of them or nothing. Raises ``LimitReached``."""
        # One at a time: what the first one takes in advance is for the next ones.
        async with self._taking.setdefault(caller.tenant, asyncio.Lock()):
            lacking = [(purse, amount - purse.left) for purse, amount in wanted if purse.left < amount]
            if lacking and not await self._fetch(caller, lacking, is_owed=is_owed):
                return
            for purse, amount in wanted:
                purse.left -= amount

    async def _fetch(
        self, caller: KeyHolder, lacking: Sequence[tuple[Purse, float]], *, is_owed: bool
    ) -> bool:
        """Fetch amounts from the buckets; False if these cannot be reached. Raises ``LimitReached``."""
        now_s = self.monotonic()
        for purse, _ in lacking:
            # A flood of requests that are refused does not reach the host.
            if purse.rate.kind == "requests" and purse.refused_until_s > now_s:
                raise _too_fast(caller, purse.rate, purse.refused_until_s - now_s)
        asks = [Ask(purse.rate, amount, purse.rate.advance, is_owed) for purse, amount in lacking]
        answers = await self._ask(caller.tenant, asks)
        if answers is None:
            return False
        now_s = self.monotonic()
        for (purse, _), taken in zip(lacking, answers, strict=True):
            purse.note(taken, now_s)
        (slowest, _), refusal = max(zip(lacking, answers, strict=True), key=lambda pair: pair[1].wait_s)
        if refusal.wait_s > 0:
            raise _too_fast(caller, slowest.rate, refusal.wait_s)
        return True

    async def _ask(self, tenant: str, asks: Sequence[Ask]) -> tuple[Taken, ...] | None:
        """Return the host's answer; None if it has none, and for a while after that."""
        if self._away.get(tenant, 0.0) > self.monotonic():
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answers = await self._hosts.rates.take(tenant, asks)
        except (PopulaceError, TimeoutError) as error:
            logger.warning("the limits of a tenant are not kept: %s", type(error).__name__)
            self._away[tenant] = self.monotonic() + AWAY_SECONDS
            return None
        self._away.pop(tenant, None)
        return answers

    def settle(self, caller: KeyHolder, purses: Sequence[Purse], difference: float) -> None:
        """Take ``difference`` more of the purses, or give it back; then leave an advance at most in each.

        What is owed, or too much, the host is told of, and nothing waits for that.
        """
        asks: list[Ask] = []
        for purse in purses:
            purse.left -= difference
            kept = min(max(purse.left, 0.0), purse.rate.advance)
            if purse.left != kept:
                asks.append(Ask(purse.rate, kept - purse.left, is_owed=True))
                purse.left = kept
        if asks:
            telling = asyncio.create_task(self._tell(caller.tenant, asks), context=Context())
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def hold(self, caller: KeyHolder, stock: Stock) -> None:
        """Raise ``LimitReached`` if there is no room for one more; hold that room until ``let_go``."""
        limit = getattr(caller.limits, stock)
        if limit is None:
            return
        tenant = caller.tenant
        async with self._counting.setdefault(tenant, asyncio.Lock()):
            if stock == "bytes":
                used = await self._bytes_of(tenant)
            else:
                used = await self._in_use(tenant, stock)
            if used >= limit:
                raise _too_much(tenant, stock, limit)
            self._held[tenant, stock] += 1

    def let_go(self, tenant: str, stock: Stock) -> None:
        """End what ``hold`` began: what was held for is there now, or is not made."""
        self._held[tenant, stock] -= 1
        if not self._held[tenant, stock]:
            del self._held[tenant, stock]

    async def _in_use(self, tenant: str, stock: Literal["people", "open_jobs"]) -> int:
        """Return how many there are, with those that are being made. No other begins meanwhile."""
        while True:
            held = self._held[tenant, stock]
            usage = await self._hosts.tenants.usage(tenant, with_bytes=False)
            # What was made while it was counted may be neither in the count nor held any more.
            if held == self._held[tenant, stock]:
                return getattr(usage, stock) + held

    async def _bytes_of(self, tenant: str) -> int:
        known = self._bytes.get(tenant)
        began_s = self.monotonic()
        if known is not None and known[1] > began_s:
            return known[0]
        usage = await self._hosts.tenants.usage(tenant)
        now_s = self.monotonic()
        kept_s = max(BYTES_SECONDS, COUNTING_SHARE * (now_s - began_s))
        self._bytes = {name: (size, until) for name, (size, until) in self._bytes.items() if until > now_s}
        self._bytes[tenant] = (usage.bytes, now_s + kept_s)
        return usage.bytes

    async def _tell(self, tenant: str, asks: Sequence[Ask]) -> None:
        with suppress(PopulaceError):  # a host that restarts forgets what was taken before, too
            await self._hosts.rates.take(tenant, asks)

    def _purses_of(self, caller: KeyHolder) -> tuple[Purse, ...]:
        found: list[Purse] = []
        for key_id, limits in (("", caller.limits), (caller.key_id or "", caller.key_limits)):
            per_minute: dict[Kind, int | None] = {
                "requests": limits.requests_per_minute,
                "tokens": limits.tokens_per_minute,
            }
            found += [
                self._purse(caller.tenant, Rate(key_id, kind, limit))
                for kind, limit in per_minute.items()
                if limit is not None
            ]
        return tuple(found)

    def _purse(self, tenant: str, rate: Rate) -> Purse:
        key = (tenant, rate.key_id, rate.kind)
        purse = self._purses.pop(key, None) or Purse(rate, rate.burst, self.monotonic())
        if purse.rate != rate:
            purse.rate, purse.left = rate, min(purse.left, rate.advance)
            purse.refused_until_s = -math.inf
        self._purses[key] = purse  # the last of them is the one that was used last
        if len(self._purses) > PURSES_KEPT:
            del self._purses[next(iter(self._purses))]
        return purse


class Allowance:
    """What one request may take of its caller's limits."""

    def __init__(self, limiter: Limiter, caller: KeyHolder, purses: Sequence[Purse]) -> None:
        self.purses = purses
        self._limiter = limiter
        self._caller = caller
        self._of_tokens = [purse for purse in purses if purse.rate.kind == "tokens"]
        self._planned = 0.0
        self._begun = False
        self._refused: LimitReached | None = None
        self._reserving = asyncio.Lock()
        self._held: list[Stock] = []

    @property
    def limits_tokens(self) -> bool:
        return bool(self._of_tokens)

    def plan(self, tokens: float) -> None:
        """Say what tokens a reply will need; ``reserve`` takes all that was planned."""
        self._planned += tokens

    async def reserve(self) -> None:
        """Take the tokens that were planned. Raises ``LimitReached``, unless the request has begun before."""
        async with self._reserving:
            if self._refused is not None:
                raise self._refused
            planned, self._planned = self._planned, 0.0
            wanted = [(purse, planned) for purse in self._of_tokens]
            try:
                await self._limiter.take(self._caller, wanted, is_owed=self._begun)
            except LimitReached as error:
                self._refused = error
                raise
            self._begun = True

    def settle(self, reserved: float, used: float) -> None:
        """Say how many tokens were used of those that were reserved for a reply."""
        self._limiter.settle(self._caller, self._of_tokens, used - reserved)

    async def hold(self, stock: Stock) -> None:
        await self._limiter.hold(self._caller, stock)
        if getattr(self._caller.limits, stock) is not None:
            self._held.append(stock)

    def end(self) -> None:
        """End what is held: what the request makes is made."""
        while self._held:
            self._limiter.let_go(self._caller.tenant, self._held.pop())

    def headers(self) -> dict[str, str]:
        """Return what is left, in OpenAI's headers: of requests and of tokens that of the tighter limit."""
        now_s = self._limiter.monotonic()
        told: dict[str, str] = {}
        for kind in ("requests", "tokens"):
            purses = [purse for purse in self.purses if purse.rate.kind == kind]
            if purses:
                tightest = min(purses, key=lambda purse: purse.remaining(now_s))
                left = min(tightest.remaining(now_s), tightest.rate.per_minute)
                told[f"x-ratelimit-limit-{kind}"] = str(tightest.rate.per_minute)
                told[f"x-ratelimit-remaining-{kind}"] = str(math.floor(left))
                told[f"x-ratelimit-reset-{kind}"] = f"{tightest.full_in_s(now_s):.3g}s"
        return told


_current: ContextVar[Allowance | None] = ContextVar("populace_allowance", default=None)


def current_allowance() -> Allowance | None:
    """Return the allowance of the request that this task serves; None without limits."""
    return _current.get()


def serve_with(allowance: Allowance | None) -> None:
    """From now on this task, and those that it begins, serve a request with this allowance."""
    _current.set(allowance)


class Charge:
    """What was used of the tokens that were reserved; its user sets it."""

    used: float = 0.0


@asynccontextmanager
async def charged(estimated: float) -> AsyncGenerator[Charge]:
    """Reserve tokens of this request for a block, which says what it used. Raises ``LimitReached``."""
    allowance, charge = _current.get(), Charge()
    if allowance is None or not allowance.limits_tokens:
        yield charge
        return
    allowance.plan(estimated)
    await allowance.reserve()
    try:
        yield charge
    finally:
        allowance.settle(estimated, charge.used)


async def room_for(*stocks: Stock) -> None:
    """Raise ``LimitReached`` if the caller has no room for one more of these; hold it for the request."""
    allowance = _current.get()
    if allowance is not None:
        for stock in stocks:
            await allowance.hold(stock)


def _too_fast(caller: KeyHolder, rate: Rate, wait_s: float) -> LimitReached:
    whose = f"The API key {rate.key_id}" if rate.key_id else f"The tenant {caller.tenant}"
    raised = f"populace key limit {rate.key_id}" if rate.key_id else f"populace tenant limit {caller.tenant}"
    message = (
        f"{whose} may take {rate.per_minute} {rate.kind} a minute, spread evenly. Wait {wait_s:.3g} s. "
        f"Whoever looks after this service raises the limit: `{raised} --{rate.kind}-per-minute N`."
    )
    return LimitReached(message, wait_s, rate.per_minute, f"{rate.kind}_per_minute")


def _too_much(tenant: str, stock: Stock, limit: int) -> LimitReached:
    what, option = {
        "people": ("personal models", "people"),
        "bytes": ("bytes of logs and adapters", "bytes"),
        "open_jobs": ("trainings that wait or run", "open-jobs"),
    }[stock]
    message = (
        f"The tenant {tenant} may have {limit} {what}, and has them. Remove some, or have whoever looks "
        f"after this service raise the limit: `populace tenant limit {tenant} --{option} N`."
    )
    return LimitReached(message, None, limit, stock)
