# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""A module that was never trained changes nothing until it is told something, and can be trained."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from populace.adapters.memory.attached import AttachedMemory, MemoryPass
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.initial import initial_module
from populace.adapters.memory.layer import LayerWidths, MemoryShape

WIDTHS = LayerWidths(hidden=16, query=16)
ATTENTION = tuple(AttentionLayer(f"model.layers.{number}.self_attn", WIDTHS) for number in range(2))
IDS = torch.arange(12).view(1, 12)


def base() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(requires_grad=False)


def test_untold_it_is_the_base_and_the_loss_of_a_reader_reaches_every_parameter() -> None:
    model = base()
    plain = model(input_ids=IDS).logits
    memory = initial_module(model, ATTENTION, "base-1", MemoryShape(rank=4, alpha=8.0), seed=1)
    attached = AttachedMemory(model, memory, ATTENTION)
    everything = torch.ones_like(IDS, dtype=torch.bool)

    with attached.running(MemoryPass(list(memory.fresh_states(1)), ~everything)):
        untold = model(input_ids=IDS).logits
    with attached.running(MemoryPass(list(memory.fresh_states(1)), everything)) as told:
        model(input_ids=IDS)
    with attached.running(MemoryPass(told.states, ~everything)):
        reading = model(input_ids=IDS).logits
    reading.square().sum().backward()

    assert torch.equal(untold, plain)
    assert not torch.equal(reading, plain)
    still = [name for name, one in memory.named_parameters() if one.grad is None or not one.grad.any()]
    assert still == []


def test_the_seed_says_what_it_begins_as() -> None:
    model = base()
    first, again, other = (
        initial_module(model, ATTENTION, "base-1", MemoryShape(rank=4), seed=seed).pack()
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other
