"""Finds which messages of a prompt a model has already taken into its memory.

Clients send a whole conversation again and again, shortened, edited or continued elsewhere, and do not say
what is new. A model therefore keeps the digests of its latest turns, and all messages after the last known
turn are new.
"""

import hashlib
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

DIGEST_BYTES = 8
"""The length of a turn's digest: two of a model's few hundred turns collide once in 10^14."""

TURNS_KNOWN_MAX = 512
"""A conversation that is resumed after this many turns in others is taken for a new one."""

UNANSWERED_MAX = 8
"""A turn is looked for behind at most this many messages before it that have no reply."""

ADDED_ROLE = "added"
"""The role of the first message, which is empty, of a turn whose other messages were put into a conversation
by hand: no model replied to them, so its reply is none."""

UNSPOKEN_ROLES = frozenset({"system", ADDED_ROLE})
"""The roles of messages that are no part of what a turn says."""

RoleAndContent = tuple[str, str]


def turn_digest(messages: Sequence[RoleAndContent], reply: str) -> bytes:
    """Digest what a turn added: the messages after the last reply before, and its own reply.

    System messages are left out, since clients write the date and much else into them.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    spoken = [
        *(content for role, content in messages[turn_start(messages) :] if role not in UNSPOKEN_ROLES),
        reply,
    ]
    for content in spoken:
        encoded = plain_text(content).encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.digest()


def turn_parts(messages: Sequence[RoleAndContent], reply: str) -> tuple[bytes, ...]:
    """Digest each message of the person alone, and each reply alone.

    By these a turn is known of which a client left the reply out, or cut off what came before it.
    """
    said = (_part(role, content) for role, content in messages if role in ("user", "assistant"))
    return (*said, turn_digest((), reply))


def turn_ends(messages: Sequence[RoleAndContent], reply: str) -> frozenset[bytes]:
    """Digest what was certainly said in these turns: replies, each with the last message before it.

    A message before that may be of an earlier turn whose reply a client left out, and a reply to nothing of
    one whose beginning it cut off.
    """
    runs = [*(turn for turn, _ in _turns(messages)), range(turn_start(messages), len(messages))]
    last = [[messages[index] for index in run if messages[index][0] == "user"][-1:] for run in runs]
    replies = [*(content for role, content in messages if role == "assistant"), reply]
    answered = (pair for pair in zip(last, replies, strict=True) if pair[0])
    parts = (turn_parts(said, text) for said, text in answered)
    return frozenset((*(part for pair in parts for part in pair), turn_digest((), reply)))


def plain_text(content: str) -> str:
    """A text in one of the forms that mean the same: clients change ends of lines, accents and margins."""
    return unicodedata.normalize("NFC", content.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _part(role: str, content: str) -> bytes:
    if role == "assistant":
        return turn_digest((), content)
    said = plain_text(content).encode()
    return hashlib.blake2b(said, digest_size=DIGEST_BYTES, person=b"said alone").digest()


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
    """Return the indices of the messages that belong to no ``forgotten`` turn.

    System messages never do, nor does the mark of what was added by hand.

    Messages after the last reply are no turn yet. Of them, and of those before another reply, all but the
    last are of earlier turns whose reply was left out, if such a message is ``forgotten`` by itself. So are
    those before the messages that are a ``forgotten`` turn with the reply: they had none.
    """
    gone = _unanswered(messages, range(turn_start(messages), len(messages)), forgotten)
    for turn, digest in _turns(messages):
        earlier = _unanswered(messages, turn[:-1], forgotten)
        rest = [messages[index] for index in turn[:-1] if index not in earlier]
        reply = messages[turn[-1]][1]
        if digest in forgotten or turn_digest(rest, reply) in forgotten:
            gone |= set(turn)
            continue
        gone |= earlier
        for first in turn[1:-1][-UNANSWERED_MAX:]:
            begins = messages[first][0] == "user"
            if begins and turn_digest(messages[first : turn[-1]], reply) in forgotten:
                gone |= set(range(first, turn.stop))
                break
    return [index for index, (role, _) in enumerate(messages) if index not in gone or role in UNSPOKEN_ROLES]


def _unanswered(
    messages: Sequence[RoleAndContent], run: Sequence[int], forgotten: Container[bytes]
) -> set[int]:
    """The messages of the person in a run without a reply that are ``forgotten``, but never its last one."""
    spoken = [index for index in run if messages[index][0] != "system"]
    return {
        index
        for index in spoken[:-1]
        if messages[index][0] == "user" and _part(*messages[index]) in forgotten
    }


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


def shown_later(
    messages: Sequence[RoleAndContent], reply: str | None, instructions: int
) -> tuple[RoleAndContent, ...]:
    """Return what later turns of its conversation are shown: not its instructions, and its reply if any."""
    replied = () if reply is None or was_added(messages) else (("assistant", reply),)
    return (*messages[instructions:], *replied)


def was_added(messages: Sequence[RoleAndContent]) -> bool:
    """Say whether the messages were put into a conversation by hand."""
    return messages[0][0] == ADDED_ROLE


def turn_start(messages: Sequence[RoleAndContent]) -> int:
    """The index of the first message after the last reply."""
    replies = [index for index, (role, _) in enumerate(messages) if role == "assistant"]
    return replies[-1] + 1 if replies else 0
