"""Turns without a reply, which set the memory, keep a remark in the log or what a client added to it."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

from populace.actors.engine import Message
from populace.actors.memory import Memory, MemoryOutcome, MemoryTrace
from populace.actors.turn import Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.actors.turns.turn_director import TurnHost, completion_id
from populace.policies.ingestion import ADDED_ROLE


def setting_reply(turn: TurnGrant, message: Message, memory: Memory | None) -> Reply:
    """The reply of a turn in which nothing was said, and which set the memory, if it is given one."""
    trace = MemoryTrace(read=False, written_from=None, is_set=True)
    return Reply(
        messages=(message,),
        text="",
        finish_reason="stop",
        prompt_tokens=0,
        completion_tokens=0,
        completion_id=completion_id(turn),
        memory=None if memory is None else MemoryOutcome(memory.pack(), trace),
    )


async def remark(
    hosts: TurnHost, model: ModelId, message: Message, operation: str, *, turn_seconds_max: float
) -> Interaction:
    """Keep a message in the log as a turn of its own, which changes no memory.

    It must have one of the roles ``SAID_ROLES``. Raises what ``begin_turn`` and ``finish_turn`` raise.
    """
    digest = hashlib.sha256(f"{message.role} {message.content}".encode()).digest()
    request = TurnRequest(model, operation, digest, turn_seconds_max=turn_seconds_max)
    return await _record(hosts, request, lambda turn: setting_reply(turn, message, None))


async def add_to_conversation(
    hosts: TurnHost,
    model: ModelId,
    conversation: str,
    messages: tuple[Message, ...],
    operation: str,
    *,
    note: str = "",
    turn_seconds_max: float,
) -> Interaction:
    """Put messages into a conversation by hand, as a turn of its own, which changes no memory.

    Later turns of the conversation read them; they have no reply, so nothing is learned from them. Raises
    what ``begin_turn`` and ``finish_turn`` raise.
    """
    digest = hashlib.sha256(json.dumps([conversation, messages, note]).encode()).digest()
    request = TurnRequest(
        model, operation, digest, history_of=conversation, turn_seconds_max=turn_seconds_max
    )
    mark = Message(ADDED_ROLE, "")

    def made(turn: TurnGrant) -> Reply:
        return replace(setting_reply(turn, mark, None), messages=(mark, *messages), instructions=1, note=note)

    return await _record(hosts, request, made)


async def _record(hosts: TurnHost, request: TurnRequest, make: Callable[[TurnGrant], Reply]) -> Interaction:
    turn = await hosts.begin_turn(request)
    if isinstance(turn, Interaction):
        return turn
    try:
        return await hosts.finish_turn(turn, make(turn))
    except BaseException:
        await asyncio.shield(hosts.abandon_turn(turn, "it was not recorded"))
        raise
