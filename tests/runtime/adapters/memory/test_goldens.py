# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors' and transformers' functions are partly untyped.
"""What the published code computed for a small Qwen3, this computes too (arXiv 2605.12357)."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from populace.adapters.memory.attached import AttachedMemory, MemoryPass
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.layer import LayerWidths, MemoryShape
from populace.adapters.memory.module import MemoryModule

GOLDENS = Path(__file__).parent / "goldens"
TOLERANCE = 1e-4
LAYERS = 3
NAMES = {
    "query": "memory_q_proj",
    "key": "memory_k_proj",
    "value": "memory_v_proj",
    "rate": "beta_proj",
    "rate_bias": "beta_bias",
    "delta_query": "delta_q_proj",
    "delta_output": "delta_o_proj",
}
"""Ours, and the published code's."""


class Golden(NamedTuple):
    """A file's tensors, and the model and memory module that it is of."""

    tensors: dict[str, torch.Tensor]
    model: PreTrainedModel
    memory: MemoryModule
    attention: tuple[AttentionLayer, ...]

    def states(self) -> list[torch.Tensor]:
        return [self.tensors[f"out.state.model.layers.{number}.self_attn"] for number in range(LAYERS)]


@pytest.fixture(params=["tsw", "msw", "ssw"])
def golden(request: pytest.FixtureRequest) -> Golden:
    with safe_open(str(GOLDENS / f"{request.param}.safetensors"), framework="pt") as file:
        metadata: dict[str, Any] = {
            key: json.loads(value) for key, value in file.metadata().items() if key != "model_type"
        }
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = Qwen3ForCausalLM(Qwen3Config(**metadata["config"])).eval()
    weights = {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("base.")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert (set(missing) - {"lm_head.weight"}, unexpected) == (set(), [])
    model.tie_weights()
    told = metadata["memory"]
    shape = MemoryShape(
        rank=told["rank"],
        alpha=told["alpha"],
        states=told["state_heads"],
        writes="token" if told["granularity"] == "token" else "message",
        heads="qo",
    )
    widths = LayerWidths(hidden=48, query=64)
    attention = tuple(AttentionLayer(f"model.layers.{n}.self_attn", widths) for n in range(LAYERS))
    memory = MemoryModule(shape, (widths,) * LAYERS, "golden")
    memory.load_state_dict(
        {
            f"layers.{number}.{ours}": tensors[f"memory.{number}.{theirs}"]
            for number in range(LAYERS)
            for ours, theirs in NAMES.items()
        }
    )
    return Golden(tensors, model, memory, attention)


def test_a_write_pass_answers_the_published_logits_and_states(golden: Golden) -> None:
    ids, mask = golden.tensors["in.write_ids"], golden.tensors["in.write_mask"]
    attached = AttachedMemory(golden.model, golden.memory, golden.attention)
    fresh = list(golden.memory.fresh_states(len(ids)))

    with (
        torch.no_grad(),
        attached.running(MemoryPass(fresh, mask.bool(), golden.tensors["in.message_ids"])) as done,
    ):
        logits = golden.model(input_ids=ids, attention_mask=mask).logits

    wanted = golden.tensors["out.write_logits"]
    torch.testing.assert_close(logits[mask.bool()], wanted[mask.bool()], atol=TOLERANCE, rtol=0)
    for state, told in zip(done.states, golden.states(), strict=True):
        torch.testing.assert_close(state.reshape(told.shape), told, atol=TOLERANCE, rtol=0)


def test_a_read_pass_in_an_empty_context_answers_the_published_logits(golden: Golden) -> None:
    ids = golden.tensors["in.read_ids"]
    told = [state.reshape(2, -1, 8, 8) for state in golden.states()]
    attached = AttachedMemory(golden.model, golden.memory, golden.attention)
    nobody = torch.zeros_like(ids, dtype=torch.bool)

    with torch.no_grad(), attached.running(MemoryPass(list(told), nobody, torch.zeros_like(ids))) as done:
        logits = golden.model(input_ids=ids).logits

    torch.testing.assert_close(logits, golden.tensors["out.read_logits"], atol=TOLERANCE, rtol=0)
    assert all(torch.equal(after, before) for after, before in zip(done.states, told, strict=True))


def test_outside_of_a_pass_and_with_an_empty_state_the_model_is_the_base(golden: Golden) -> None:
    ids = golden.tensors["in.read_ids"]
    with torch.no_grad():
        base = golden.model(input_ids=ids).logits
        attached = AttachedMemory(golden.model, golden.memory, golden.attention)
        idle = golden.model(input_ids=ids).logits
        fresh = list(golden.memory.fresh_states(len(ids)))
        nobody = torch.zeros_like(ids, dtype=torch.bool)
        with attached.running(MemoryPass(fresh, nobody, torch.zeros_like(ids))):
            empty = golden.model(input_ids=ids).logits
        attached.detach()
        after = golden.model(input_ids=ids).logits

    assert torch.equal(idle, base)
    assert torch.equal(empty, base)
    assert torch.equal(after, base)
