"""Turns to take, and ways to take them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Protocol

from populace.actors.engine import Message
from populace.actors.hosts import HostStatistics, Revision
from populace.actors.turn import Interaction, ModelId, Reply, TurnGrant, TurnRequest
from tests.limits import HANG_SECONDS

"""After so long, what a test waits for does not come."""


class TurnGiver(Protocol):
    """What gives turns: a host, or a directory of many."""

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction: ...

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction: ...

    async def statistics(self) -> tuple[HostStatistics, ...]: ...


def turn_of(
    model: ModelId,
    operation: str = "op-1",
    *,
    body: bytes = b"body",
    alias: str = "latest",
    history_of: str | None = None,
    turn_seconds_max: float = 120.0,
) -> TurnRequest:
    return TurnRequest(
        model=model,
        operation=operation,
        body_hash=body,
        alias=alias,
        history_of=history_of,
        turn_seconds_max=turn_seconds_max,
    )


def reply(text: str = "Hello.", *, asked: str = "Hi.") -> Reply:
    return Reply(
        messages=(Message("user", asked),),
        text=text,
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=2,
        completion_id=f"c-{text}",
    )


def message(asked: str = "Hi.") -> Reply:
    """What a turn is accepted with, before it has a reply."""
    return replace(reply("", asked=asked), finish_reason=None, prompt_tokens=0, completion_tokens=0)


def revision(seed: str = "one", created_ms: int = 1) -> Revision:
    return Revision(
        digest=sha256(seed.encode()).hexdigest(),
        base="b" * 64,
        method="import",
        readiness="ready",
        parent=None,
        rank=8,
        adapter_bytes=1024,
        created_ms=created_ms,
    )


async def grant_of(hosts: TurnGiver, request: TurnRequest) -> TurnGrant:
    """Begin a turn that nobody took before."""
    turn = await hosts.begin_turn(request)
    assert isinstance(turn, TurnGrant)
    return turn


async def take_turn(hosts: TurnGiver, request: TurnRequest, text: str = "Hello.") -> Interaction:
    return await hosts.finish_turn(await grant_of(hosts, request), reply(text))


async def queue_turn(
    hosts: TurnGiver, request: TurnRequest, *, waiting: int = 1
) -> "asyncio.Task[TurnGrant | Interaction]":
    """Ask for a turn of a busy model; return when ``waiting`` turns wait in all mailboxes together."""
    task = asyncio.create_task(hosts.begin_turn(request))
    await wait_waiting(hosts, waiting)
    return task


async def wait_waiting(hosts: TurnGiver, waiting: int) -> None:
    """Return when exactly ``waiting`` turns wait in all mailboxes together."""

    async def is_so() -> bool:
        return sum(one.waiting for one in await hosts.statistics()) == waiting

    await wait_until(is_so)


async def wait_until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Let the event loop run until the condition holds; a host in another process sets no event here."""
    async with asyncio.timeout(HANG_SECONDS):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
