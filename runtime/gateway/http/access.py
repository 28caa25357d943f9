"""API keys, which identify the caller. A request's tenant is taken from its key.

Only a caller in the Ray cluster, who has the cluster key of this start, names the tenant itself.

A key reads ``populace_<key id>_<secret>``: 64 random bits that find the record, 256 that prove
it. The store keeps only the SHA-256 of the secret, which is enough for a secret of full entropy.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import Request

from populace.actors.errors import InvalidName, Unauthorized
from populace.actors.hosts import ApiKey, Hosts
from populace.api.server import TENANT_HEADER
from populace.storage.records.errors import PopulaceError
from populace.storage.records.keys import name_problem

KEY_PATTERN = re.compile(r"populace_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")

CACHE_SECONDS = 10.0
"""A revoked key may still be accepted for this long by a gateway that saw it just before."""

CACHE_KEYS_MAX = 10_000


def new_key(tenant: str, label: str, *, now_ms: int) -> tuple[str, ApiKey]:
    """Make a key and its record; the key itself is shown to its owner once and stored nowhere."""
    key_id = secrets.token_hex(8)
    secret = secrets.token_urlsafe(32)
    record = ApiKey(
        key_id=key_id,
        tenant=tenant,
        label=label,
        secret_sha256=hashlib.sha256(secret.encode()).digest(),
        created_ms=now_ms,
        revoked_ms=None,
    )
    return f"populace_{key_id}_{secret}", record


class Access:
    """Resolves a request to its tenant, remembering valid keys for a few seconds."""

    def __init__(
        self,
        hosts: Hosts,
        *,
        cluster_key: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``cluster_key`` is for callers in the Ray cluster, which may name any tenant; None admits none."""
        self._hosts = hosts
        self._cluster_key = cluster_key
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[ApiKey, float]] = OrderedDict()

    async def tenant(self, request: Request) -> str:
        """Return the caller's tenant; raises ``Unauthorized``."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Unauthorized("No API key provided. Send it as `Authorization: Bearer <key>`.")
        presented = presented.strip()
        cluster_key = self._cluster_key
        if cluster_key is not None and hmac.compare_digest(presented.encode(), cluster_key.encode()):
            return _tenant_in(request)
        match = KEY_PATTERN.fullmatch(presented)
        if match is None:
            raise Unauthorized
        key_id, secret = match.groups()
        key = await self._find(key_id)
        digest = hashlib.sha256(secret.encode()).digest()
        stored = bytes(32) if key is None else key.secret_sha256
        if not hmac.compare_digest(digest, stored) or key is None or key.revoked_ms is not None:
            raise Unauthorized
        return key.tenant

    async def admits(self, request: Request) -> bool:
        """Whether the caller has a valid key; False too if nothing can tell, as the host is away."""
        try:
            await self.tenant(request)
        except PopulaceError:
            return False
        return True

    async def _find(self, key_id: str) -> ApiKey | None:
        now = self._monotonic()
        known = self._known.get(key_id)
        if known is not None and known[1] > now:
            return known[0]
        key = await self._hosts.find_key(key_id)
        if key is None:
            self._known.pop(key_id, None)
            return None
        self._known[key_id] = (key, now + CACHE_SECONDS)
        self._known.move_to_end(key_id)
        if len(self._known) > CACHE_KEYS_MAX:
            self._known.popitem(last=False)
        return key


def _tenant_in(request: Request) -> str:
    """Return the tenant that a caller in the cluster names; raises ``InvalidName``."""
    tenant = request.headers.get(TENANT_HEADER, "")
    problem = name_problem(tenant)
    if problem is not None:
        raise InvalidName(tenant, problem)
    return tenant
