# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""A closed gate is the base, whatever the memory holds; an open one reads at the reply and nowhere else."""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from populace.actors.errors import MemoryModuleInvalid
from populace.adapters.memory.attached import AttachedMemory, MemoryPass
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gated_layer import AFTER_DECAY
from populace.adapters.memory.header import EARLIER_FORMATS
from populace.adapters.memory.layer import LayerWidths, MemoryShape
from populace.adapters.memory.module import MemoryModule

LAYERS = 4
WIDTHS = LayerWidths(hidden=16, query=16)
ATTENTION = tuple(AttentionLayer(f"model.layers.{number}.self_attn", WIDTHS) for number in range(LAYERS))
SHAPE = MemoryShape(rank=4, alpha=4.0, gated=True, first_layer=1, layer_step=2)
IDS = torch.arange(12).view(1, 12)
MESSAGES = torch.tensor([[-1, -1, 0, 0, 0, 0, -1, 1, 1, 1, 1, 1]])
"""Two messages of the person; the prompt ends with the second."""


def base() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=WIDTHS.hidden,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(requires_grad=False)


MODEL = base()
PLAIN: Any = MODEL(input_ids=IDS, output_hidden_states=True)


def module(seed: int, *, read: float = 0.0, write: float = 0.0) -> MemoryModule:
    """A drawn module, its gates' biases set far to one side where they are not 0."""
    memory = MemoryModule(SHAPE, (WIDTHS,) * LAYERS, "base")
    generator = torch.Generator().manual_seed(seed)
    assert memory.gates is not None
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        memory.gates.read_bias.add_(read)
        memory.gates.write_bias.add_(write)
    return memory


def states(memory: MemoryModule, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(memory.fresh_states(1).shape, generator=generator))


def prompt(memory: MemoryModule, before: list[torch.Tensor], *, reads: bool = True) -> tuple[Any, MemoryPass]:
    """Read the prompt with the memory attached."""
    attached = AttachedMemory(MODEL, memory, ATTENTION)
    deciding = MemoryPass(before, MESSAGES >= 0, MESSAGES, torch.tensor([reads]), decides=True)
    try:
        with attached.running(deciding):
            return MODEL(input_ids=IDS, output_hidden_states=True), deciding
    finally:
        attached.detach()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), writes=st.booleans())
def test_a_closed_gate_is_the_base_to_the_bit(seed: int, writes: bool) -> None:
    memory = module(seed, read=-1e4, write=1e4 if writes else -1e4)
    before = states(memory, seed)

    output, passed = prompt(memory, list(before))

    assert torch.equal(output.logits, PLAIN.logits)
    assert passed.reads is not None
    assert not passed.reads.any()
    for old, new in zip(before, passed.states, strict=True):
        assert torch.equal(old, new) is not writes


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_an_open_gate_reads_with_the_last_token_alone(seed: int) -> None:
    memory = module(seed, read=1e4)

    output, _ = prompt(memory, states(memory, seed))

    assert torch.equal(output.logits[:, :-1], PLAIN.logits[:, :-1])
    assert not torch.equal(output.logits[:, -1], PLAIN.logits[:, -1])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_what_the_base_computes_in_its_layers_is_its_own_whatever_is_read(seed: int) -> None:
    memory = module(seed, read=1e4)

    output, passed = prompt(memory, states(memory, seed))

    assert passed.reads is not None
    assert passed.reads.all()
    assert len(output.hidden_states) == LAYERS + 1
    for with_memory, plain in zip(output.hidden_states[:-1], PLAIN.hidden_states[:-1], strict=True):
        assert torch.equal(with_memory, plain)
    for with_memory, plain in zip(output.past_key_values, PLAIN.past_key_values, strict=True):
        assert torch.equal(with_memory[0], plain[0])
        assert torch.equal(with_memory[1], plain[1])


def test_what_is_not_asked_to_read_does_not() -> None:
    memory = module(3, read=1e4)

    output, _ = prompt(memory, states(memory, 3), reads=False)

    assert torch.equal(output.logits, PLAIN.logits)


def test_an_empty_memory_is_not_read() -> None:
    memory = module(3, read=1e4, write=-1e4)

    output, _ = prompt(memory, list(memory.fresh_states(1)))

    assert torch.equal(output.logits, PLAIN.logits)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_each_message_is_written_if_the_gate_opens_at_its_end(seed: int) -> None:
    """Against the definition: the open messages' tokens but the last, in order, into what was there."""
    memory = module(seed)
    before = states(memory, seed)
    assert memory.gates is not None

    _, passed = prompt(memory, list(before))

    embedded, *inputs = [_attention_input(number) for number in (0, 1, 3)]
    open_ = memory.gates.write(inputs[0][0]) > 0
    tokens = [
        place
        for message in (0, 1)
        for ended in [bool(open_[(MESSAGES[0] == message).nonzero()[-1]])]
        for place in (MESSAGES[0] == message).nonzero().flatten().tolist()[:-1]
        if ended
    ]
    for number, hidden_BTH in enumerate(inputs):
        wanted = before[number][0, 0]
        for token in tokens:
            of_message = [place for place in tokens if MESSAGES[0, place] == MESSAGES[0, token]]
            told = _Token(
                hidden_BTH[0, token],
                hidden_BTH[0, token - 1] if token - 1 in of_message else torch.zeros(WIDTHS.hidden),
                _after([hidden_BTH[0, place] for place in of_message if place > token]),
                hidden_BTH[0, of_message].mean(0),
                embedded[0, token],
            )
            wanted = _written(memory, number, wanted, told)
        torch.testing.assert_close(passed.states[number][0, 0], wanted, atol=1e-4, rtol=1e-4)


class _Token(NamedTuple):
    hidden: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor
    message: torch.Tensor
    embedded: torch.Tensor


def _after(following: list[torch.Tensor]) -> torch.Tensor:
    """The mean of the hidden inputs that follow, of which each counts 0.8 of the one before it."""
    weights = [AFTER_DECAY**distance for distance in range(len(following))]
    total = torch.zeros(WIDTHS.hidden)
    for weight, hidden_H in zip(weights, following, strict=True):
        total = total + weight / sum(weights) * hidden_H
    return total


def _written(memory: MemoryModule, number: int, state_RR: torch.Tensor, told: _Token) -> torch.Tensor:
    """The equations at the head of ``gated_layer.py``."""
    layer = memory.gated_layer(number)
    around = (told.hidden, told.before, told.after, told.message)
    keys = zip((layer.key, layer.key_before, layer.key_after, layer.key_message), around, strict=True)
    rates = zip((layer.rate, layer.rate_before, layer.rate_after, layer.rate_message), around, strict=True)
    key_R = torch.nn.functional.normalize(
        torch.tanh(torch.stack([weight @ hidden_H for weight, hidden_H in keys]).sum(0)), dim=-1
    )
    rate = torch.sigmoid(
        torch.stack([weight @ hidden_H for weight, hidden_H in rates]).sum(0) + layer.rate_bias
    )
    return state_RR + rate * torch.outer(layer.value @ told.embedded - state_RR @ key_R, key_R)


def _attention_input(layer: int) -> torch.Tensor:
    """What the layer's attention reads: the base's own numbers, whatever the reply reads."""
    block: Any = MODEL.model.layers[layer]
    return block.input_layernorm(PLAIN.hidden_states[layer])


def test_a_module_with_gates_comes_back_as_it_was_and_says_so() -> None:
    memory = module(5)
    packed = memory.pack()

    again = MemoryModule.unpack(packed, "base", ATTENTION)

    assert b"populace-memory-4" in packed[:4096]
    assert again.shape == SHAPE
    assert len(again.layers) == len(range(LAYERS)[SHAPE.first_layer :: SHAPE.layer_step])
    assert again.pack() == packed


@pytest.mark.parametrize("earlier", EARLIER_FORMATS)
def test_a_gated_module_of_an_earlier_format_is_refused_by_name(earlier: str) -> None:
    packed = module(5).pack().replace(b"populace-memory-4", earlier.encode(), 1)

    with pytest.raises(MemoryModuleInvalid, match="earlier version"):
        MemoryModule.unpack(packed, "base", ATTENTION)


def test_a_gate_that_is_not_finite_is_refused() -> None:
    memory = module(5)
    assert memory.gates is not None
    torch.nn.init.constant_(memory.gates.read_bias, float("nan"))

    with pytest.raises(MemoryModuleInvalid, match=r"gates\.read_bias holds NaN"):
        MemoryModule.unpack(memory.pack(), "base", ATTENTION)


def test_shapes_that_cannot_be_served_are_refused() -> None:
    packed = MemoryModule(replace(SHAPE, first_layer=LAYERS - 1), (WIDTHS,) * LAYERS, "base").pack()

    with pytest.raises(MemoryModuleInvalid, match="the base has 2"):
        MemoryModule.unpack(packed, "base", ATTENTION[:2])
