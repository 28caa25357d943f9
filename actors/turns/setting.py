"""Turns in which nothing is said, and which set the memory or keep a remark in the log."""

import asyncio
import hashlib

from populace.actors.engine import Message
from populace.actors.memory import Memory, MemoryOutcome, MemoryTrace
from populace.actors.turn import Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.actors.turns.turn_director import TurnHost, completion_id


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
    turn = await hosts.begin_turn(request)
    if isinstance(turn, Interaction):
        return turn
    try:
        return await hosts.finish_turn(turn, setting_reply(turn, message, None))
    except BaseException:
        await asyncio.shield(hosts.abandon_turn(turn, "the remark was not recorded"))
        raise
