"""The memory that a personal model keeps of its δ-mem from turn to turn, and what a turn does with it.

It is a fold over the interaction log: each turn takes the memory that the previous turn left, reads it while
it generates, and leaves the next. Only the engine interprets the state; here it is bytes.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from populace.actors.engine import MemoryUse, Message
from populace.actors.errors import MemoryStateInvalid
from populace.policies.ingestion import DIGEST_BYTES, first_new, turn_digest, with_turn

_HEADER = struct.Struct("<4sI")
_MAGIC = b"PMM1"


MEMORY_ROLE = "memory"
"""The role of the single message of a turn that set the memory back; it says to which position."""

_AS_OF = re.compile(r"as of (?:the beginning|position ([0-9]{1,19}))")


class MemoryChoice(NamedTuple):
    """Whether a turn reads the memory, and whether it writes what is new in it."""

    read: bool = True
    write: bool = True


BOTH = MemoryChoice()


class MemoryTrace(NamedTuple):
    """What a turn did with the memory, as recorded in the log: enough to replay it.

    ``written_from`` is the first message of the prompt, history included, that was written; None if
    none was. If one was, ``reply_ids`` are the reply's tokens. ``module`` is the digest of the memory module.
    ``is_set``: the turn set the memory instead of folding over it.
    """

    read: bool
    written_from: int | None
    reply_ids: tuple[int, ...] = ()
    module: str | None = None
    is_set: bool = False


class MemoryOutcome(NamedTuple):
    """The result of a turn: the packed ``Memory`` to store, and the trace for the log."""

    payload: bytes
    trace: MemoryTrace


@dataclass(frozen=True, slots=True)
class Memory:
    """An engine's state (None: empty), and the digests of the latest turns, oldest first.

    The digests are of all turns, also of those that did not write: these must not be written later either.
    """

    state: bytes | None = None
    turns: tuple[bytes, ...] = ()

    @classmethod
    def unpack(cls, payload: bytes | None) -> Self:
        """Decode the result of ``pack``; None is the memory of a model without turns.

        Raises:
            MemoryStateInvalid: the payload is damaged.
        """
        if payload is None:
            return cls()
        if len(payload) < _HEADER.size:
            raise MemoryStateInvalid("it is truncated")
        magic, length = _HEADER.unpack_from(payload)
        digests = payload[_HEADER.size + length :]
        if magic != _MAGIC or _HEADER.size + length > len(payload) or len(digests) % DIGEST_BYTES:
            raise MemoryStateInvalid("it is damaged")
        state = payload[_HEADER.size : _HEADER.size + length] or None
        turns = (digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES))
        return cls(state, tuple(turns))

    def pack(self) -> bytes:
        state = self.state or b""
        return _HEADER.pack(_MAGIC, len(state)) + state + b"".join(self.turns)

    def use(self, choice: MemoryChoice, messages: Sequence[Message], *, earlier: int) -> MemoryUse | None:
        """Return how a turn uses the memory; the first ``earlier`` messages are from the model's own log.

        Returns None if the turn neither reads nor writes.
        """
        if not (choice.read or choice.write):
            return None
        # By itself: the messages before may end with one that has no reply, which is no part of its turns.
        new_from = earlier + first_new(messages[earlier:], frozenset(self.turns))
        return MemoryUse(self.state, choice.read, new_from if choice.write else None)

    def after(self, own: Sequence[Message], reply: str, state: bytes | None) -> Self:
        """The memory after a turn that left ``state``; None means that it did not write.

        It is known by its ``own`` messages: those before may have no reply, and a client that sends the turn
        again need not have them.
        """
        digest = turn_digest(own, reply)
        return type(self)(state if state is not None else self.state, with_turn(self.turns, digest))


def restoring(position: int | None) -> Message:
    """Return the message of a turn that sets the memory to that after ``[0, position)``; None empties it."""
    return Message(MEMORY_ROLE, "as of the beginning" if position is None else f"as of position {position}")


def restored(text: str) -> int | None:
    """Read the position from the text of such a message. Raises ``ValueError`` for another text."""
    found = _AS_OF.fullmatch(text)
    if found is None:
        raise ValueError("it names no position")
    return None if found[1] is None else int(found[1])
