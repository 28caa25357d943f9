"""A base of another architecture gets a memory module by the same commands, and is served with it."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
import torch
from typer.testing import CliRunner

from populace.actors.engine import Delta, GenerateRequest, MemoryUse, Message, OwnedEngine, Sampling, joined
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.module import MemoryModule
from populace.adapters.memory.state import StateFormat
from populace.base.prepare import prepare_base
from populace.cli.memory_module import app
from populace.engines.options import EngineOptions
from populace.settings.settings import Settings
from tests.runtime.engines.engines_under_test import both_engines
from tests.small_base import make_second_base

pytestmark = pytest.mark.engine

Rule = Literal["gated", "published"]

STEPS = 100
CONTEXT_TOKENS = 256
TELL = Message("user", "I moved to Lisbon last month, and my dog Bruno came with me.")
ASK = Message("user", "Where do I live?")


def memory(*arguments: object) -> None:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def second_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_second_base(tmp_path_factory.mktemp("second-base"), base_directory)


@pytest.fixture(
    scope="module", params=["gated", pytest.param("published", marks=pytest.mark.release("memory"))]
)
def rule(request: pytest.FixtureRequest) -> Rule:
    return request.param


@pytest.fixture(scope="module")
def module(second_base: Path, rule: Rule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The start is solved for, and a hundred steps are taken from it."""
    folder = tmp_path_factory.mktemp("module")
    made = folder / "module.safetensors"
    options = ("--gated", "--rank", 8, "--layer-step", 2) if rule == "gated" else ("--probe-batches", 20)
    train, others = folder / "train.jsonl", folder / "others.jsonl"
    base = ("--base", second_base)
    memory("corpus", train, "--own-words", "--episodes", 60, *base)
    memory("corpus", others, "--own-words", "--part", "held-out", "--episodes", 4, *base)
    steps = ("--steps", STEPS, "--validate-every", STEPS, "--batch", 2)
    memory("train", train, "--held-out", others, "--to", made, *base, *steps, *options)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(second_base: Path, module: Path) -> AsyncGenerator[dict[str, OwnedEngine]]:
    fingerprint = prepare_base(str(second_base), Settings.from_environment().cache).fingerprint
    options = EngineOptions(
        second_base, fingerprint, context_tokens=CONTEXT_TOKENS, dtype="float32", memory_module=module
    )
    async with both_engines(options) as engines:
        yield engines


async def turn(engine: OwnedEngine, message: Message, use: MemoryUse) -> Delta:
    request = GenerateRequest("turn", (message,), Sampling(max_tokens=6, temperature=0.0), memory=use)
    return joined([delta async for delta in engine.generate(request)])


def test_the_module_is_of_that_base_and_learned(second_base: Path, module: Path, rule: Rule) -> None:
    files = prepare_base(str(second_base), Settings.from_environment().cache)
    layers = attention_layers(read_base_modules(files.directory, files.fingerprint))

    read = MemoryModule.read(module, files.fingerprint, layers)

    assert len(layers) == 8
    assert {one.widths.query for one in layers} == {128}
    assert read.shape.gated == (rule == "gated")
    assert len(read.layers) == (3 if rule == "gated" else 8)
    assert all(bool(parameter.any()) for parameter in read.parameters())


@pytest.mark.asyncio(loop_scope="module")
async def test_both_engines_keep_the_same_of_a_turn_and_answer_alike(engines: dict[str, OwnedEngine]) -> None:
    told = {name: (await turn(engine, TELL, MemoryUse(None))).memory for name, engine in engines.items()}

    states = [torch.tensor(StateFormat.of(one).unpack(one)) for one in told.values() if one is not None]
    assert bool(states[0].any())
    torch.testing.assert_close(states[0], states[1], atol=1e-4, rtol=0)
    replies = [
        await turn(engine, ASK, MemoryUse(told["torch"], new_from=None)) for engine in engines.values()
    ]
    assert replies[0].token_ids == replies[1].token_ids
