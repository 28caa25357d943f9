"""Clients of a served Populace that belong to tenants: those that ask now and then, and those that flood."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from scripts.bench.processes import BenchFailed

CHAT = "/v1/chat/completions"
BASE = "base"
PAUSE_SECONDS = 0.1
"""What a client that floods waits for after a refusal; it does not look at ``Retry-After``."""


@dataclass(slots=True)
class Found:
    """What clients found: seconds until first tokens, and what they got instead, by error code."""

    first_token_s: list[float] = field(default_factory=list[float])
    refused: Counter[str] = field(default_factory=Counter[str])


class Flood(NamedTuple):
    """How a tenant floods: what each of its ``streams`` asks, again and again."""

    name: str
    streams: int
    body: dict[str, Any]


def flood_body(text: str, *, tokens: int, choices: int = 1) -> dict[str, Any]:
    """Return a request to the base for replies of exactly ``tokens`` tokens."""
    messages = [{"role": "user", "content": text}]
    sampling = {"max_tokens": tokens, "ignore_eos": True, "n": choices}
    return {"model": BASE, "messages": messages, "stream": True, **sampling}


class Tenant:
    """One tenant's client, for ``async with``. It sends nothing again by itself."""

    def __init__(self, url: str, key: str) -> None:
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=600.0,
            limits=limits,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request and return the object of its answer. Raises ``BenchFailed``."""
        response = await self._client.request(method, path, json=body)
        if response.is_error:
            raise BenchFailed(f"{method} {path}: HTTP {response.status_code}: {response.text[:500]}")
        return response.json()

    async def answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request and return the object of its answer; None if it is refused."""
        response = await self._client.request(method, path, json=body)
        return None if response.is_error else response.json()

    async def headers(self, path: str) -> httpx.Headers:
        """Return the headers of an answer on a connection of its own, to whichever gateway takes it."""
        return (await self._client.get(path, headers={"Connection": "close"})).headers

    async def create(self, model: str) -> None:
        """Create a personal model. Raises ``BenchFailed``."""
        await self.call("POST", "/v1/personal-models", {"name": model})

    async def asks(self, body: dict[str, Any], times: int, pause_s: float) -> Found:
        """Ask ``times`` times, with a pause before each; what is refused is not asked again."""
        found = Found()
        for _ in range(times):
            await asyncio.sleep(pause_s)
            await self._ask(body, found)
        return found

    async def floods(self, flood: Flood) -> Found:
        """Keep the requests open until cancelled, then return what they found."""
        found = Found()
        streams = [asyncio.create_task(self._again(flood.body, found)) for _ in range(flood.streams)]
        try:
            await asyncio.gather(*streams)
        except asyncio.CancelledError:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        return found

    async def _again(self, body: dict[str, Any], found: Found) -> None:
        while True:
            if not await self._ask(body, found):
                await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, body: dict[str, Any], found: Found) -> bool:
        """Read a reply to its end; return whether there was one."""
        began, is_first = time.perf_counter(), True
        try:
            async with self._client.stream("POST", CHAT, json=body) as response:
                if response.is_error:
                    found.refused[_code(await response.aread(), response.status_code)] += 1
                    return False
                async for line in response.aiter_lines():
                    if is_first and line.startswith("data: {") and _has_text(json.loads(line[6:])):
                        found.first_token_s.append(time.perf_counter() - began)
                        is_first = False
        except httpx.HTTPError as error:
            found.refused[type(error).__name__] += 1
            return False
        return not is_first


def _has_text(chunk: dict[str, Any]) -> bool:
    return any(choice["delta"].get("content") for choice in chunk.get("choices", ()))


def _code(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return str(status)
