"""Finds which messages of a prompt a model has already taken into its memory.

Clients send a whole conversation again and again, shortened, edited or continued elsewhere, and do not say
what is new. A model therefore keeps the digests of its latest turns, and all messages after the last known
turn are new.
"""

import hashlib
from collections.abc import Container, Sequence

DIGEST_BYTES = 8
"""The length of a turn's digest: two of a model's few hundred turns collide once in 10^14."""

TURNS_KNOWN_MAX = 512
"""A conversation that is resumed after this many turns in others is taken for a new one."""

RoleAndContent = tuple[str, str]


def turn_digest(messages: Sequence[RoleAndContent], reply: str) -> bytes:
    """Digest what a turn added: the messages after the last reply before, and its own reply.

    System messages are left out, since clients write the date and much else into them, and so is the
    white space around a message, which clients change.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    spoken = [*(content for role, content in messages[turn_start(messages) :] if role != "system"), reply]
    for content in spoken:
        encoded = content.strip().encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()


def first_new(messages: Sequence[RoleAndContent], known: Container[bytes]) -> int:
    """Return the index of the first message after the last turn that is ``known``; 0 if none is.

    The messages after the last reply are always new: something said twice is meant twice.
    """
    for index in reversed(range(len(messages))):
        role, content = messages[index]
        if role == "assistant" and turn_digest(messages[:index], content) in known:
            return index + 1
    return 0


def turns_in(messages: Sequence[RoleAndContent]) -> frozenset[bytes]:
    """Digest all turns in the messages: each ends with a reply."""
    replies = [index for index, (role, _) in enumerate(messages) if role == "assistant"]
    starts = [0, *(index + 1 for index in replies)]
    return frozenset(
        turn_digest(messages[start:stop], messages[stop][1])
        for start, stop in zip(starts, replies, strict=False)
    )


def without_turns(messages: Sequence[RoleAndContent], forgotten: Container[bytes]) -> list[int]:
    """Return the indices of the messages that belong to no ``forgotten`` turn; system messages never do.

    Messages after the last reply are no turn yet and stay.
    """
    kept: list[int] = []
    start = 0
    for index, (role, content) in enumerate(messages):
        if role != "assistant":
            continue
        turn = range(start, index + 1)
        is_forgotten = turn_digest(messages[start:index], content) in forgotten
        kept += [place for place in turn if not is_forgotten or messages[place][0] == "system"]
        start = index + 1
    return [*kept, *range(start, len(messages))]


def with_turn(known: Sequence[bytes], digest: bytes) -> tuple[bytes, ...]:
    """Add a turn as the newest; the oldest beyond ``TURNS_KNOWN_MAX`` are dropped."""
    return (*(earlier for earlier in known if earlier != digest), digest)[-TURNS_KNOWN_MAX:]


def turn_start(messages: Sequence[RoleAndContent]) -> int:
    """The index of the first message after the last reply."""
    replies = [index for index, (role, _) in enumerate(messages) if role == "assistant"]
    return replies[-1] + 1 if replies else 0
