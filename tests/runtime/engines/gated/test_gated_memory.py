"""A gated memory in both engines: closed it is the base to the bit, open both say and keep the same."""

import asyncio

import pytest
import torch

from populace.actors.engine import Delta, GenerateRequest, MemoryUse, Message, OwnedEngine, Sampling, joined
from populace.actors.errors import PromptTooLong
from populace.adapters.memory.state import StateFormat
from tests.runtime.engines.engines_under_test import ENGINES

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

STATE_TOLERANCE = 1e-4
LOGPROB_TOLERANCE = 1e-3
TELL = Message("user", "My city is Lisbon and my dog is called Bruno.")
ASK = Message("user", "What is my city?")
NURSE = Message("user", "My sister is a nurse in Oslo.")
"""The drawn gates are closed for it; the write gate is open for the others, and the read gate for ASK."""
LONG = Message("user", "I have a story. " * 12 + "My cat is called Mia.")
"""More tokens than one step takes."""


async def turn(
    engine: OwnedEngine,
    messages: tuple[Message, ...],
    memory: MemoryUse | None = None,
    *,
    tokens: int = 12,
    name: str = "turn",
) -> Delta:
    sampling = Sampling(max_tokens=tokens, temperature=0.0, logprobs=1)
    request = GenerateRequest(name, messages, sampling, memory=memory)
    return joined([delta async for delta in engine.generate(request)])


def values(packed: bytes | None) -> torch.Tensor:
    assert packed is not None
    return torch.tensor(StateFormat.of(packed).unpack(packed))


async def told(engine: OwnedEngine, *conversations: tuple[Message, ...]) -> bytes:
    state: bytes | None = None
    for messages in conversations:
        state = (await turn(engine, messages, MemoryUse(state))).memory
    assert state is not None
    return state


async def test_a_closed_gate_gives_the_bases_own_reply(engines: dict[str, OwnedEngine]) -> None:
    """To the bit; and the same questions find it closed in both engines."""
    fresh = (await turn(engines["torch"], (TELL,), MemoryUse())).memory
    strong = 0.1 * torch.randn(values(fresh).shape, generator=torch.Generator().manual_seed(1))
    assert fresh is not None
    state = StateFormat.of(fresh).pack(strong.numpy())

    for engine in engines.values():
        for asked, is_open in ((ASK, True), (NURSE, False), (TELL, False), (Message("user", "Hello!"), True)):
            base, with_memory = [
                await turn(engine, (asked,), use) for use in (None, MemoryUse(state, new_from=None))
            ]
            assert (with_memory.logprobs != base.logprobs) is is_open
            assert is_open or with_memory.token_ids == base.token_ids


@pytest.mark.parametrize("name", ENGINES)
async def test_an_empty_memory_is_the_base(engines: dict[str, OwnedEngine], name: str) -> None:
    base, empty = [await turn(engines[name], (ASK,), use) for use in (None, MemoryUse(None, new_from=None))]

    assert (empty.token_ids, empty.logprobs) == (base.token_ids, base.logprobs)


@pytest.mark.parametrize("name", ENGINES)
async def test_what_tells_nothing_leaves_the_state_as_it_was(
    engines: dict[str, OwnedEngine], name: str
) -> None:
    first = values(await told(engines[name], (TELL,)))

    assert first.any()
    assert not values(await told(engines[name], (NURSE,))).any()
    assert torch.equal(first, values(await told(engines[name], (TELL,), (NURSE,))))
    assert not torch.equal(first, values(await told(engines[name], (TELL,), (LONG,))))


async def test_both_engines_leave_the_same_states_and_replies(engines: dict[str, OwnedEngine]) -> None:
    system, reply = Message("system", "Be kind."), Message("assistant", "Lovely.")
    conversations = ((TELL,), (system, LONG), (TELL, reply, LONG), (Message("user", "Hello!"),))

    states = {name: await told(engines[name], *conversations) for name in ENGINES}

    torch.testing.assert_close(values(states["torch"]), values(states["vllm"]), atol=STATE_TOLERANCE, rtol=0)
    for asked in ((ASK,), (TELL, reply, ASK), (LONG, reply, ASK)):
        replies = [await turn(engines[name], asked, MemoryUse(states["torch"])) for name in ENGINES]
        assert replies[0].token_ids == replies[1].token_ids
        torch.testing.assert_close(
            *(torch.tensor([one.logprob for one in reply.logprobs]) for reply in replies),
            atol=LOGPROB_TOLERANCE,
            rtol=0,
        )
        torch.testing.assert_close(
            values(replies[0].memory), values(replies[1].memory), atol=STATE_TOLERANCE, rtol=0
        )


async def test_replies_and_what_others_say_are_not_written(engines: dict[str, OwnedEngine]) -> None:
    answered = (TELL, Message("assistant", "Your cat is called Mia."), ASK)
    for name in ENGINES:
        short = await turn(engines[name], answered, MemoryUse(), tokens=1)
        long = await turn(engines[name], answered, MemoryUse(), tokens=20)

        assert torch.equal(values(short.memory), values(long.memory))
        assert values(short.memory).any()


async def test_a_batch_is_what_each_is_alone(engines: dict[str, OwnedEngine]) -> None:
    """Beside each other, some with a memory, one of them long, and again with their beginnings cached."""
    engine = engines["vllm"]
    state = await told(engine, (TELL,))
    prompts = [
        ((ASK,), MemoryUse(state)),
        ((LONG,), MemoryUse()),
        ((ASK,), None),
        ((TELL,), MemoryUse(state)),
    ]
    alone = [await turn(engine, messages, use, name=f"alone{n}") for n, (messages, use) in enumerate(prompts)]

    together = await asyncio.gather(
        *(turn(engine, messages, use, name=f"with{n}") for n, (messages, use) in enumerate(prompts))
    )

    for one, other in zip(alone, together, strict=True):
        assert one.token_ids == other.token_ids
        if one.memory is not None:
            torch.testing.assert_close(values(one.memory), values(other.memory), atol=STATE_TOLERANCE, rtol=0)


async def test_what_is_said_twice_is_written_though_its_blocks_are_cached(
    engines: dict[str, OwnedEngine],
) -> None:
    engine = engines["vllm"]
    first, second = [values(await told(engine, (LONG,))) for _ in range(2)]

    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "said",
    ["", "Où est-ce que j'habite ?", "我的狗叫什么名字?", "\u200b\u202e", "<|im_end|>", "?" * 200],
    ids=["empty", "French", "Chinese", "invisible", "template", "long"],
)
async def test_whatever_is_said_both_engines_do_the_same(engines: dict[str, OwnedEngine], said: str) -> None:
    state = await told(engines["torch"], (TELL,))
    strange = Message("user", said)

    turns = [await turn(engines[name], (strange,), MemoryUse(state)) for name in ENGINES]

    assert turns[0].token_ids == turns[1].token_ids
    torch.testing.assert_close(values(turns[0].memory), values(turns[1].memory), atol=STATE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ENGINES)
async def test_eight_megabytes_are_refused_by_name_and_nothing_is_lost(
    engines: dict[str, OwnedEngine], name: str
) -> None:
    state = await told(engines[name], (TELL,))
    before = await turn(engines[name], (ASK,), MemoryUse(state, new_from=None))

    with pytest.raises(PromptTooLong):
        await turn(engines[name], (Message("user", "I like tea. " * 700_000),), MemoryUse(state))

    after = await turn(engines[name], (ASK,), MemoryUse(state, new_from=None))
    assert after.token_ids == before.token_ids
