"""What a table adds for a token is its adapter's product by definition, and nothing for the base's tokens."""

from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

if find_spec("numba") is None:
    pytest.skip("vLLM, which brings numba, is not installed here", allow_module_level=True)

from populace.engines.vllm_lora.table import FEW_TOKENS, AdapterTable, LinearLayer
from populace.engines.vllm_lora.tokens import step_tokens
from tests.runtime.engines.vllm_lora.images import Matrices, image_of, random_matrices

LAYERS = (
    LinearLayer(("layers.0.q", "layers.0.k", "layers.0.v"), 24, (16, 8, 8)),
    LinearLayer(("layers.0.o",), 16, (24,)),
    LinearLayer(("layers.1.q", "layers.1.k", "layers.1.v"), 24, (16, 8, 8)),
    LinearLayer(("layers.1.o",), 16, (24,)),
)
SHAPES = {
    name: (layer.inputs, width)
    for layer in LAYERS
    for name, width in zip(layer.modules, layer.widths, strict=True)
}
SLOTS = 3


def adapter(seed: int, rank: int, dtype: torch.dtype, leaves: tuple[str, ...] = ()) -> dict[str, Matrices]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: random_matrices(rank, *shape, generator, alpha=rank * (0.5 + seed), dtype=dtype)
        for name, shape in SHAPES.items()
        if name not in leaves
    }


def by_definition(
    layer: LinearLayer,
    y: torch.Tensor,
    x: torch.Tensor,
    slots: list[int],
    adapters: list[dict[str, Matrices]],
) -> torch.Tensor:
    expected = y.double()
    for token, slot in enumerate(slots):
        column = 0
        for name, width in zip(layer.modules, layer.widths, strict=True):
            if slot >= 0 and name in adapters[slot]:
                a, b, scale = adapters[slot][name]
                product = b.double() @ (a.double() @ x[token].double()) * scale
                expected[token, column : column + width] += product
            column += width
    return expected


@pytest.mark.parametrize(
    ("dtype", "few_max"),
    [(torch.bfloat16, FEW_TOKENS), (torch.bfloat16, 3), (torch.float32, 0)],
    ids=["bfloat16", "bfloat16 with torch", "float32"],
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_each_token_gets_its_own_adapter_and_the_base_gets_none(
    dtype: torch.dtype, few_max: int, data: st.DataObject
) -> None:
    slots = data.draw(st.lists(st.integers(-1, SLOTS - 1), min_size=1, max_size=40))
    ranks = data.draw(st.lists(st.integers(1, 9), min_size=SLOTS, max_size=SLOTS))
    leaves = data.draw(st.sampled_from([(), ("layers.0.k",), ("layers.1.q", "layers.1.k", "layers.1.v")]))
    adapters = [adapter(seed, rank, dtype, leaves) for seed, rank in enumerate(ranks)]
    table = AdapterTable(LAYERS, SLOTS, dtype)
    for slot, one in enumerate(adapters):
        table.bind(slot, image_of(one, dtype))
    assert (table.few_max == 0) == (few_max == 0)
    tokens = step_tokens(torch.tensor(slots), few_max=few_max)

    for number, layer in enumerate(LAYERS):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(len(slots), layer.inputs, generator=generator).to(dtype)
        y = torch.randn(len(slots), sum(layer.widths), generator=generator).to(dtype)
        expected = by_definition(layer, y, x, slots, adapters)
        table.add(number, y, x, tokens)
        error = 1e-5 if dtype is torch.float32 else 2**-7
        torch.testing.assert_close(y.double(), expected, rtol=error, atol=error * float(expected.abs().max()))


def test_a_slot_that_changed_hands_has_the_new_weights_and_an_empty_one_none() -> None:
    table = AdapterTable(LAYERS, SLOTS, torch.bfloat16)
    first, second = (adapter(seed, 4, torch.bfloat16) for seed in (1, 2))
    x = torch.ones(1, 16, dtype=torch.bfloat16)
    tokens = step_tokens(torch.tensor([0]), few_max=table.few_max)

    found: list[torch.Tensor] = []
    for one in (first, second, None):
        table.bind(0, None if one is None else image_of(one, torch.bfloat16))
        y = torch.zeros(1, 24, dtype=torch.bfloat16)
        table.add(1, y, x, tokens)
        found.append(y)

    for y, one in zip(found, (first, second), strict=False):
        expected = by_definition(LAYERS[1], torch.zeros(1, 24), x, [0], [one])
        torch.testing.assert_close(y.double(), expected, rtol=2**-7, atol=0.1)
    assert not found[2].any()


@pytest.mark.parametrize(
    ("shape", "name", "dtype", "complaint"),
    [
        ((23, 16), "layers.0.q", torch.bfloat16, "not of this model"),
        ((24, 17), "layers.0.q", torch.bfloat16, "not of this model"),
        ((24, 16), "layers.7.q", torch.bfloat16, r"no linear layer layers\.7\.q"),
        ((24, 16), "layers.0.q", torch.float32, "not of this model"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_and_its_slot_stays_empty(
    shape: tuple[int, int], name: str, dtype: torch.dtype, complaint: str
) -> None:
    table = AdapterTable(LAYERS, SLOTS, torch.bfloat16)
    matrices = random_matrices(2, *shape, torch.Generator().manual_seed(1), alpha=1.0, dtype=dtype)

    with pytest.raises(ValueError, match=complaint):
        table.bind(1, image_of({name: matrices}, dtype))

    y = torch.zeros(1, 32, dtype=torch.bfloat16)
    tokens = step_tokens(torch.tensor([1]), few_max=table.few_max)
    table.add(0, y, torch.ones(1, 24, dtype=torch.bfloat16), tokens)
    assert not y.any()


def test_two_matrices_of_different_ranks_are_refused() -> None:
    generator = torch.Generator().manual_seed(1)
    a, _, scale = random_matrices(3, 24, 16, generator, alpha=1.0, dtype=torch.bfloat16)
    _, b, _ = random_matrices(2, 24, 16, generator, alpha=1.0, dtype=torch.bfloat16)

    with pytest.raises(ValueError, match="not of one rank"):
        AdapterTable(LAYERS, SLOTS, torch.bfloat16).bind(
            0, image_of({"layers.0.q": Matrices(a, b, scale)}, torch.bfloat16)
        )
