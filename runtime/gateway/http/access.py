"""API keys, which identify the caller. A request's tenant is taken from its key.

Only a caller in the Ray cluster, who has the cluster key of this start, names the tenant itself.

A key reads ``populace_<key id>_<secret>``: 64 random bits that find the record, 256 that prove
it. The store keeps only the SHA-256 of the secret, which is enough for a secret of full entropy.
"""

import asyncio
import hashlib
import hmac
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

from fastapi import Request

from populace.actors.access_errors import KeyExpired, Unauthorized
from populace.actors.api_keys import ApiKey, KeyHolder, Role
from populace.actors.errors import InvalidName
from populace.actors.hosts import Hosts
from populace.actors.tenants import NO_LIMITS, Limits
from populace.api.server import TENANT_HEADER
from populace.storage.records.errors import PopulaceError
from populace.storage.records.keys import name_problem

KEY_PATTERN = re.compile(r"populace_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")

CACHE_SECONDS = 10.0
"""A revoked key may still be accepted for this long by a gateway that saw it just before."""

CACHE_KEYS_MAX = 10_000

LOOKUP_SECONDS = 0.02
"""Keys that are not remembered are looked up together, at most this often: they share a message to a host,
which costs it about as much for a hundred ids as for one, and ids are made up fast."""

LIMITS_SECONDS = 3.0
"""How long a request waits for its tenant's limits, if none are known."""

USE_SECONDS = 60.0
"""How often a gateway tells a host that a key is used."""

NO_DIGEST = bytes(32)
"""Stands for the digest of a secret where there is none; that of no secret that can be found."""

REFUSED_SECONDS = 0.1
"""A key is refused this long after it came, or later: longer than a look-up takes, so that the time does not
tell whether there is a key of that id."""


def new_key(
    tenant: str,
    label: str,
    *,
    now_ms: int,
    role: Role = "tenant",
    models: Sequence[str] | None = None,
    expires_ms: int | None = None,
    limits: Limits = NO_LIMITS,
) -> tuple[str, ApiKey]:
    """Make a key and its record; the key itself is shown to its owner once and stored nowhere."""
    key_id = secrets.token_hex(8)
    text, digest = new_secret(key_id)
    record = ApiKey(
        key_id=key_id,
        tenant=tenant,
        label=label,
        secret_sha256=digest,
        created_ms=now_ms,
        role=role,
        models=None if models is None else tuple(models),
        expires_ms=expires_ms,
        limits=limits,
    )
    return text, record


def new_secret(key_id: str) -> tuple[str, bytes]:
    """Return a key of this id with a new secret, and the digest of that."""
    secret = secrets.token_urlsafe(32)
    return f"populace_{key_id}_{secret}", hashlib.sha256(secret.encode()).digest()


class Access:
    """Resolves a request to the holder of its key, remembering the keys that there are for a few seconds."""

    def __init__(
        self,
        hosts: Hosts,
        *,
        cluster_key: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        epoch_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        """``cluster_key`` is for callers in the Ray cluster, which may name any tenant; None admits none."""
        self._hosts = hosts
        self._cluster_key = cluster_key
        self._monotonic = monotonic
        self._epoch_ms = epoch_ms
        self._sleep = sleep
        self._pause: asyncio.Task[None] | None = None
        self._limits: OrderedDict[str, tuple[Limits, float]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Limits]] = {}
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._noting = set[asyncio.Task[None]]()
        self._known: OrderedDict[str, tuple[ApiKey, float]] = OrderedDict()

    async def caller(self, request: Request) -> KeyHolder:
        """Return the holder of the request's key; raises ``Unauthorized`` and ``KeyExpired``."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Unauthorized("No API key provided. Send it as `Authorization: Bearer <key>`.")
        presented = presented.strip()
        cluster_key = self._cluster_key
        if cluster_key is not None and hmac.compare_digest(presented.encode(), cluster_key.encode()):
            return KeyHolder(_tenant_in(request), role="admin")
        match = KEY_PATTERN.fullmatch(presented)
        if match is None:
            raise Unauthorized
        came_s = self._monotonic()
        key_id, secret = match.groups()
        digest = hashlib.sha256(secret.encode()).digest()
        now_ms = self._epoch_ms()
        key = proved(self._remembered(key_id), digest, now_ms)
        if key is None:
            # With a wrong secret, a key that is remembered is looked up as one that is not.
            key = proved(await self._find(key_id), digest, now_ms)
        if key is None:
            await self._sleep(max(0.0, came_s + REFUSED_SECONDS - self._monotonic()))
            raise Unauthorized
        if key.expires_ms is not None and key.has_ended(now_ms):
            ended = datetime.fromtimestamp(key.expires_ms / 1000, UTC)
            raise KeyExpired(f"{ended:%Y-%m-%d %H:%M:%S}")
        self._note_use(key_id)
        return KeyHolder.of(key, await self._limits_of(key.tenant))

    async def admits(self, request: Request) -> bool:
        """Whether the caller has a valid key; False too if nothing can tell, as the host is away."""
        try:
            await self.caller(request)
        except PopulaceError:
            return False
        return True

    async def _limits_of(self, tenant: str) -> Limits:
        """Return the limits of a tenant as they were some seconds ago; only the first request waits for them.

        A tenant whose limits cannot be read has none meanwhile: no request fails because of that.
        """
        known = self._limits.get(tenant)
        if known is not None and known[1] > self._monotonic():
            return known[0]
        asking = self._asking.get(tenant)
        if asking is None:
            asking = asyncio.create_task(self._ask_limits(tenant), context=Context())
            self._asking[tenant] = asking
            asking.add_done_callback(lambda _: self._asking.pop(tenant, None))
        if known is not None:
            return known[0]
        done, _ = await asyncio.wait([asking], timeout=LIMITS_SECONDS)
        if not done:
            self._limits[tenant] = (NO_LIMITS, self._monotonic() + CACHE_SECONDS)
            return NO_LIMITS
        return asking.result()

    async def _ask_limits(self, tenant: str) -> Limits:
        try:
            limits = await self._hosts.tenants.limits(tenant)
        except PopulaceError:
            known = self._limits.get(tenant)
            limits = NO_LIMITS if known is None else known[0]
        self._limits[tenant] = (limits, self._monotonic() + CACHE_SECONDS)
        self._limits.move_to_end(tenant)
        if len(self._limits) > CACHE_KEYS_MAX:
            self._limits.popitem(last=False)
        return limits

    def _note_use(self, key_id: str) -> None:
        """Tell the key's host once a minute that it is used; nothing waits for that."""
        now = self._monotonic()
        if self._noted.get(key_id, -math.inf) + USE_SECONDS > now:
            return
        self._noted[key_id] = now
        self._noted.move_to_end(key_id)
        if len(self._noted) > CACHE_KEYS_MAX:
            self._noted.popitem(last=False)
        noting = asyncio.create_task(self._tell_use(key_id), context=Context())
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _tell_use(self, key_id: str) -> None:
        with suppress(PopulaceError):  # a minute later it is told again
            await self._hosts.keys.note_use(key_id)

    def _remembered(self, key_id: str) -> ApiKey | None:
        known = self._known.get(key_id)
        return None if known is None or known[1] <= self._monotonic() else known[0]

    async def _find(self, key_id: str) -> ApiKey | None:
        await self._departure()
        now = self._monotonic()
        key = await self._hosts.keys.find(key_id)
        if key is None:
            self._known.pop(key_id, None)
            return None
        self._known[key_id] = (key, now + CACHE_SECONDS)
        self._known.move_to_end(key_id)
        if len(self._known) > CACHE_KEYS_MAX:
            self._known.popitem(last=False)
        return key

    async def _departure(self) -> None:
        """Wait until look-ups leave: at once, or together after the pause that follows the last ones."""
        if self._pause is not None and not self._pause.done():
            await asyncio.shield(self._pause)
        if self._pause is None or self._pause.done():
            # It is no one request's: its context is none's.
            self._pause = asyncio.create_task(self._sleep(LOOKUP_SECONDS), context=Context())


def proved(key: ApiKey | None, digest: bytes, now_ms: int) -> ApiKey | None:
    """Return the key if a secret of this digest proves it; takes as long if there is no key."""
    stored = NO_DIGEST if key is None else key.secret_sha256
    has_former = key is not None and key.former_until_ms > now_ms
    former = key.former_sha256 if key is not None and has_former else NO_DIGEST
    is_right = [hmac.compare_digest(digest, known) for known in (stored, former)]
    return key if any(is_right) and key is not None and key.revoked_ms is None else None


def _tenant_in(request: Request) -> str:
    """Return the tenant that a caller in the cluster names; raises ``InvalidName``."""
    tenant = request.headers.get(TENANT_HEADER, "")
    problem = name_problem(tenant)
    if problem is not None:
        raise InvalidName(tenant, problem)
    return tenant
