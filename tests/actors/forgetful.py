"""A model that is told things to forget, with a memory whose state is what was read and written, in order."""

import contextlib
import hashlib
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import EngineUnavailable
from populace.actors.forgetting import Forgotten, MemoryAfter
from populace.actors.host.model_host import ModelHost
from populace.actors.memory import MemoryChoice
from populace.actors.turn import ChatRequest, Interaction, ModelId, TurnRequest
from populace.policies.retrieval import Retrieval
from tests.actors.fakes import BASE, ScriptedEngine

ADA = ModelId("acme", "ada")
MODULE = "m" * 64
LOST = "lost"
"""What begins so gets no reply."""


async def remembering(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    """Leave a digest of the state, of all that was read, and of which of it was new; fail if so told."""
    contents = _contents(request)
    if contents[-1].startswith(LOST):
        raise EngineUnavailable("it died")
    ids = request.reply_ids or tuple(map(ord, f"I heard: {contents[-1]}"))
    state: bytes | None = None
    if request.memory is not None and request.memory.new_from is not None:
        read = repr((request.memory.state, request.memory.new_from, contents, ids))
        state = hashlib.sha256(read.encode()).digest()
    yield Delta("".join(map(chr, ids)), ids, 7, finish_reason="stop", memory=state)


def _contents(request: GenerateRequest) -> list[str]:
    prompt = request.prompt
    return (
        [prompt] if isinstance(prompt, str) else [one.content for one in prompt if isinstance(one, Message)]
    )


def engine(module: str | None = MODULE) -> ScriptedEngine:
    one = ScriptedEngine(remembering)
    one.base = BASE._replace(memory_module=module)
    return one


@dataclass
class Ada:
    """Talks to ada in a conversation that the model keeps, or in one that the client sends whole."""

    host: ModelHost
    sent: tuple[Message, ...] = ()
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def say(
        self,
        text: str,
        *,
        conversation: str | None = None,
        retrieve: int = 0,
        sends_history: bool = False,
        write: bool = True,
        operation: str | None = None,
    ) -> Interaction:
        said = Message("user", text)
        messages = (*self.sent, said) if sends_history else (said,)
        turn = TurnRequest(
            ADA,
            operation or f"op-{next(self.numbers)}",
            hashlib.sha256(text.encode()).digest(),
            history_of=conversation,
            retrieval=Retrieval.of(messages, retrieve),
        )
        choice = MemoryChoice(write=write)
        made = await self.host.chat(ChatRequest(turn, messages, Sampling(), memory=choice))
        if sends_history:
            self.sent = (*messages, Message("assistant", made.reply))
        return made

    async def lose(
        self, text: str, *, conversation: str | None = None, sends_history: bool = False
    ) -> Interaction:
        """Say something that gets no reply; a client that sends its history leaves it out there."""
        with contextlib.suppress(EngineUnavailable):
            await self.say(f"{LOST} {text}", conversation=conversation, sends_history=sends_history)
        return (await self.log())[-1]

    async def forget(
        self, *positions: int, operation: str | None = None, memory: MemoryAfter = "folded"
    ) -> Forgotten:
        operation = operation or f"op-{next(self.numbers)}"
        return await self.host.forgetting.forget(ADA, positions, operation, memory=memory)

    async def state(self, position: int | None = None) -> bytes | None:
        return (await self.host.memories.show(ADA, position)).state

    async def log(self) -> tuple[Interaction, ...]:
        start = (await self.host.show_model(ADA)).log_start
        return await self.host.read_log(ADA, start=start, limit=10_000)
