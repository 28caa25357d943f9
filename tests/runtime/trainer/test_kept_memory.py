"""A job of a population that is served with a memory leaves what the memory reads where it was."""

from pathlib import Path

import pytest
import torch

from populace.actors.turn import ModelId
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.learning.anchors import anchor_sequences
from populace.learning.frozen_base import FrozenBase
from populace.learning.memory_inputs import MemoryInputs
from populace.learning.packed_row import Reading
from scripts.bench.random_module import random_module
from tests.runtime.trainer.trained_population import ADA, BASE, BOB, Trained

pytestmark = pytest.mark.engine


async def test_an_adapter_hardly_moves_what_the_memory_reads(small_base_f32: Path, tmp_path: Path) -> None:
    base = FrozenBase(small_base_f32, BASE, dtype=torch.float32)
    population = Trained(tmp_path / "store", small_base_f32, base)
    module = random_module(small_base_f32, BASE, MemoryShape(rank=4, gated=True, first_layer=1))
    path = tmp_path / "module.safetensors"
    path.write_bytes(module.pack())
    for model, memory_module in ((ADA, None), (BOB, path)):
        await population.teach(model)
        await population.ask(model)
        await population.training_loop(memory_module=memory_module).round()
    runs = population.runs()
    texts = anchor_sequences(runs.encoder)
    inputs = MemoryInputs(module, attention_layers(base.modules), base, texts)

    async def moved(model: ModelId) -> float:
        job = await population.job(model)
        assert job.state == "promoted", job.reason
        assert job.candidate is not None
        with torch.no_grad():
            [scored] = base.score([Reading(runs.read(job.candidate), texts)])
        return float(inputs.moved(scored.hidden, inputs.of_base(texts), []))

    assert await moved(BOB) < 0.5 * await moved(ADA)
    population.host.close()
