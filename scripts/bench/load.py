"""A closed loop of streaming clients of an OpenAI-compatible endpoint."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx

from scripts.bench.processes import BenchFailed

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "friday": {"type": "array", "items": {"type": "string", "maxLength": 60}, "minItems": 64},
        "why": {"type": "string"},
    },
    "required": ["friday", "why"],
    "additionalProperties": False,
}
"""It needs more tokens than a reply of the bench has, so replies are as long with it as without."""


@dataclass(frozen=True, slots=True)
class Load:
    """The number of concurrent clients, the requests that each sends in sequence, and the reply's tokens.

    With ``structured`` each reply is held to ``SCHEMA``.
    """

    streams: int
    requests: int
    reply_tokens: int
    structured: bool = False

    @property
    def title(self) -> str:
        return f"{self.streams} streams" + (", structured" if self.structured else "")


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: the seconds until its first token and its end, and the number of tokens received."""

    first_token_s: float
    total_s: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address, key and models; stream ``i`` uses ``models[i % len(models)]``.

    With ``others``, each request goes to the next server, in turn.
    """

    url: str
    api_key: str
    models: tuple[str, ...]
    others: tuple[str, ...] = ()


PROMPT = (
    "You are helping me plan my week. On Monday I have a dentist appointment at nine and lunch with my "
    "sister. On Tuesday I work from home and want to repair the kitchen tap. On Wednesday the children have "
    "football until six, and on Thursday evening there is choir. Number {number}: what should I do on "
    "Friday, and why?"
)


def messages_of(load: Load, index: int, request: int, round_number: int) -> list[dict[str, str]]:
    """Return a prompt that differs from its first words on, so that no prefix cache helps."""
    number = f"{round_number}-{load.streams}-{load.structured}-{index}-{request}"
    return [
        {"role": "system", "content": f"Case {number}."},
        {"role": "user", "content": PROMPT.format(number=number)},
    ]


async def run_load(endpoint: Endpoint, load: Load, *, round_number: int) -> tuple[list[Sample], float]:
    """Run the load; return the samples and the wall seconds. Raises ``BenchFailed`` for a wrong reply."""
    limits = httpx.Limits(max_connections=load.streams + 4)
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits, trust_env=False)
            )
            for url in (endpoint.url, *endpoint.others)
        ]
        in_turn = itertools.cycle(clients)
        started = time.perf_counter()
        streams = (_stream(in_turn, endpoint, load, index, round_number) for index in range(load.streams))
        samples = [sample for stream in await asyncio.gather(*streams) for sample in stream]
        return samples, time.perf_counter() - started


async def _stream(
    clients: Iterator[httpx.AsyncClient], endpoint: Endpoint, load: Load, index: int, round_number: int
) -> list[Sample]:
    model = endpoint.models[index % len(endpoint.models)]
    samples: list[Sample] = []
    for request in range(load.requests):
        messages = messages_of(load, index, request, round_number)
        samples.append(await _ask(next(clients), model, messages, load))
    return samples


async def _ask(client: httpx.AsyncClient, model: str, messages: list[dict[str, str]], load: Load) -> Sample:
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": load.reply_tokens,
        "temperature": 0,
        # A grammar ends a reply, and both sides' servers would have to break it to go on.
        "ignore_eos": not load.structured,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if load.structured:
        shape = {"name": "plan", "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    started = time.perf_counter()
    first: float | None = None
    tokens = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            raise BenchFailed(
                f"{model}: HTTP {response.status_code}: {(await response.aread()).decode()[:500]}"
            )
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if first is None and any(choice["delta"].get("content") for choice in chunk["choices"]):
                first = time.perf_counter()
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
    if first is None or tokens != load.reply_tokens:
        raise BenchFailed(f"{model} was asked for {load.reply_tokens} tokens and sent {tokens}")
    return Sample(first - started, time.perf_counter() - started, tokens)
