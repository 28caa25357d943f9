# pyright: reportUnknownMemberType=false
# torch's loading functions are partly untyped.
"""The memory in the dtype that is served: the compiled step of vLLM's worker against the torch engine.

On the whole base; ``bfloat16/test_memory.py`` has the same on a tiny one.
"""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
import torch

from populace.actors.engine import AdapterRef, MemoryUse, Message, OwnedEngine
from populace.engines.options import EngineOptions
from scripts.bench.random_module import random_module
from tests.runtime.engines.engines_under_test import both_engines
from tests.runtime.engines.memory.test_memory import TELL, turn, values

pytestmark = [
    pytest.mark.engine,
    pytest.mark.release("memory"),
    pytest.mark.asyncio(loop_scope="module"),
]

RELATIVE = 0.05
"""Of a state's norm. Both engines round each projection to 8 bits, in other orders of their sums."""


@pytest.fixture(scope="module")
def base_directory(base_files: Path) -> Path:
    """The whole base, for whose rounding the bounds are."""
    return base_files


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(
    base_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[dict[str, OwnedEngine]]:
    path = tmp_path_factory.mktemp("memory") / "module.safetensors"
    path.write_bytes(random_module(base_directory, "fingerprint").pack(torch.bfloat16))
    options = EngineOptions(
        base_directory, "fingerprint", context_tokens=512, sequences_max=4, memory_module=path
    )
    async with both_engines(options) as engines:
        yield engines


def assert_alike(one: bytes | None, other: bytes | None) -> None:
    first, second = values(one), values(other)
    assert torch.linalg.vector_norm(first - second) < RELATIVE * torch.linalg.vector_norm(first)


async def test_a_reply_said_again_leaves_the_same_state_token_by_token(
    engines: dict[str, OwnedEngine],
) -> None:
    """vLLM writes the reply as it chooses it, torch reads it again."""
    told = await turn(engines["vllm"], TELL, MemoryUse())
    again = await turn(engines["torch"], TELL, MemoryUse(), reply_ids=told.token_ids)

    assert len(told.token_ids) > 8
    assert_alike(again.memory, told.memory)


async def test_a_batch_with_an_adapter_and_the_base_is_what_each_is_alone(
    engines: dict[str, OwnedEngine], adapters: list[AdapterRef]
) -> None:
    adapter = adapters[2]
    other = (Message("user", "I am a nurse in Oslo, and I have two cats."),)
    first = (await turn(engines["torch"], TELL, MemoryUse())).memory

    replies = await asyncio.gather(
        turn(engines["vllm"], TELL, MemoryUse(), name="new"),
        turn(engines["vllm"], other, MemoryUse(first), name="known"),
        turn(engines["vllm"], other, MemoryUse(first), adapter=adapter, name="adapter"),
        turn(engines["vllm"], other, name="base"),
    )

    asked = ((TELL, None, None), (other, first, None), (other, first, adapter))
    for reply, (prompt, state, used) in zip(replies, asked, strict=False):
        again = await turn(
            engines["torch"], prompt, MemoryUse(state), adapter=used, reply_ids=reply.token_ids
        )
        assert_alike(again.memory, reply.memory)
    assert replies[3].memory is None
