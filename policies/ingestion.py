"""Finds which messages of a prompt a model has already taken into its memory.

Clients send a whole conversation again and again, shortened, edited or continued elsewhere, and do not say
what is new. A model therefore keeps the digests of its latest turns, and all messages after the last known
turn are new.
"""

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

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


class Brought(NamedTuple):
    """What of a log a turn was the first to bring: the digests of earlier turns, and messages.

    ``earlier`` are turns that its client had elsewhere. ``messages`` are theirs and the turn's own, and
    system messages that no turn before had, wherever they stand.
    """

    earlier: tuple[bytes, ...]
    messages: tuple[RoleAndContent, ...]


def turns_in(messages: Sequence[RoleAndContent]) -> frozenset[bytes]:
    """Digest all turns in the messages: each ends with a reply."""
    return frozenset(digest for _, digest in _turns(messages))


def without_turns(messages: Sequence[RoleAndContent], forgotten: Container[bytes]) -> list[int]:
    """Return the indices of the messages that belong to no ``forgotten`` turn; system messages never do.

    Messages after the last reply are no turn yet and stay.
    """
    gone = {index for turn, digest in _turns(messages) if digest in forgotten for index in turn}
    return [index for index, (role, _) in enumerate(messages) if index not in gone or role == "system"]


def brought_by(log: Iterable[tuple[Sequence[RoleAndContent], str]]) -> list[Brought]:
    """Say of each turn in a log, given by its messages and its reply, what no turn before it had."""
    seen = set[bytes]()
    systems = set[str]()
    brought: list[Brought] = []
    for messages, reply in log:
        new = [(turn, digest) for turn, digest in _turns(messages) if digest not in seen]
        own = turn_start(messages)
        fresh = {
            index for index, (role, said) in enumerate(messages) if role == "system" and said not in systems
        }
        systems |= {messages[index][1] for index in fresh}
        spoken = {index for turn, _ in new for index in turn if messages[index][0] != "system"}
        indices = sorted(spoken | fresh | set(range(own, len(messages))))
        # A client that began the reply itself sends it back as one message, with its beginning or without.
        begun = messages[own - 1][1] if 0 < own == len(messages) else None
        answered = (
            [] if begun is None else [turn_digest(messages[:-1], text) for text in (reply, begun + reply)]
        )
        earlier = dict.fromkeys((*(digest for _, digest in new), *answered))
        brought.append(Brought(tuple(earlier), tuple(messages[index] for index in indices)))
        seen |= earlier.keys() | {turn_digest(messages, reply)}
    return brought


def _turns(messages: Sequence[RoleAndContent]) -> Iterator[tuple[range, bytes]]:
    """The indices and the digest of each turn in the messages, which ends with a reply."""
    start = 0
    for index, (role, content) in enumerate(messages):
        if role == "assistant":
            yield range(start, index + 1), turn_digest(messages[start:index], content)
            start = index + 1


def with_turn(known: Sequence[bytes], digest: bytes) -> tuple[bytes, ...]:
    """Add a turn as the newest; the oldest beyond ``TURNS_KNOWN_MAX`` are dropped."""
    return (*(earlier for earlier in known if earlier != digest), digest)[-TURNS_KNOWN_MAX:]


def turn_start(messages: Sequence[RoleAndContent]) -> int:
    """The index of the first message after the last reply."""
    replies = [index for index, (role, _) in enumerate(messages) if role == "assistant"]
    return replies[-1] + 1 if replies else 0
