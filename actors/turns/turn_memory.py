"""The memory of one turn: how its request uses it, and what its reply leaves."""

from collections.abc import Sequence

from populace.actors.engine import MemoryUse, Message
from populace.actors.memory import Memory, MemoryChoice, MemoryOutcome, MemoryTrace


class TurnMemory:
    """The memory in one turn. ``messages`` are its prompt; the log has the first ``earlier`` of them.

    ``module`` is the digest of the memory module that the engine serves.
    """

    def __init__(
        self,
        memory: Memory,
        choice: MemoryChoice,
        messages: tuple[Message, ...],
        earlier: int,
        module: str,
    ) -> None:
        self._memory = memory
        self._choice = choice
        self._module = module
        self.use: MemoryUse | None = memory.use(choice, messages, earlier=earlier)

    def outcome(
        self, own: Sequence[Message], text: str, token_ids: Sequence[int], state: bytes | None
    ) -> MemoryOutcome:
        """Return what to store after the reply to the turn's ``own`` messages, which left ``state``.

        The digest of a turn that did not write is kept too: the turn must not be written later, when its
        client sends the conversation again.
        """
        written_from = None if self.use is None else self.use.new_from
        trace = MemoryTrace(
            read=self._choice.read,
            written_from=written_from,
            reply_ids=() if written_from is None else tuple(token_ids),
            module=self._module,
        )
        return MemoryOutcome(self._memory.after(own, text, state).pack(), trace)
