# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch is partly untyped.
"""A tiny base of each supported architecture is served with an adapter as the trainer reads it."""

from pathlib import Path

import pytest
import torch

from populace.actors.engine import AdapterRef, GenerateRequest, Message, OwnedEngine, Sampling
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.architectures import SUPPORTED
from populace.engines.options import EngineOptions
from populace.engines.prompts import BaseTokenizer
from populace.engines.torch_engine import TorchEngine
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import Reading
from populace.storage.packed.adapter import PackedAdapter
from tests.runtime.engines.engines_under_test import vllm_engine
from tests.small_base import copy_tokenizer
from tests.tiny_bases import make_tiny_base

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64
VOCABULARY = 49152
ASK = (Message("user", "Where do I live, and with whom, since when?"),)
TOKENS = 6


def adapter_of(base: FrozenBase) -> TrainableAdapter:
    """An adapter that changes what is said."""
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=8), "uniform", seed=0)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for layer in adapter.layers.values():
            layer.b.copy_(torch.randn(layer.b.shape, generator=generator) * 0.1)
    return adapter


async def said_by(engine: OwnedEngine, adapter: AdapterRef | None) -> tuple[list[int], list[float]]:
    sampling = Sampling(max_tokens=TOKENS, temperature=0.0, logprobs=1)
    request = GenerateRequest("test", ASK, sampling, adapter, False)
    deltas = [delta async for delta in engine.generate(request)]
    tokens = [token for delta in deltas for token in delta.token_ids]
    return tokens, [entry.logprob for delta in deltas for entry in delta.logprobs]


def read_by(
    base: FrozenBase, prompt: list[int], reply: list[int], adapter: TrainableAdapter | None
) -> list[float]:
    """The log-probabilities of the reply's tokens as the trainer has them."""
    sequence = TrainSequence((*prompt, *reply), (0.0,) * len(prompt) + (1.0,) * len(reply))
    with torch.no_grad():
        [scored] = base.score([Reading(adapter, [sequence])])
    return scored.log_probs.gather(1, torch.tensor(reply)[:, None])[:, 0].tolist()


async def assert_served_as_it_is_trained(engine: OwnedEngine, folder: Path, scratch: Path) -> None:
    """The engine, started on this base, says it and an adapter with the trainer's probabilities."""
    fingerprint = engine.base.fingerprint
    base = FrozenBase(folder, fingerprint, dtype=torch.float32)
    adapter = adapter_of(base)
    packed = PackedAdapter(memoryview(adapter.pack(fingerprint, torch.float32)))
    file = scratch / f"{packed.digest}.adapter"
    file.write_bytes(packed.data)
    prompt = (await BaseTokenizer(folder).tokens(ASK, None)).ids

    for own, ref in ((None, None), (adapter, AdapterRef(packed.digest, str(file)))):
        reply, told = await said_by(engine, ref)

        assert told == pytest.approx(read_by(base, prompt, reply, own), abs=2e-3), own is None


def options_for(architecture: str, base_files: Path, folder: Path) -> EngineOptions:
    """Write a tiny base of this architecture; returns how to start an engine on it."""
    make_tiny_base(folder, architecture, vocabulary=VOCABULARY)
    copy_tokenizer(base_files, folder)
    return EngineOptions(folder, FINGERPRINT, context_tokens=256, dtype="float32", adapter_slots=2)


@pytest.mark.parametrize("architecture", sorted(SUPPORTED))
async def test_torch_serves_an_adapter_as_it_is_trained(
    architecture: str, base_files: Path, tmp_path: Path
) -> None:
    options = options_for(architecture, base_files, tmp_path / "base")
    engine = await TorchEngine.start(options)
    try:
        await assert_served_as_it_is_trained(engine, options.base_directory, tmp_path)
    finally:
        await engine.close()


@pytest.mark.release("engines")
@pytest.mark.parametrize(
    "architecture", [name for name, one in sorted(SUPPORTED.items()) if not one.has_experts]
)
async def test_vllm_serves_an_adapter_as_it_is_trained(
    architecture: str, base_files: Path, tmp_path: Path
) -> None:
    """Those that vLLM serves on a processor; CI does the same with Qwen3 in ``second_base``."""
    options = options_for(architecture, base_files, tmp_path / "base")
    async with vllm_engine(options) as engine:
        await assert_served_as_it_is_trained(engine, options.base_directory, tmp_path)
