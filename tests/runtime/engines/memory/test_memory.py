"""A memory in both engines: the same turns leave the same replies and states.

In float32; the states of the two engines differ by rounding alone.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import (
    AdapterRef,
    Delta,
    GenerateRequest,
    MemoryUse,
    Message,
    OwnedEngine,
    Prompt,
    Sampling,
    joined,
)
from populace.actors.errors import MemoryStateInvalid, MemoryStateMismatch
from populace.actors.turns.choices import generate_choices
from populace.adapters.memory.state import StateFormat
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from scripts.bench.random_module import random_module
from tests.runtime.engines.engines_under_test import ENGINES
from tests.runtime.engines.memory.conftest import BLOCK_TOKENS, BLOCKS, FINGERPRINT

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

GREEDY = Sampling(max_tokens=16, temperature=0.0)
TELL = (Message("user", "My city is Lisbon and my dog is called Bruno."),)
ASK = (Message("user", "What is my city?"),)
STATE_TOLERANCE = 1e-4


async def turn(
    engine: OwnedEngine,
    prompt: Prompt,
    memory: MemoryUse | None = None,
    *,
    sampling: Sampling = GREEDY,
    adapter: AdapterRef | None = None,
    reply_ids: tuple[int, ...] | None = None,
    name: str = "turn",
    keeps_to: str = "",
) -> Delta:
    request = GenerateRequest(
        name, prompt, sampling, adapter, memory=memory, reply_ids=reply_ids, keeps_to=keeps_to
    )
    return joined([delta async for delta in engine.generate(request)])


def values(packed: bytes | None) -> torch.Tensor:
    assert packed is not None
    return torch.tensor(StateFormat.of(packed).unpack(packed))


async def test_a_written_state_is_the_same_in_both_engines(engines: dict[str, OwnedEngine]) -> None:
    told = {name: await turn(engines[name], TELL, MemoryUse()) for name in ENGINES}

    assert told["torch"].token_ids == told["vllm"].token_ids
    states = [values(told[name].memory) for name in ENGINES]
    torch.testing.assert_close(states[0], states[1], atol=STATE_TOLERANCE, rtol=0)
    assert states[0].abs().amax(dim=(1, 2, 3)).min() > 0.001


async def test_a_state_that_is_read_changes_the_reply_alike(engines: dict[str, OwnedEngine]) -> None:
    told = await turn(engines["torch"], TELL, MemoryUse())
    use = MemoryUse(told.memory, new_from=None)
    asked = {name: await turn(engines[name], ASK, use) for name in ENGINES}

    assert asked["torch"].token_ids == asked["vllm"].token_ids
    assert asked["torch"].memory is asked["vllm"].memory is None
    assert asked["torch"].text != (await turn(engines["torch"], ASK)).text


async def test_what_was_computed_under_one_state_is_not_found_under_another(
    engines: dict[str, OwnedEngine],
) -> None:
    """A prompt of several blocks, read under two states in turn, and again when its blocks are cached."""
    told = (await turn(engines["torch"], TELL, MemoryUse())).memory
    assert told is not None
    # Strong ones: what a random module remembers is a whisper after a long prompt.
    states = [StateFormat.of(told).pack((strength * values(told)).numpy()) for strength in (8.0, -8.0)]
    asked = (Message("user", "Once upon a time there was a king. " * 10 + "What is my city?"),)

    expected = [await turn(engines["torch"], asked, MemoryUse(state, new_from=None)) for state in states]
    assert expected[0].prompt_tokens > 3 * BLOCK_TOKENS
    assert expected[0].token_ids != expected[1].token_ids
    for index in (0, 1, 0, 1):
        found = await turn(engines["vllm"], asked, MemoryUse(states[index], new_from=None))
        assert found.token_ids == expected[index].token_ids
        written = await turn(engines["vllm"], asked, MemoryUse(states[index]))
        assert written.token_ids != expected[1 - index].token_ids


async def test_a_state_that_is_not_read_changes_nothing_but_is_written(
    engines: dict[str, OwnedEngine],
) -> None:
    told = await turn(engines["torch"], TELL, MemoryUse())
    for name in ENGINES:
        blind = await turn(engines[name], ASK, MemoryUse(told.memory, read=False))

        assert blind.token_ids == (await turn(engines[name], ASK)).token_ids
        assert not torch.equal(values(blind.memory), values(told.memory))


async def test_messages_before_the_new_ones_are_not_written_again(engines: dict[str, OwnedEngine]) -> None:
    """Twice the same history in the prompt leaves what the new message alone leaves, on its tokens."""
    told = await turn(engines["torch"], TELL, MemoryUse())
    history = (*TELL, Message("assistant", "Nice to meet you."), *ASK)
    states = {
        (name, new_from): values(
            (await turn(engines[name], history, MemoryUse(told.memory, new_from=new_from))).memory
        )
        for name in ENGINES
        for new_from in (0, 2)
    }

    for new_from in (0, 2):
        torch.testing.assert_close(
            states["torch", new_from], states["vllm", new_from], atol=STATE_TOLERANCE, rtol=0
        )
    assert not torch.allclose(states["torch", 0], states["torch", 2], atol=1e-2)


async def test_a_seed_means_the_same_for_a_prompt_that_is_read_in_pieces(
    engines: dict[str, OwnedEngine],
) -> None:
    """The second time its beginning is in the cache, and what is left is read at once."""
    asked = (Message("user", "Once upon a time there was a king. " * 20 + "What was his name?"),)
    warm = Sampling(max_tokens=12, temperature=1.0, seed=11)
    for name in ENGINES:
        pieces = await turn(engines[name], asked, sampling=warm)
        whole = await turn(engines[name], asked, sampling=warm)

        assert pieces.prompt_tokens > 3 * BLOCK_TOKENS
        assert pieces.token_ids == whole.token_ids


async def test_no_choice_sees_what_another_writes(engines: dict[str, OwnedEngine]) -> None:
    """Each leaves the state that it would have left alone."""
    warm = Sampling(max_tokens=8, temperature=1.0, seed=3)
    start = (await turn(engines["torch"], TELL, MemoryUse())).memory
    for name in ENGINES:
        request = GenerateRequest("choices", ASK, warm, memory=MemoryUse(start))
        deltas = [delta async for delta in generate_choices(engines[name], request, 3)]
        together = [joined([one for one in deltas if one.choice == choice]) for choice in range(3)]
        alone = [
            await turn(engines[name], ASK, MemoryUse(start), sampling=replace(warm, seed=3 + choice))
            for choice in range(3)
        ]

        assert [one.token_ids for one in together] == [one.token_ids for one in alone]
        assert len({one.token_ids for one in together}) == 3
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(values(one.memory), values(other.memory), atol=STATE_TOLERANCE, rtol=0)


async def test_a_batch_of_all_kinds_is_what_each_is_alone(
    engines: dict[str, OwnedEngine], adapters: list[AdapterRef]
) -> None:
    """With and without a memory, other states, readers, an adapter, and the base, side by side."""
    first = (await turn(engines["torch"], TELL, MemoryUse())).memory
    second = (await turn(engines["torch"], ASK, MemoryUse())).memory
    long = Sampling(max_tokens=40, temperature=0.0, ignore_eos=True)
    asked: list[tuple[Prompt, MemoryUse | None, AdapterRef | None]] = [
        (TELL, MemoryUse(first), None),
        (ASK, None, None),
        (ASK, MemoryUse(first, new_from=None), None),
        (ASK, MemoryUse(second), adapters[0]),
        (TELL, MemoryUse(second, read=False), None),
        ((*TELL, Message("assistant", "Fine."), *ASK), MemoryUse(None, new_from=2), None),
    ]

    async def all_of(name: str, *, together: bool) -> list[Delta]:
        turns = [
            turn(engines[name], prompt, use, sampling=long, adapter=adapter, name=f"{name}-{index}")
            for index, (prompt, use, adapter) in enumerate(asked)
        ]
        return list(await asyncio.gather(*turns)) if together else [await one for one in turns]

    alone = await all_of("torch", together=False)
    for name in ENGINES:
        for one, other in zip(alone, await all_of(name, together=True), strict=True):
            assert one.token_ids == other.token_ids
            if one.memory is None:
                assert other.memory is None
            else:
                torch.testing.assert_close(
                    values(one.memory), values(other.memory), atol=STATE_TOLERANCE, rtol=0
                )


@pytest.mark.parametrize("keeps_to", ["", "Lisbon is the city of Bruno, and Bruno is the dog of Lisbon."])
async def test_a_preempted_reply_leaves_the_state_of_one_that_was_not(
    engines: dict[str, OwnedEngine], keeps_to: str
) -> None:
    """Four replies of 120 tokens need more blocks than there are: some begin anew, from their start."""
    long = Sampling(max_tokens=120, temperature=0.0, ignore_eos=True)
    first = (await turn(engines["torch"], TELL, MemoryUse())).memory

    async def reply(name: str) -> Delta:
        use = MemoryUse(first)
        return await turn(engines["vllm"], TELL, use, sampling=long, name=name, keeps_to=keeps_to)

    alone = await reply("alone")
    assert 4 * (alone.prompt_tokens + 120) > BLOCKS * BLOCK_TOKENS
    together = await asyncio.gather(*(reply(f"{number}") for number in range(4)))

    for one in together:
        assert one.token_ids == alone.token_ids
        torch.testing.assert_close(values(one.memory), values(alone.memory), atol=STATE_TOLERANCE, rtol=0)


async def test_a_reply_that_a_stop_string_ends_leaves_the_state_before_its_last_token(
    engines: dict[str, OwnedEngine],
) -> None:
    free = await turn(engines["torch"], TELL, MemoryUse())
    stop = free.text.split()[3]
    for name in ENGINES:
        stopped = await turn(engines[name], TELL, MemoryUse(), sampling=replace(GREEDY, stop=(stop,)))
        again = await turn(engines["torch"], TELL, MemoryUse(), reply_ids=stopped.token_ids)

        assert len(stopped.token_ids) < len(free.token_ids)
        torch.testing.assert_close(values(stopped.memory), values(again.memory), atol=STATE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_is_ended_as_a_loop_leaves_the_state_before_its_last_token(
    engines: dict[str, OwnedEngine], stream: bool
) -> None:
    plain = await turn(engines["torch"], TELL, MemoryUse())
    looping = replace(
        GREEDY, max_tokens=200, ignore_eos=True, ends_degenerate=True, allowed_token_ids=plain.token_ids[:1]
    )
    for name in ENGINES:
        request = GenerateRequest("loop", TELL, looping, memory=MemoryUse(), stream=stream)
        ended = joined([delta async for delta in engines[name].generate(request)])
        again = await turn(engines["torch"], TELL, MemoryUse(), reply_ids=ended.token_ids)

        assert ended.finish_reason == "repetition"
        assert len(ended.token_ids) < 200
        torch.testing.assert_close(values(ended.memory), values(again.memory), atol=STATE_TOLERANCE, rtol=0)


async def test_a_reply_said_again_leaves_the_same_state(engines: dict[str, OwnedEngine]) -> None:
    sampled = Sampling(max_tokens=30, temperature=1.0, seed=11)
    told = await turn(engines["torch"], TELL, MemoryUse(), sampling=sampled)
    again = {name: await turn(engines[name], TELL, MemoryUse(), reply_ids=told.token_ids) for name in ENGINES}

    assert again["torch"].memory == told.memory, "bit-equal on the reference engine, alone in its batch"
    torch.testing.assert_close(
        values(again["vllm"].memory), values(told.memory), atol=STATE_TOLERANCE, rtol=0
    )
    assert again["torch"].text == again["vllm"].text == told.text


async def test_a_cancelled_reply_leaves_nothing_behind(engines: dict[str, OwnedEngine]) -> None:
    long = Sampling(max_tokens=200, temperature=0.0, ignore_eos=True)
    calm = await turn(engines["vllm"], TELL, MemoryUse())
    for engine in engines.values():
        for attempt in range(20):
            request = GenerateRequest(f"cancelled-{attempt}", TELL, long, memory=MemoryUse())
            deltas = engine.generate(request)
            await anext(deltas)
            await deltas.aclose()
    after = await turn(engines["vllm"], TELL, MemoryUse())

    torch.testing.assert_close(values(after.memory), values(calm.memory), atol=STATE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_state_of_another_module_is_refused_by_name(
    engines: dict[str, OwnedEngine], name: str
) -> None:
    told = StateFormat.of((await turn(engines[name], TELL, MemoryUse())).memory or b"")
    foreign = told._replace(module="ab" * 32)

    with pytest.raises(MemoryStateMismatch, match="abababababab"):
        await turn(engines[name], TELL, MemoryUse(foreign.pack(foreign.empty())))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_state_that_is_not_finite_is_refused(
    engines: dict[str, OwnedEngine], name: str, value: float
) -> None:
    packed = (await turn(engines[name], TELL, MemoryUse())).memory
    assert packed is not None
    damaged = packed[:-4] + torch.tensor([value]).numpy().tobytes()

    with pytest.raises(MemoryStateInvalid, match="NaN or infinity"):
        await turn(engines[name], TELL, MemoryUse(damaged))
    with pytest.raises(MemoryStateInvalid, match="bytes"):
        await turn(engines[name], TELL, MemoryUse(packed[:-4]))


@pytest.mark.parametrize("name", ENGINES)
async def test_a_state_that_could_poison_the_cache_is_refused(
    engines: dict[str, OwnedEngine], name: str
) -> None:
    """NaN in one request's key-value blocks reaches the next one that gets those blocks."""
    packed = (await turn(engines[name], TELL, MemoryUse())).memory
    assert packed is not None
    huge = packed[:-4] + torch.tensor([3e38]).numpy().tobytes()

    with pytest.raises(MemoryStateInvalid, match="beyond"):
        await turn(engines[name], TELL, MemoryUse(huge))


async def test_a_reply_that_leaves_a_damaged_state_fails(base_directory: Path, tmp_path: Path) -> None:
    module = random_module(base_directory, FINGERPRINT)
    with torch.no_grad():
        module.layer(1).value.mul_(1e6)
    path = tmp_path / "module.safetensors"
    path.write_bytes(module.pack())
    options = EngineOptions(base_directory, FINGERPRINT, context_tokens=128, threads=1, memory_module=path)
    engine = await TorchEngine.start(options)
    try:
        with pytest.raises(MemoryStateInvalid, match="beyond"):
            await turn(engine, TELL, MemoryUse())
        assert (await turn(engine, TELL, MemoryUse(new_from=None))).text
        assert engine.statistics().running == 0
    finally:
        await engine.close()
