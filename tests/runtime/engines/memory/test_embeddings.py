"""Embeddings of both engines in float32: the same numbers, whatever else runs.

vLLM's steps have fewer tokens than ``LONG``, and its cache fewer blocks than four of that.
"""

import asyncio
import math
from contextlib import aclosing
from typing import Any, cast

import pytest

from populace.actors.engine import AdapterRef, GenerateRequest, OwnedEngine, Prompt, Sampling
from populace.actors.errors import EngineUnavailable, InvalidRequest, TextTooLong
from populace.engines.torch_engine import TorchWorker
from populace.engines.vllm_embedder import together
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS
from tests.runtime.engines.engines_under_test import ENGINES
from tests.runtime.engines.memory.conftest import CONTEXT_TOKENS, PLACES

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

FRANCE = "The capital of France is"
FRANCE_IDS = (504, 3575, 282, 4649, 314)
LONG = tuple(100 + 137 * place % 20_000 for place in range(CONTEXT_TOKENS - 1))
"""Several of vLLM's steps and blocks; the longest prompt that is embedded."""
REPLY = Sampling(max_tokens=12, temperature=0.0, ignore_eos=True)
TOLERANCE = 1e-5


async def embedded(engine: OwnedEngine, *prompts: Prompt) -> list[tuple[float, ...]]:
    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        return [embedding.values for embedding in await engine.embed(prompts)]


async def test_the_engines_agree_on_prompts_of_any_length_and_keep_their_order(
    engines: dict[str, OwnedEngine],
) -> None:
    prompts = [LONG[:length] for length in (1, 31, 32, 33, 48, 49, 200, len(LONG), 2, 2, 7)]

    of_torch, of_vllm = [await embedded(engines[name], *prompts) for name in ENGINES]

    for one, other in zip(of_torch, of_vllm, strict=True):
        assert math.hypot(*other) == pytest.approx(1)
        assert other == pytest.approx(one, abs=TOLERANCE)


async def test_what_is_cached_of_a_prompt_is_in_its_embedding(engine: OwnedEngine) -> None:
    """A reply to the same prompt leaves its blocks in vLLM's cache, and so does an embedding."""
    first, again = await embedded(engine, LONG, LONG)
    async with aclosing(engine.generate(GenerateRequest("reply", LONG, Sampling(max_tokens=1)))) as deltas:
        assert [delta.prompt_tokens async for delta in deltas] == [len(LONG)]
    [after_a_reply] = await embedded(engine, LONG)

    assert again == pytest.approx(first, abs=TOLERANCE)
    assert after_a_reply == pytest.approx(first, abs=TOLERANCE)


async def test_it_is_the_bases_while_a_person_replies(
    engine: OwnedEngine, adapters: list[AdapterRef]
) -> None:
    [alone] = await embedded(engine, FRANCE)
    request = GenerateRequest("test", FRANCE, REPLY, adapters[0])

    async with aclosing(engine.generate(request)) as deltas:
        await anext(deltas)
        beside, by_tokens = await embedded(engine, FRANCE, FRANCE_IDS)
        engine.check_integrity()

    assert beside == pytest.approx(alone, abs=TOLERANCE)
    assert by_tokens == pytest.approx(alone, abs=TOLERANCE)


async def test_it_is_the_same_if_replies_take_its_blocks_meanwhile(engines: dict[str, OwnedEngine]) -> None:
    """Long replies need more blocks than there are: prompts that are read in pieces begin anew."""
    engine = engines["vllm"]
    [alone] = await embedded(engines["torch"], LONG)
    sampling = Sampling(max_tokens=250, temperature=0.0, ignore_eos=True)

    async def reply(number: int) -> int:
        request = GenerateRequest(f"{number}", LONG[number : number + 60], sampling, stream=False)
        return sum([len(delta.token_ids) async for delta in engine.generate(request)])

    replies = asyncio.gather(*map(reply, range(3)))
    of_all = await embedded(engine, *[LONG] * 12)

    assert await replies == [250] * 3
    for values in of_all:
        assert values == pytest.approx(alone, abs=TOLERANCE)


async def test_a_long_batch_leaves_places_to_replies_and_to_other_batches(
    engines: dict[str, OwnedEngine],
) -> None:
    engine, running = engines["vllm"], list[int]()
    batch = asyncio.create_task(embedded(engine, *[FRANCE_IDS] * 400))
    request = GenerateRequest("reply", FRANCE, REPLY)

    async with aclosing(engine.generate(request)) as deltas:
        async for _ in deltas:
            running.append(engine.statistics().running)
    [other] = await embedded(engine, FRANCE)
    was_done = batch.done()

    assert was_done is False
    assert max(running) == 1 + PLACES // 2
    assert all(values == pytest.approx(other, abs=TOLERANCE) for values in await batch)


async def test_a_cancelled_batch_leaves_nothing_in_the_engine(engine: OwnedEngine) -> None:
    batch = asyncio.create_task(embedded(engine, *[LONG] * 400))
    await embedded(engine, FRANCE)
    assert not batch.done()

    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch

    assert engine.statistics().running == 0
    engine.check_integrity()
    [after] = await embedded(engine, FRANCE)
    assert math.hypot(*after) == pytest.approx(1)


async def test_wrong_prompts_are_refused_and_nothing_stays(engine: OwnedEngine) -> None:
    for wrong, told in (((*LONG, 5), "Text 1 has"), ((10**9,), "Text 1: Token ids"), ((), "Text 1: ")):
        with pytest.raises(InvalidRequest, match=told) as refused:
            await engine.embed([FRANCE, wrong])
        assert refused.value.parameter == "input"


async def test_many_texts_and_one_that_is_too_long_let_others_be_read(engine: OwnedEngine) -> None:
    embedding = asyncio.create_task(engine.embed([FRANCE, "ten words " * 800_000]))
    with pytest.raises(TextTooLong) as refused:
        await embedding
    assert refused.value.prompt_tokens < 800_000, "a lower bound: it was not tokenised"

    batch = asyncio.create_task(engine.embed(["one two three " * 100] * 200))
    await asyncio.sleep(0)
    turns = 0
    while not engine.statistics().running and not batch.done():
        await asyncio.sleep(0)
        turns += 1
    batch.cancel()

    assert turns >= 200, "the event loop had its turn between two texts"


async def test_a_worker_that_was_closed_embeds_and_forgets_nothing_more() -> None:
    """The next prompt of a batch may come when its thread has ended already."""
    worker = TorchWorker(cast("Any", object), threads=1)
    worker.start()
    worker.close()

    for late in (worker.embed([5]), worker.forget("a" * 64)):
        async with asyncio.timeout(HANG_SECONDS):
            with pytest.raises(EngineUnavailable):
                await late


@pytest.mark.parametrize(
    ("lengths", "group"),
    [
        ([5], [5]),
        ([1, 1, 1, 1], [1, 1, 1]),
        ([6, 4, 1], [6, 4]),
        ([6, 5, 5], [6]),
        ([30, 2], [30]),
        ([2, 30], [2]),
    ],
    ids=str,
)
async def test_prompts_are_read_together_up_to_a_number_and_to_tokens(
    lengths: list[int], group: list[int]
) -> None:
    prompts = [[0] * length for length in (8, *lengths)]

    assert [len(ids) for ids in together(prompts, 1, count_max=3, tokens_max=10)] == group
