"""Whether a tenant that asks for far more than its limits gets what they say, from two gateways together."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench.report import Aim, BenchReport
from scripts.bench.served_populace import served_populace
from scripts.bench.tenants.clients import Tenant, flood_body

GATEWAYS = 2
REQUESTS_PER_MINUTE = 6000
TOKENS_PER_MINUTE = 3000
ASKING = 24
"""Connections that ask without a pause, which the kernel divides among the gateways."""

TALKING = 8
REPLY_TOKENS = 8
BURST_SECONDS = 5
"""For how long a flood has gone on when it is counted; at first it may take a little more."""

PAUSE_SECONDS = 0.02
"""What a stream waits for after a refusal; it does not look at ``Retry-After``."""

OFF_MAX = 0.05
"""The most that what was let through may differ from the limit, as a part of it."""

TENANT, OTHER = "limited", "not-limited"


async def measure_limits(root: Path, engine: str, seconds: int, result: BenchReport) -> None:
    """Flood requests and then tokens for so long, and add what came through. Raises ``BenchFailed``."""
    with contextlib.ExitStack() as stack:
        context = served_populace(root, ["--engine", engine, "--gateways", str(GATEWAYS)], {})
        served = await asyncio.to_thread(stack.enter_context, context)
        keys = [
            await asyncio.to_thread(served.new_key, name, *options)
            for name, options in ((TENANT, ()), (OTHER, ()), (OTHER, ("--role", "admin")))
        ]
        clients = [Tenant(served.url, key) for key in keys]
        try:
            await _measure(clients, seconds, result)
        finally:
            for client in clients:
                await client.close()


async def _measure(clients: list[Tenant], seconds: int, result: BenchReport) -> None:
    limited, other, admin = clients
    body = flood_body("Where is the sea?", tokens=REPLY_TOKENS) | {"stream": False}
    await other.call("POST", "/v1/chat/completions", body)

    async def one_request() -> int:
        return int(await limited.answer("GET", "/v1/models") is not None)

    async def one_reply() -> int:
        reply = await limited.answer("POST", "/v1/chat/completions", body)
        return 0 if reply is None else int(reply["usage"]["total_tokens"])

    for what, per_minute, ask, streams in (
        ("requests", REQUESTS_PER_MINUTE, one_request, ASKING),
        ("tokens", TOKENS_PER_MINUTE, one_reply, TALKING),
    ):
        path = f"/v1/admin/tenants/{TENANT}/limits"
        await admin.call("PUT", path, {f"{what}_per_minute": per_minute})
        await _limited(limited, what)
        taken = await _flood(ask, streams, seconds)
        share = taken / (per_minute * seconds / 60)
        limit = f"{per_minute:,} {what} a minute"
        result.rows.append({"limit": limit, "let through": taken, "of it": round(share, 3)})
        name = f"{what} of a flood beside their limit, over {GATEWAYS} gateways, off by"
        result.aims.append(Aim(name, round(abs(share - 1), 3), OFF_MAX, "of it", at_most=True))


async def _limited(client: Tenant, what: str) -> None:
    """Wait until every gateway tells of the limit; each learns of it within seconds of a request."""
    told = 0
    while told < 4 * GATEWAYS:
        headers = await client.headers("/v1/population")
        told = told + 1 if f"x-ratelimit-limit-{what}" in headers else 0
        await asyncio.sleep(0.5)


async def _flood(ask: Callable[[], Any], streams: int, seconds: int) -> int:
    """Ask on all streams, count for ``seconds`` after the burst is over, and return the sum."""
    counted = [0]
    ends = time.monotonic() + seconds + BURST_SECONDS
    begins = ends - seconds

    async def stream() -> None:
        while time.monotonic() < ends:
            got = await ask()
            if begins <= time.monotonic() < ends:
                counted[0] += got
            if not got:
                await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*(stream() for _ in range(streams)))
    return counted[0]
