"""A gated memory in vLLM's steps: however a prompt is cut into them, state and reply are the same."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.layer import LayerWidths, MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.engines.vllm_memory.blocks import Scheduled
from populace.engines.vllm_memory.gated import row_step
from populace.engines.vllm_memory.gated_requests import GatedRequests
from populace.engines.vllm_memory.gated_step import GatedStep, RowStep
from populace.engines.vllm_memory.request import MemoryRequest

WIDTHS = LayerWidths(hidden=16, query=16)
SHAPE = MemoryShape(rank=4, gated=True, first_layer=1)
LAYERS = 2
TOKENS = 14
PROMPT = 12
SPANS = ((2, 7), (7, PROMPT - 1), (PROMPT - 1, PROMPT))
"""The last is of one token, as a prompt without a template may be: it decides, and nothing is written."""
TOLERANCE = 1e-5


def module(seed: int, gate: float) -> MemoryModule:
    memory = MemoryModule(SHAPE, (WIDTHS,) * (LAYERS + 1), "base")
    generator = torch.Generator().manual_seed(seed)
    assert memory.gates is not None
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        memory.gates.read_bias.fill_(100.0)
        memory.gates.write_bias.add_(gate)
    return memory


def served(memory: MemoryModule, hidden_LTH: torch.Tensor, cuts: list[int]) -> list[torch.Tensor]:
    """Read prompt and reply in steps of so many tokens; return the state and what was added at the end."""
    requests = GatedRequests(lambda: memory.fresh_states(1)[:, 0])
    request = MemoryRequest("one", None, True, True, PROMPT, SPANS, gated=True)
    position, last_H = 0, torch.zeros(WIDTHS.hidden)
    for tokens in cuts:
        known = requests.of(request)
        known.begin(position)
        row = row_step(known, Scheduled(request, 0, tokens, position))
        step = GatedStep(memory, [row], [row])
        step.embed(hidden_LTH[-1, position : position + tokens])
        for number in range(LAYERS):
            step.layer(number, hidden_LTH[number, position : position + tokens])
        final_TH = hidden_LTH[0, position : position + tokens].clone()
        step.finish(final_TH)
        position, last_H = position + tokens, final_TH[-1]
    return [requests.of(request).state, last_H]


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    gate=st.sampled_from([100.0, -100.0, 0.0]),
    places=st.sets(st.integers(1, TOKENS - 1)),
)
def test_it_does_not_matter_where_a_prompt_is_cut(seed: int, gate: float, places: set[int]) -> None:
    memory = module(seed, gate)
    hidden_LTH = torch.randn(LAYERS + 1, TOKENS, WIDTHS.hidden, generator=torch.Generator().manual_seed(seed))
    ends = [*sorted(places), TOKENS]

    whole = served(memory, hidden_LTH, [TOKENS])
    cut = served(memory, hidden_LTH, [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)])

    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=TOLERANCE)
    if gate > 0:
        assert whole[0].any()
        assert whole[1].any()
        assert not torch.equal(whole[1], hidden_LTH[0, -1])
    if gate < 0:
        assert not whole[0].any()
        assert torch.equal(whole[1], hidden_LTH[0, -1])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), opens=st.booleans())
def test_each_request_of_a_step_gets_what_the_head_says_of_its_own_state(seed: int, opens: bool) -> None:
    """Two requests that go on with their replies, a token each, and one that only begins its prompt."""
    memory = module(seed, 0.0)
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2, *memory.fresh_states(1)[:, 0].shape, generator=generator)
    hidden_LTH = torch.randn(LAYERS + 1, 5, WIDTHS.hidden, generator=generator)
    requests = GatedRequests(lambda: memory.fresh_states(1)[:, 0])
    rows: list[RowStep] = []
    for number, state in enumerate(states):
        request = MemoryRequest(f"{number}", state.numpy().tobytes(), True, False, PROMPT, (), gated=True)
        known = requests.of(request)
        known.seen, known.opened = PROMPT, opens or number == 1
        rows.append(row_step(known, Scheduled(request, number, number + 1, PROMPT)))
    begun = MemoryRequest("begun", None, True, False, PROMPT, (), gated=True)
    rows.append(row_step(requests.of(begun), Scheduled(begun, 2, 5, 0)))
    step = GatedStep(memory, rows, [row for row in rows if row.reading is not None])
    for number in range(LAYERS):
        step.layer(number, hidden_LTH[number])
    final_TH = hidden_LTH[-1].clone()

    step.finish(final_TH)

    head = memory.answer_head
    assert head is not None
    for number, state_LNRR in enumerate(states):
        if not (opens or number == 1):
            assert torch.equal(final_TH[number], hidden_LTH[-1, number])
            continue
        read_LW = torch.stack(
            [
                memory.gated_layer(layer)
                .answers(hidden_LTH[layer, number].view(1, 1, -1), state_NRR.unsqueeze(0))
                .flatten()
                for layer, state_NRR in enumerate(state_LNRR)
            ]
        )
        wanted_H = hidden_LTH[-1, number] + head(hidden_LTH[-1, number], read_LW)
        torch.testing.assert_close(final_TH[number], wanted_H, atol=TOLERANCE, rtol=TOLERANCE)
    assert torch.equal(final_TH[2:], hidden_LTH[-1, 2:])
