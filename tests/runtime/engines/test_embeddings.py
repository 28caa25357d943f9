"""Embeddings of the torch engine, on the real base model."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from populace.actors.engine import AdapterRef, GenerateRequest, Sampling
from populace.actors.errors import EngineUnavailable, InvalidRequest, PromptTooLong
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

FRANCE = "The capital of France is"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(base_directory: Path) -> AsyncGenerator[TorchEngine]:
    options = EngineOptions(base_directory, "fingerprint", 64, dtype="float32", threads=1, adapter_slots=2)
    engine = await TorchEngine.start(options)
    yield engine
    await engine.close()


async def test_an_embedding_is_the_mean_of_the_last_hidden_states(
    engine: TorchEngine, base_directory: Path
) -> None:
    load: Any = AutoModelForCausalLM
    tokenizer: Any = cast("Any", AutoTokenizer).from_pretrained(str(base_directory))
    model: Any = load.from_pretrained(str(base_directory), dtype=torch.float32).eval()
    with torch.inference_mode():
        hidden: Any = model.model(**tokenizer(FRANCE, return_tensors="pt")).last_hidden_state[0].mean(0)

    [embedding] = await engine.embed([FRANCE])

    assert embedding.tokens == 5
    assert embedding.values == pytest.approx((hidden / hidden.norm()).tolist(), abs=1e-5)


async def test_it_is_the_bases_while_a_person_replies(
    engine: TorchEngine, adapters: list[AdapterRef]
) -> None:
    [alone] = await engine.embed([FRANCE])
    sampling = Sampling(max_tokens=12, temperature=0.0, ignore_eos=True)
    request = GenerateRequest("test", FRANCE, sampling, adapters[0])

    async with aclosing(engine.generate(request)) as deltas:
        await anext(deltas)
        [beside, by_tokens] = await engine.embed([FRANCE, (504, 3575, 282, 4649, 314)])
        engine.check_integrity()

    assert beside.values == pytest.approx(alone.values, abs=1e-5)
    assert by_tokens.values == pytest.approx(alone.values, abs=1e-5)


async def test_wrong_prompts_are_refused_and_nothing_stays(engine: TorchEngine) -> None:
    with pytest.raises(PromptTooLong):
        await engine.embed([FRANCE, "word " * 100])
    with pytest.raises(InvalidRequest):
        await engine.embed([(10**9,)])

    assert engine.statistics().running == 0


async def test_a_closed_engine_embeds_nothing(base_directory: Path) -> None:
    options = EngineOptions(base_directory, "fingerprint", 64, threads=1)
    engine = await TorchEngine.start(options)
    await engine.close()

    with pytest.raises(EngineUnavailable):
        await engine.embed([FRANCE])
