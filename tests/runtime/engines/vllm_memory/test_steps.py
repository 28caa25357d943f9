# pyright: reportUnknownMemberType=false
# torch.manual_seed is untyped.
"""A step of many requests is, for each of them, what its memory layers say alone."""

import itertools
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.layer import LayerWidths, MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.engines.vllm_memory.attached import MessageStep, TokenStep
from populace.engines.vllm_memory.compiled import CompiledTokenStep, CompiledWeights
from populace.engines.vllm_memory.weights import Part

WIDTHS = LayerWidths(hidden=24, query=40)
LAYERS = 2
TOLERANCE = 2e-5


class Drawn(NamedTuple):
    """Requests of a step: how many tokens each has, from which on it writes, whether it reads."""

    lengths: list[int]
    writes: list[bool]
    reads: list[bool]
    seed: int


requests = st.lists(
    st.tuples(st.integers(1, 40), st.booleans(), st.booleans()), min_size=1, max_size=5
).flatmap(
    lambda rows: st.builds(
        Drawn,
        st.just([row[0] for row in rows]),
        st.just([row[1] for row in rows]),
        st.just([row[2] for row in rows]),
        st.integers(0, 2**31),
    )
)


def module_of(shape: MemoryShape, seed: int) -> MemoryModule:
    module = MemoryModule(shape, (WIDTHS,) * LAYERS, "base")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def parts_of(drawn: Drawn) -> list[Part]:
    parts: list[Part] = []
    first = 0
    for row, length in enumerate(drawn.lengths):
        start = first + length // 3  # the beginning of a request was written before
        writes = ((start, first + length, False),) if drawn.writes[row] else ()
        parts.append(Part(row, first, first + length, writes))
        first += length
    return parts


@settings(deadline=None, max_examples=40)
@given(
    drawn=requests,
    kind=st.sampled_from(["torch", "compiled", "compiled in bfloat16"]),
    shape=st.sampled_from([MemoryShape(rank=8), MemoryShape(rank=4, states=3), MemoryShape(heads="q")]),
)
def test_a_step_is_what_the_layers_say_of_each_request(drawn: Drawn, kind: str, shape: MemoryShape) -> None:
    torch.manual_seed(drawn.seed)
    module = module_of(shape, drawn.seed)
    weights = CompiledWeights(module, slice(0, WIDTHS.query), torch.device("cpu"))
    tokens, rows = sum(drawn.lengths), len(drawn.lengths)
    states = 0.1 * torch.randn(LAYERS, rows, shape.states, shape.rank, shape.rank)
    dtype = torch.bfloat16 if kind == "compiled in bfloat16" else torch.float32
    parts = parts_of(drawn)
    step = (
        TokenStep(weights, states.clone(), parts, tokens, drawn.reads)
        if kind == "torch"
        else CompiledTokenStep(weights, states.clone(), parts, tokens, drawn.reads, dtype)
    )

    for number in range(LAYERS):
        # As vLLM has them: rows that are filled up, and keys and values beside the queries.
        hidden = torch.randn(tokens + 2, WIDTHS.hidden).to(dtype)
        projected = torch.randn(tokens + 2, WIDTHS.query + 3).to(dtype)
        added = torch.randn(tokens + 2, WIDTHS.hidden).to(dtype)
        beside = projected[tokens:].clone(), projected[:, WIDTHS.query :].clone(), added[tokens:].clone()
        query, output = projected[:tokens, : WIDTHS.query], added[:tokens]
        expected_query, expected_output = query.clone(), output.clone()
        for part in parts:
            span = slice(part.first, part.last)
            writes = torch.zeros(1, part.last - part.first, dtype=torch.bool)
            for first, last, _ in part.writes:
                writes[0, first - part.first : last - part.first] = True
            with torch.no_grad():
                passed = module.layer(number)(hidden[None, span], states[number, part.row, None], writes)
            states[number, part.row] = passed.state[0]
            if drawn.reads[part.row]:
                for sum_, delta in (
                    (expected_query, passed.delta_query),
                    (expected_output, passed.delta_output),
                ):
                    if delta is not None:
                        sum_[span] = (sum_[span].float() + delta[0]).to(dtype)
        with torch.inference_mode():
            step.layer(number, hidden, projected)
            step.add_output(added)
        after = projected[tokens:], projected[:, WIDTHS.query :], added[tokens:]
        assert all(map(torch.equal, beside, after))
        # Of two sums that differ in the last bit, one may be rounded to another bfloat16.
        off = 2**-7 if dtype is torch.bfloat16 else TOLERANCE
        torch.testing.assert_close(query, expected_query, atol=off, rtol=off)
        torch.testing.assert_close(output, expected_output, atol=off, rtol=off)

    torch.testing.assert_close(step.finish(), states, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", ["torch", "compiled", "compiled in bfloat16"])
def test_two_processes_add_to_the_query_what_one_would(kind: str) -> None:
    """Each of them computes a part of the query projection, and all of the rest."""
    torch.manual_seed(5)
    module = module_of(MemoryShape(), seed=5)
    dtype = torch.bfloat16 if kind == "compiled in bfloat16" else torch.float32
    states = torch.randn(LAYERS, 2, 1, 8, 8)
    parts = [Part(0, 0, 1, ((0, 1, False),)), Part(1, 1, 4, ((1, 4, False),))]
    hidden, added = torch.randn(4, WIDTHS.hidden).to(dtype), torch.randn(4, WIDTHS.hidden).to(dtype)
    projected = torch.randn(4, WIDTHS.query).to(dtype)

    def after(part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weights = CompiledWeights(module, part, torch.device("cpu"))
        step = (
            TokenStep(weights, states.clone(), parts, 4, [True, True])
            if kind == "torch"
            else CompiledTokenStep(weights, states.clone(), parts, 4, [True, True], dtype)
        )
        query, output = projected[:, part].clone(), added.clone()
        step.layer(1, hidden, query)
        step.add_output(output)
        return query, output, step.finish()

    half = WIDTHS.query // 2
    whole, first, second = after(slice(0, WIDTHS.query)), after(slice(0, half)), after(slice(half, None))

    torch.testing.assert_close(torch.cat((first[0], second[0]), dim=1), whole[0])
    for part in (first, second):
        torch.testing.assert_close(part[1], whole[1])
        torch.testing.assert_close(part[2], whole[2])


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 29), max_size=4, unique=True), seed=st.integers(0, 2**31))
def test_message_means_do_not_depend_on_where_a_prompt_is_cut(cuts: list[int], seed: int) -> None:
    """Chunked or whole, the states are those of the layer's own pass over all messages at once."""
    torch.manual_seed(seed)
    shape = MemoryShape(writes="message")
    module = module_of(shape, seed)
    weights = CompiledWeights(module, slice(0, WIDTHS.query), torch.device("cpu"))
    spans = [(2, 9), (9, 17), (20, 30)]
    hidden = torch.randn(LAYERS, 30, WIDTHS.hidden)
    start = 0.1 * torch.randn(LAYERS, 1, 1, shape.rank, shape.rank)
    states, sums, open_tokens = start.clone(), torch.zeros(LAYERS, 1, WIDTHS.hidden), [0]

    bounds = [0, *sorted(cuts), 30]
    for first, last in itertools.pairwise(bounds):
        writes = tuple(
            (max(a, first) - first, min(b, last) - first, b <= last)
            for a, b in spans
            if max(a, first) < min(b, last)
        )
        parts = [Part(0, 0, last - first, writes)]
        step = MessageStep(weights, start, states, sums, open_tokens, parts, last - first, [True])
        with torch.inference_mode():
            for number in range(LAYERS):
                step.layer(number, hidden[number, first:last], torch.zeros(last - first, WIDTHS.query))
        states, sums, open_tokens = step.finish(), step.sums_LSH, step.open_tokens

    messages = torch.full((1, 30), -1)
    for message, (a, b) in enumerate(spans):
        messages[0, a:b] = message
    for number in range(LAYERS):
        with torch.no_grad():
            passed = module.layer(number)(hidden[number, None], start[number], messages >= 0, messages)
        torch.testing.assert_close(states[number], passed.state, atol=TOLERANCE, rtol=TOLERANCE)
    assert open_tokens == [0]


@pytest.mark.parametrize("tokens", [1, 40])
def test_a_request_without_a_memory_beside_others_keeps_its_bits(tokens: int) -> None:
    """Its states are empty ones, and nothing is added to what the base computed."""
    module = module_of(MemoryShape(), seed=3)
    weights = CompiledWeights(module, slice(0, WIDTHS.query), torch.device("cpu"))
    states = torch.zeros(LAYERS, 2, 1, 8, 8)
    states[:, 1] = torch.randn(LAYERS, 1, 8, 8)
    parts = [Part(0, 0, 1, ()), Part(1, 1, 1 + tokens, ((1, 1 + tokens, False),))]
    step = CompiledTokenStep(weights, states, parts, 1 + tokens, [True, True], torch.bfloat16)
    query = torch.randn(1 + tokens, WIDTHS.query).bfloat16()
    before = query.clone()

    step.layer(0, torch.randn(1 + tokens, WIDTHS.hidden).bfloat16(), query)

    assert torch.equal(query[0], before[0])
    assert not torch.equal(query[1], before[1])
    assert not step.finish()[:, 0].any()
