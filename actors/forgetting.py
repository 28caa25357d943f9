"""Forgetting turns: the request and its result, and a log without some of its turns.

A turn that was forgotten may be part of later ones: of the history that they were shown, of the messages that
their client sent again, of what was retrieved for them. There it is taken out, and the turns are named,
since their replies may repeat it: their person says whether those are to be forgotten too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

from populace.actors.context import context_digest
from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Feedback
from populace.actors.memory import MEMORY_ROLE
from populace.actors.repeated_words import same_words
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import Interaction, ModelId
from populace.policies.history import HISTORY_TURNS_MAX, is_same_conversation, with_history
from populace.policies.ingestion import (
    UNSPOKEN_ROLES,
    Brought,
    RoleAndContent,
    brought_by,
    turn_digest,
    turn_ends,
    turn_parts,
    turns_in,
    was_added,
    without_turns,
)
from populace.policies.retrieval import Exchange
from populace.storage.records import keys
from populace.storage.records.records import InteractionRecord
from populace.storage.rows.forgetting import FORGOTTEN_ROLE, redacted

MemoryAfter = Literal["folded", "emptied"]
"""What happens to the memory: it is folded again without the turns, or emptied where that is impossible."""

FORGET_ROLE = "forget"
"""The role of the single message of a turn that forgot others; the message says which."""

CONVERSATION_ROLE = "conversation"
"""The role of the single message of a turn that says what a client keeps with a conversation, as JSON."""

SAID_ROLES = frozenset({MEMORY_ROLE, FORGET_ROLE, FORGOTTEN_ROLE, CONVERSATION_ROLE})
"""The roles of the single message of turns in which nothing was said."""

TURNS_MAX = 256
"""At most this many turns are forgotten at once."""

FOUND_MAX = 16
"""Words must match at most this many turns, so that those can be forgotten by them."""

NEAREST_MAX = 5
"""If no turn has all of the words, this many of the nearest ones are returned."""

COMMON_SHARE = 0.25
"""A word in more than this share of the turns makes none of them near: "my" says nothing of a password."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten, or what was found if nothing was forgotten.

    ``position`` is that of the turn that records the forgetting, None without one. ``positions`` are the
    turns that it forgot, ``already`` those that were forgotten before. ``shown`` are later turns that were
    shown one of them, and ``repeated`` other turns with the same words: all of these are still there.
    ``revisions`` had learned from them and are gone, ``jobs`` are trainings that were cancelled, and
    ``aliases`` are those that moved, each with the revision that it names now, None for the base. ``memory``
    says what happened to the memory, None if there was none. ``found`` are the turns that have all of the
    words; if none has, ``near`` are those that fit them best. Turns that have all of the words only with
    system messages that an earlier turn brought are ``repeated``.
    """

    model: ModelId
    positions: tuple[int, ...] = ()
    already: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()
    revisions: tuple[str, ...] = ()
    jobs: tuple[int, ...] = ()
    aliases: tuple[tuple[str, str | None], ...] = ()
    memory: MemoryAfter | None = None
    position: int | None = None
    found: tuple[Interaction, ...] = ()
    near: tuple[Interaction, ...] = ()

    def __str__(self) -> str:
        if self.found and not self.positions:
            told = [f"{_turns(self.found_at)} {_be(self.found_at)} found. Nothing was forgotten."]
            return " ".join([*told, *self._repeats()])
        if self.near and not self.positions:
            near = _turns([turn.position for turn in self.near])
            return f"No turn has all of these words, and nothing was forgotten. Nearest: {near.lower()}."
        if not self.positions:
            if not self.already:
                return "Nothing was found, and nothing was forgotten."
            return f"{_turns(self.already)} {_be(self.already)} forgotten before."
        told = [f"{_turns(self.positions)} {_be(self.positions)} forgotten."]
        if self.shown:
            told.append(f"{_turns(self.shown)} {_be(self.shown)} shown that, and may repeat it.")
        return " ".join([*told, *self._repeats()])

    def __repr__(self) -> str:
        return f"<{self.model.name}: {self}>"

    def _repeats(self) -> list[str]:
        return [f"The same words are in {_turns(self.repeated).lower()}."] if self.repeated else []

    @property
    def found_at(self) -> tuple[int, ...]:
        return tuple(turn.position for turn in self.found)

    def message(self) -> Message:
        """The message that the log keeps of it: numbers and digests, and no words."""
        told = {name: value for name, value in asdict(self).items() if name in _LOGGED and value}
        return Message(FORGET_ROLE, json.dumps(told))

    @classmethod
    def of(cls, turn: Interaction) -> Self:
        """Read it from the turn that recorded it. Raises ``InvalidRequest`` for a turn of another kind."""
        if turn.messages[0].role != FORGET_ROLE:
            raise InvalidRequest("The operation id was used for another request.", "operation")
        return cls.told(turn.model, turn.messages[0].content, turn.position)

    @classmethod
    def told(cls, model: ModelId, text: str, position: int) -> Self:
        """Read it from the text of its message in the log."""
        told = json.loads(text)
        lists: dict[str, Any] = {name: tuple(value) for name, value in told.items() if name in _LISTS}
        aliases = tuple((alias, digest) for alias, digest in told.get("aliases", ()))
        return cls(model, **lists, aliases=aliases, memory=told.get("memory"), position=position)


_LISTS = frozenset({"positions", "already", "shown", "repeated", "revisions", "jobs"})
_LOGGED = _LISTS | {"aliases", "memory"}


class ClientForgetting(Protocol):
    """Finds and forgets turns. Methods raise ``ModelNotFound``, and what methods of ``Hosts`` raise."""

    async def find(self, model: ModelId, words: str) -> Forgotten:
        """Find the turns that have all of the words, or else those that fit them best; forgets nothing.

        Raises ``InvalidRequest`` without words, and if more than ``FOUND_MAX`` turns have them.
        """
        ...

    async def forget(
        self, model: ModelId, what: str | Sequence[int], operation: str, *, memory: MemoryAfter = "folded"
    ) -> Forgotten:
        """Forget turns, in a turn of its own: log, memory, and the revisions that learned from them.

        They are named by their positions, or by words that all of them have. What they were the first to
        bring goes with them, and turns in which nothing else was sent. A turn that is forgotten already
        stays so. Raises ``InteractionNotFound``, ``InvalidRequest`` for a turn in which nothing was said,
        what ``begin_turn`` raises, and if the memory is to be ``folded`` what ``Memories.show`` raises;
        nothing has changed then.
        """
        ...


class Forgetting(ClientForgetting, Protocol):
    """The same with the time that a turn may take."""

    async def forget(
        self,
        model: ModelId,
        what: str | Sequence[int],
        operation: str,
        *,
        memory: MemoryAfter = "folded",
        turn_seconds_max: float = 120.0,
    ) -> Forgotten: ...


class ShownTurns(NamedTuple):
    """A log without the turns at ``positions``. ``contexts`` has what remains of what was retrieved."""

    positions: frozenset[int]
    changed: dict[int, InteractionRecord]
    turns: tuple[bytes, ...]
    shown: tuple[int, ...]
    repeated: tuple[int, ...]
    contexts: dict[int, tuple[Exchange, ...] | None]


def _turns(positions: Sequence[int]) -> str:
    """Name turns in English, like "Turns 7, 9 and 12"."""
    said = [str(position) for position in positions]
    if len(said) == 1:
        return f"Turn {said[0]}"
    return f"Turns {', '.join(said[:-1])} and {said[-1]}"


def _be(positions: Sequence[int]) -> str:
    return "was" if len(positions) == 1 else "were"


def log_without(
    records: Sequence[InteractionRecord],
    positions: frozenset[int],
    contexts: Mapping[int, tuple[Exchange, ...] | None],
    given: Mapping[int, Sequence[Feedback]],
    *,
    now_ms: int,
) -> ShownTurns:
    """Take the turns out of the records of a whole log, which are in its order.

    With them goes what they were the first to bring, turns that their client had elsewhere, unless another
    turn here says it. A turn of which nothing is left, since its client sent nothing else, goes as well.
    ``contexts`` is what was retrieved for each turn with a retrieval, None where that is not known, and
    ``given`` the feedback on each turn that has any.
    """
    by_position = {record.position: record for record in records}
    brought = brought_in(records)
    positions, turns, kept = _gone_and_kept(records, positions, brought)
    gone = [by_position[position] for position in sorted(positions)]
    changed = {
        record.position: redacted(
            record,
            turn=turn_digest(record.messages, record.reply),
            operation=keys.operation_hash(record.operation),
            now_ms=now_ms,
        )
        for record in gone
    }
    shown: list[int] = []
    repeated: list[int] = []
    left = dict(contexts)
    is_same = same_words([brought[record.position].messages for record in gone])
    for place in kept:
        record = by_position[place]
        if place in left:
            left[place] = _context_without(left[place], positions)
        history = _history(record, by_position)
        after = _record_without(record, history, positions, kept, left.get(place))
        if after != record:
            changed[place] = after
        # Its history may have had one in the messages of another turn.
        if after != record or any(len(kept[one.position]) < len(one.messages) for one in history):
            shown.append(place)
        elif is_same(record, given.get(place, ())):
            repeated.append(place)
    return ShownTurns(positions, changed, turns, tuple(shown), tuple(repeated), left)


def brought_in(records: Sequence[InteractionRecord]) -> dict[int, Brought]:
    """Say of each turn in a log in which something was said what none before it had."""
    said = [
        record for record in records if record.forgotten is None and record.messages[0][0] not in SAID_ROLES
    ]
    brought = brought_by((record.messages, record.reply) for record in said)
    return {record.position: one for record, one in zip(said, brought, strict=True)}


def _gone_and_kept(
    records: Sequence[InteractionRecord], positions: frozenset[int], brought: Mapping[int, Brought]
) -> tuple[frozenset[int], tuple[bytes, ...], dict[int, list[int]]]:
    """Return the positions that go, the digests of what does, and which messages stay of each other turn."""
    by_position = {record.position: record for record in records}
    said = [record for record in records if record.position in brought]
    digests = {record.position: turn_digest(record.messages, record.reply) for record in said}
    said_at = {
        record.position: {digests[record.position], *_exchanges_added(record.messages)} for record in said
    }
    while True:
        # What another turn says as well was not forgotten.
        live = {digest for place, says in said_at.items() if place not in positions for digest in says}
        gone = sorted(positions)
        # The turns' own digests last: they are kept for longest.
        told = [
            *_parts_gone(said, positions, brought),
            *(turn for place in gone for turn in brought[place].earlier),
            *(digests[place] for place in gone),
        ]
        turns = dict.fromkeys(turn for turn in told if turn not in live)
        kept = {
            record.position: without_turns(record.messages, turns)
            for record in said
            if record.position not in positions
        }
        emptied = {
            record.position
            for record in said
            if record.position in kept and _is_emptied(record, kept[record.position], by_position, positions)
        }
        if emptied <= positions:
            return positions, tuple(turns), kept
        positions |= emptied


def _exchanges_added(messages: Sequence[RoleAndContent]) -> frozenset[bytes]:
    """Digest what was added by hand: a turn has others' exchanges in its messages, and this has its own."""
    return turns_in(messages) if was_added(messages) else frozenset()


def _is_emptied(
    record: InteractionRecord,
    left: Sequence[int],
    by_position: Mapping[int, InteractionRecord],
    positions: frozenset[int],
) -> bool:
    """Say whether nothing of the turn's own is ``left`` but results of tools whose calls are gone.

    The calls were in its messages, or were the reply of the turn before it.
    """
    roles = [record.messages[index][0] for index in left]
    if any(role not in (*UNSPOKEN_ROLES, TOOL_ROLE) for role in roles):
        return False
    if len(left) < len(record.messages):
        return True
    return TOOL_ROLE in roles and any(
        before.position in positions for before in _history(record, by_position)[:1]
    )


def _parts_gone(
    said: Sequence[InteractionRecord], positions: frozenset[int], brought: Mapping[int, Brought]
) -> list[bytes]:
    """Digest the parts of the turns that go, but those that another turn says as well.

    What a later turn has before its last message may be of the turns that go, and is no telling anew.
    """
    before, elsewhere = set[bytes](), set[bytes]()
    gone: list[bytes] = []
    for record in said:
        messages = brought[record.position].messages
        parts = turn_parts(messages, record.reply)
        if record.position in positions:
            gone += (part for part in parts if part not in before)
        else:
            before.update(parts)
            elsewhere |= turn_ends(messages, record.reply)
    return [part for part in gone if part not in elsewhere]


def _record_without(
    record: InteractionRecord,
    history: Sequence[InteractionRecord],
    positions: frozenset[int],
    kept: Mapping[int, Sequence[int]],
    context: tuple[Exchange, ...] | None,
) -> InteractionRecord:
    """Take the turns out of the history and the messages of a turn, and from what was retrieved for it.

    ``history`` are the earlier turns that it was shown, newest first. ``kept`` has the indices of the
    messages that stay, for each turn that stays.
    """
    changes: dict[str, object] = {}
    lost = sum(earlier.position in positions for earlier in history)
    if lost:
        changes["history_turns"] = record.history_turns - lost
    own = kept[record.position]
    if len(own) < len(record.messages):
        changes["messages"] = tuple(record.messages[index] for index in own)
    if record.memory_from is not None and len(history) == record.history_turns:
        # The first written message moves up by what is gone before it, also within its history. A turn
        # whose history was dropped is not replayed.
        earlier = (_stays(one, kept)[one.instructions :] for one in reversed(history))
        stays = with_history(earlier, _stays(record, kept), record.instructions)
        changes["memory_from"] = sum(stays[: record.memory_from])
    if positions & set(record.retrieved):
        changes["retrieved"] = tuple(position for position in record.retrieved if position not in positions)
        changes["context_digest"] = context_digest(context) if context is not None else b""
    return record.model_copy(update=changes) if changes else record


def _stays(record: InteractionRecord, kept: Mapping[int, Sequence[int]]) -> list[bool]:
    """Say of each message of a turn, and last of its reply if it has one, whether it stays."""
    own = kept.get(record.position)
    indices = range(len(record.messages))
    stays = [own is not None and index in own for index in indices]
    has_none = record.answer is None or was_added(record.messages)
    return stays if has_none else [*stays, own is not None]


def _history(
    record: InteractionRecord, by_position: Mapping[int, InteractionRecord]
) -> list[InteractionRecord]:
    """The kept earlier turns of the conversation that the turn was shown, newest first."""
    if record.conversation is None or record.history_turns == 0:
        return []
    earlier = range(record.position - 1, record.position - HISTORY_TURNS_MAX - 1, -1)
    found = (by_position[place] for place in earlier if place in by_position)
    same = [other for other in found if is_same_conversation(other.conversation, record.conversation)]
    return same[: record.history_turns]


def _context_without(
    context: tuple[Exchange, ...] | None, positions: frozenset[int]
) -> tuple[Exchange, ...] | None:
    return (
        None
        if context is None
        else tuple(exchange for exchange in context if exchange.position not in positions)
    )
