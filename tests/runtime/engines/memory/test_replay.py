"""Random turns, through a host and each engine: the log says every one of their memories again.

On a small random base in float32. With the reference engine, alone in its batch, the states are the same
to the bit. vLLM reads a reply that is said again as a prompt and not token by token, which rounds otherwise.
"""

import random
from pathlib import Path

import numpy as np
import pytest

from populace.actors.engine import Message, OwnedEngine, Sampling
from populace.actors.errors import PromptTooLong
from populace.actors.host.model_host import ModelHost
from populace.actors.memory import MemoryChoice
from populace.actors.turn import ChatRequest, ModelId, TurnRequest
from populace.adapters.memory.state import StateFormat, Values
from populace.settings.clock import SystemClock
from populace.storage.store import Store
from tests.runtime.engines.engines_under_test import ENGINES

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

ADA = ModelId("acme", "ada")
TOLERANCE = {"torch": 0.0, "vllm": 1e-4}


def values(packed: bytes | None) -> Values | None:
    return None if packed is None else StateFormat.of(packed).unpack(packed)


@pytest.mark.parametrize("turns", [50, pytest.param(200, marks=pytest.mark.release("memory"))])
@pytest.mark.parametrize("kind", ENGINES)
async def test_the_log_says_every_memory_again(
    engines: dict[str, OwnedEngine], kind: str, turns: int, tmp_path: Path
) -> None:
    serving = engines[kind]
    host = ModelHost(
        "host",
        Store.create_or_open(tmp_path / "store", 1),
        [0],
        base=serving.base.fingerprint,
        clock=SystemClock(),
        engine=serving,
    )
    try:
        await host.create_model(ADA)
        states = [values((await host.memories.show(ADA)).state)]
        source = random.Random(5)
        histories: list[list[Message]] = [[] for _ in range(3)]
        for number in range(turns):
            await _random_turn(host, source, histories, number)
            states.append(values((await host.memories.show(ADA)).state))

        assert sum(state is not None for state in states) > turns // 2
        for position in sorted(source.sample(range(turns + 1), 24)):
            again, told = values((await host.memories.show(ADA, position)).state), states[position]
            if told is None or again is None:
                assert told is again is None
            else:
                np.testing.assert_allclose(again, told, atol=TOLERANCE[kind], rtol=0)
        host.check_integrity()
        serving.check_integrity()
    finally:
        host.close()


async def _random_turn(
    host: ModelHost, source: random.Random, histories: list[list[Message]], number: int
) -> None:
    """A turn of one of three conversations, some of which begin anew, or of the one that the model keeps."""
    words = " ".join(source.choice(("city", "dog", "red", "Rome", "is", "my", "seven")) for _ in range(5))
    sampling = Sampling(max_tokens=source.randint(1, 6), temperature=1.0, seed=number)
    choice = MemoryChoice(read=source.random() < 0.9, write=source.random() < 0.9)
    kept = source.random() < 0.3
    history = source.choice(histories)
    if len(history) > 6:
        history.clear()
    messages = (*(() if kept else history), Message("user", words))
    turn = TurnRequest(ADA, f"op-{number}", b"body", history_of="main" if kept else None)
    reply = await host.chat(ChatRequest(turn, messages, sampling, memory=choice))
    if not kept:
        history += [Message("user", words), Message("assistant", reply.reply)]


@pytest.mark.parametrize("kind", ENGINES)
async def test_a_turn_longer_than_the_context_leaves_the_memory_as_it_was(
    engines: dict[str, OwnedEngine], kind: str, tmp_path: Path
) -> None:
    serving = engines[kind]
    store = Store.create_or_open(tmp_path / "store", 1)
    host = ModelHost("host", store, [0], base=serving.base.fingerprint, clock=SystemClock(), engine=serving)
    try:
        await host.create_model(ADA)
        told = (Message("user", "My city is Rome."),)
        await host.chat(ChatRequest(TurnRequest(ADA, "op-1", b""), told, Sampling(max_tokens=3)))
        before = await host.memories.show(ADA)
        long = (Message("user", "and on " * 400),)
        with pytest.raises(PromptTooLong):
            await host.chat(ChatRequest(TurnRequest(ADA, "op-2", b""), long, Sampling(max_tokens=3)))
        assert await host.memories.show(ADA) == before
    finally:
        host.close()
