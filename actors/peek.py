"""A peek: a reply that reads a personal model as it is and leaves no trace.

It reads the adapter, the memory and, if asked, the log. It is no turn: nothing is logged, remembered or
learned from, no operation id or log position is used, and it neither waits for turns nor makes them wait.
"""

import secrets
from dataclasses import dataclass, replace

from populace.actors.display import brief
from populace.actors.engine import Delta, FinishReason
from populace.actors.memory import MemoryChoice
from populace.actors.turn import BASE_REVISION, ChatRequest, ModelId, TurnGrant

PEEK_PREFIX = "peek-"
"""What the grant ids of peeks begin with; those of turns begin with the id of a host."""


@dataclass(frozen=True, slots=True)
class Peek:
    """A reply that is no turn, and what it was made with.

    ``retrieved`` are the positions of the logged turns that it was told from, as in ``Interaction``.
    """

    model: ModelId
    reply: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    revision: str
    base: str
    memory_version: int
    retrieved: tuple[int, ...] = ()

    @classmethod
    def of(cls, grant: TurnGrant, reply: Delta, retrieved: tuple[int, ...]) -> "Peek":
        assert reply.finish_reason is not None, "an engine ends a reply with a finish reason"
        return cls(
            grant.model,
            reply.text,
            reply.finish_reason,
            reply.prompt_tokens,
            len(reply.token_ids),
            grant.revision,
            grant.base,
            grant.memory_version,
            retrieved,
        )

    def __str__(self) -> str:
        return self.reply

    def __repr__(self) -> str:
        return f"<peek at {self.model.name}: {brief(self.reply)}>"


def new_peek_id() -> str:
    """Return an id for the requests of one peek to an engine."""
    return f"{PEEK_PREFIX}{secrets.token_hex(16)}"


def is_peek(grant: TurnGrant) -> bool:
    """Return whether the grant is one to look with, which is never committed."""
    return grant.grant_id.startswith(PEEK_PREFIX)


def without_trace(request: ChatRequest) -> ChatRequest:
    """Return the request as a peek: it writes no memory and keeps no choice.

    The bare base, ``base`` as the alias, reads no memory either.
    """
    reads = request.memory.read and request.turn.alias != BASE_REVISION
    return replace(request, memory=MemoryChoice(reads, write=False), kept=None)
