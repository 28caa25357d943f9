"""The memories of personal models: the protocol for callers, and the values that it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from populace.actors.known import SURE_MIN, Known
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import Interaction, ModelId
from populace.storage.records.records import InteractionRecord


class MemoryWrite(NamedTuple):
    """A turn that wrote into the memory. ``messages`` counts the request's messages that were written."""

    position: int
    created_ms: int
    messages: int
    reply_tokens: int


@dataclass(frozen=True, slots=True)
class MemoryView:
    """A personal model's memory. ``version`` counts the turns that passed through it.

    ``state`` is the engine's packed state, None if nothing was ever written. ``writes`` are the newest
    writes that the log still has, newest first.
    """

    model: ModelId
    version: int
    state: bytes | None
    writes: tuple[MemoryWrite, ...]


class ClientMemories(Protocol):
    """Reads and sets memories, for the models of a host or of the whole population. Raises as ``Hosts``."""

    async def show(self, model: ModelId, position: int | None = None) -> MemoryView:
        """Read the model's memory state after ``[0, position)``, and its newest writes before it.

        ``position`` None means the last commit. Raises ``InvalidRequest`` for a position that the log does
        not keep.
        """
        ...

    async def restore(self, model: ModelId, position: int | None, operation: str) -> Interaction:
        """Set the memory to what it was after ``[0, position)``, in a turn of its own; None empties it.

        Raises as ``show`` and ``begin_turn``; nothing has changed then.
        """
        ...

    async def known(
        self, model: ModelId, questions: Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        """Return what the model knows about its person; no turn is logged for it, and none waits.

        Without ``questions`` it is what the model answered when it was asked last. If something was said,
        corrected or learned since, it is asked anew in the background; ``wait`` waits for that. ``questions``
        are asked now, and the answers are not kept.

        Where its log has a correction of the answer or a turn that tells it, it is asked as in a chat, and
        else with its memory and its adapter alone. Facts that are less certain than ``sure_min`` are left
        out. Raises ``InvalidRequest`` for too many or too long questions, and as ``peek``.
        """
        ...


def writes_in(records: Sequence[InteractionRecord]) -> tuple[MemoryWrite, ...]:
    """List what the turns wrote, newest first. For a turn with a history, all of its own messages count.

    ``memory_from`` counts from the history on, whose length the record does not tell.
    """
    return tuple(
        MemoryWrite(
            position=record.position,
            created_ms=record.created_ms,
            messages=sum(
                role not in ("system", TOOL_ROLE)
                for role, _ in record.messages[0 if record.history_turns else record.memory_from :]
            ),
            reply_tokens=len(record.reply_ids),
        )
        for record in reversed(records)
        if record.memory_from is not None
    )


class Memories(ClientMemories, Protocol):
    """The same with the time that a turn may take."""

    async def restore(
        self, model: ModelId, position: int | None, operation: str, *, turn_seconds_max: float = 120.0
    ) -> Interaction: ...
