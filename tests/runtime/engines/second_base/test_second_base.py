"""A base of another architecture gets a memory module by the same commands, and is served with it."""

from pathlib import Path

import pytest
import torch

from populace.actors.engine import Delta, GenerateRequest, MemoryUse, Message, OwnedEngine, Sampling, joined
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.module import MemoryModule
from populace.adapters.memory.state import StateFormat
from populace.base.prepare import prepare_base
from populace.settings.settings import Settings
from tests.runtime.engines.second_base.conftest import Rule
from tests.runtime.engines.test_architectures import assert_served_as_it_is_trained

pytestmark = [pytest.mark.engine, pytest.mark.release("memory")]

TELL = Message("user", "I moved to Lisbon last month, and my dog Bruno came with me.")
ASK = Message("user", "Where do I live?")


async def turn(engine: OwnedEngine, message: Message, use: MemoryUse) -> Delta:
    request = GenerateRequest("turn", (message,), Sampling(max_tokens=6, temperature=0.0), memory=use)
    return joined([delta async for delta in engine.generate(request)])


def test_the_module_is_of_that_base_and_learned(base_directory: Path, module: Path, rule: Rule) -> None:
    files = prepare_base(str(base_directory), Settings.from_environment().cache)
    layers = attention_layers(read_base_modules(files.directory, files.fingerprint))

    read = MemoryModule.read(module, files.fingerprint, layers)

    assert len(layers) == 8
    assert {one.widths.query for one in layers} == {128}
    assert read.shape.gated == rule.gated
    assert len(read.layers) == (3 if rule.gated else 8)
    assert all(bool(parameter.any()) for parameter in read.parameters())


@pytest.mark.asyncio(loop_scope="session")
async def test_both_engines_keep_the_same_of_a_turn_and_answer_alike(engines: dict[str, OwnedEngine]) -> None:
    told = {name: (await turn(engine, TELL, MemoryUse(None))).memory for name, engine in engines.items()}

    states = [torch.tensor(StateFormat.of(one).unpack(one)) for one in told.values() if one is not None]
    assert bool(states[0].any())
    torch.testing.assert_close(states[0], states[1], atol=1e-4, rtol=0)
    replies = [
        await turn(engine, ASK, MemoryUse(told["torch"], new_from=None)) for engine in engines.values()
    ]
    assert replies[0].token_ids == replies[1].token_ids


@pytest.mark.asyncio(loop_scope="session")
async def test_both_engines_serve_an_adapter_as_it_is_trained(
    engines: dict[str, OwnedEngine], base_directory: Path, tmp_path: Path
) -> None:
    for engine in engines.values():
        await assert_served_as_it_is_trained(engine, base_directory, tmp_path)
