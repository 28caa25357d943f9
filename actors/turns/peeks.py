"""Makes the reply of a peek, in a gateway that streams or in a host that does not."""

from typing import Protocol

from populace.actors.engine import Engine
from populace.actors.peek import without_trace
from populace.actors.turn import ChatRequest, TurnGrant, TurnRequest
from populace.actors.turns.running_reply import RunningReply
from populace.actors.turns.turn_director import (
    ReplyBuilder,
    TurnHost,
    as_granted,
    completion_id,
    generate_reply,
)


class PeekHost(Protocol):
    """The part of ``Hosts`` that a peek needs."""

    async def begin_peek(self, request: TurnRequest) -> TurnGrant: ...


class TurnAndPeekHost(TurnHost, PeekHost, Protocol):
    """The part of ``Hosts`` that turns and peeks need."""


async def begin_peek_reply(
    hosts: PeekHost, engine: Engine, request: ChatRequest, *, stream: bool = False
) -> RunningReply:
    """Begin a peek and return its reply, which has deltas also without ``stream`` and no interaction."""
    grant = await hosts.begin_peek(request.turn)
    granted = as_granted(without_trace(request), grant, engine.base)
    reply = ReplyBuilder(granted, completion_id(grant))
    deltas = generate_reply(engine, granted, grant, reply, stream=stream)
    return RunningReply(
        deltas, grant=grant, left_out=lambda: reply.left_out, retrieved=lambda: reply.retrieved
    )
