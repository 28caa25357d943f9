"""Draws on a tenant's limits of requests and tokens: its host has the buckets, gateways draw on them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from populace.actors.engine import GenerateRequest, Message, Prompt
from populace.policies.history import CHARACTERS_PER_TOKEN
from populace.policies.token_bucket import burst_of, slice_of

Kind = Literal["requests", "tokens"]

REPLY_TOKENS = 256
"""What is reserved for a reply whose request does not say how long it may be."""


class Rate(NamedTuple):
    """A limit on the requests or tokens a minute of a key, or of all of a tenant if ``key_id`` is empty."""

    key_id: str
    kind: Kind
    per_minute: int

    @property
    def advance(self) -> float:
        """How much more than it needs a gateway takes with a request."""
        return slice_of(self.per_minute)

    @property
    def burst(self) -> float:
        """How much may be taken at once."""
        return burst_of(self.per_minute)


class Ask(NamedTuple):
    """What a gateway wants of a limit: ``amount`` with ``advance`` more, or without if no bucket holds both.

    An ask waits for the advance too, so that a gateway at its limit does not ask for each request.
    What is ``is_owed`` was spent before it was known, and is taken whatever there is; less than nothing is
    given back.
    """

    rate: Rate
    amount: float
    advance: float = 0.0
    is_owed: bool = False


class Taken(NamedTuple):
    """The answer to an ask. ``wait_s`` above 0 refuses it: it may be taken after that time.

    Afterwards the bucket has ``level`` of the ``capacity`` that it holds.
    """

    amount: float
    wait_s: float
    level: float
    capacity: float


class Rates(Protocol):
    """The buckets of all tenants."""

    async def take(self, tenant: str, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        """Take what is asked of a tenant's limits, all of it or, if one is refused, nothing.

        Buckets are kept in memory: after a restart of their host they are full.
        """
        ...


def estimated_tokens(request: GenerateRequest) -> float:
    """Return how many tokens a reply may take with its prompt, before either is known."""
    reply = request.sampling.max_tokens
    return estimated_length(request.prompt) + (REPLY_TOKENS if reply is None else reply)


def estimated_length(prompt: Prompt) -> float:
    """Return how many tokens a prompt may have, from its characters."""
    if isinstance(prompt, str):
        return len(prompt) / CHARACTERS_PER_TOKEN
    return sum(
        len(part.content) / CHARACTERS_PER_TOKEN if isinstance(part, Message) else 1.0 for part in prompt
    )
