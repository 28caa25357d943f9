"""The grouped LoRA product equals the definition, token by token."""

from importlib.util import find_spec

import pytest
import torch

if find_spec("vllm") is None:
    pytest.skip("vLLM is not installed here", allow_module_level=True)

from populace.engines.vllm_cpu_lora import FactorCache, add_group, group_by_slot

SLOTS, RANK, INPUTS, WIDTHS = 3, 4, 6, (5, 2)


def stacks(generator: torch.Generator) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    a = [torch.randn(SLOTS, 1, RANK, INPUTS, generator=generator) for _ in WIDTHS]
    b = [torch.randn(SLOTS, 1, width, RANK, generator=generator) for width in WIDTHS]
    return a, b


def by_definition(
    y: torch.Tensor, x: torch.Tensor, slots: list[int], a: list[torch.Tensor], b: list[torch.Tensor]
) -> torch.Tensor:
    y = y.clone()
    for token, slot in enumerate(slots):
        if slot >= 0:
            parts = [b_s[slot, 0] @ (a_s[slot, 0] @ x[token]) for a_s, b_s in zip(a, b, strict=True)]
            y[token] += torch.cat(parts)
    return y


@pytest.mark.parametrize(
    "slots", [[0], [-1], [1, 1, 1], [0, -1, 2, 0, 1], [-1, -1, 2], [2, 1, 0, 2, 1, 0, -1]]
)
def test_each_token_gets_its_own_adapter_and_the_base_gets_none(slots: list[int]) -> None:
    generator = torch.Generator().manual_seed(7)
    a, b = stacks(generator)
    x = torch.randn(len(slots), INPUTS, generator=generator)
    y = torch.randn(len(slots), sum(WIDTHS), generator=generator)
    expected = by_definition(y, x, slots, a, b)
    cache = FactorCache()

    for slot, tokens in group_by_slot(torch.tensor(slots)):
        factors = cache.find(a, b, WIDTHS, slot)
        assert factors is not None
        add_group(y, x, tokens, factors)

    torch.testing.assert_close(y, expected)


def test_a_layer_that_the_adapter_leaves_alone_has_no_factors_and_padding_ranks_are_left_out() -> None:
    a, b = stacks(torch.Generator().manual_seed(8))
    for stacked in (*a, *b):
        stacked[1] = 0
    b[0][2, 0, :, 2:] = 0
    cache = FactorCache()

    untouched, partial = cache.find(a, b, WIDTHS, 1), cache.find(a, b, WIDTHS, 2)

    assert untouched is None
    assert partial is not None
    assert partial.a.shape == (INPUTS, 2 + RANK)


def test_after_a_slot_changed_hands_the_new_weights_are_read() -> None:
    a, b = stacks(torch.Generator().manual_seed(9))
    cache = FactorCache()
    before = cache.find(a, b, WIDTHS, 0)
    for stacked in (*a, *b):
        stacked[0] = 0

    cache.forget()
    after = cache.find(a, b, WIDTHS, 0)

    assert before is not None
    assert after is None
