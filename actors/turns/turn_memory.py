"""The memory of one turn: what its request uses of it, and what its reply leaves."""

from collections.abc import Sequence

from populace.actors.engine import MemoryUse, Message
from populace.actors.memory import Memory, MemoryOutcome, MemoryTrace
from populace.actors.turn import ChatRequest


class TurnMemory:
    """``earlier`` are the messages of the model's own log that the prompt begins with.

    ``module`` is the digest of the memory module that the engine serves.
    """

    def __init__(
        self, memory: Memory, request: ChatRequest, earlier: tuple[Message, ...], module: str
    ) -> None:
        self._memory = memory
        self._choice = request.memory
        self._module = module
        self._messages = earlier + request.messages
        self.use: MemoryUse | None = memory.use(request.memory, self._messages, earlier=len(earlier))

    def outcome(self, text: str, token_ids: Sequence[int], state: bytes | None) -> MemoryOutcome:
        """What to store after the reply that left ``state``.

        A turn that did not write is remembered all the same: it is not to be written later, when its
        client sends the conversation again.
        """
        written_from = None if self.use is None else self.use.new_from
        trace = MemoryTrace(
            read=self._choice.read,
            written_from=written_from,
            reply_ids=() if written_from is None else tuple(token_ids),
            module=self._module,
        )
        return MemoryOutcome(self._memory.after(self._messages, text, state).pack(), trace)
