"""What a gated layer writes: the delta rule in chunks, and what is around each token in its message."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.gated_layer import (
    AFTER_DECAY,
    AFTER_TOKENS,
    Brought,
    GatedLayer,
    Told,
    around_each,
    delta_rule,
)
from populace.adapters.memory.layer import NOT_WRITTEN, LayerWidths, MemoryShape


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    tokens=st.integers(0, 9),
    chunk_tokens=st.integers(1, 5),
    rate=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_chunks_are_one_token_after_the_other(seed: int, tokens: int, chunk_tokens: int, rate: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    key = torch.nn.functional.normalize(torch.randn(2, 1, tokens, 4, generator=generator), dim=-1)
    value = torch.randn(2, 1, tokens, 4, generator=generator)
    rates = (
        rate * torch.rand(2, 1, tokens, 1, generator=generator).round()
        if rate != 0.5
        else torch.rand(2, 1, tokens, 1, generator=generator)
    )
    begun = torch.randn(2, 1, 4, 4, generator=generator)

    after = delta_rule(Brought(key, value, rates), begun, chunk_tokens=chunk_tokens)

    wanted = begun
    for token in range(tokens):
        missing = value[..., token, :] - (wanted @ key[..., token, :, None]).squeeze(-1)
        wanted = wanted + rates[..., token, :, None] * missing[..., None] * key[..., token, None, :]
    torch.testing.assert_close(after, wanted, atol=1e-4, rtol=1e-4)


def test_what_is_written_twice_is_as_if_written_last() -> None:
    key = torch.nn.functional.normalize(torch.ones(1, 1, 2, 3), dim=-1)
    value = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])

    state = delta_rule(Brought(key, value, torch.ones(1, 1, 2, 1)), torch.zeros(1, 1, 3, 3))

    torch.testing.assert_close((state @ key[..., 0, :, None]).flatten(), value[0, 0, 1])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=3), st.integers(0, 2**31))
def test_what_is_around_a_token_is_of_its_own_message(lengths: list[int], seed: int) -> None:
    """Against the definition, for messages of which some are longer than a chunk and what counts of them."""
    messages = torch.tensor([[number for number, length in enumerate(lengths) for _ in range(length)]])
    hidden = torch.randn(1, messages.shape[1], 2, generator=torch.Generator().manual_seed(seed))

    before, after = around_each(hidden, messages)

    places = range(messages.shape[1])
    for place in places:
        own = [other for other in places if messages[0, other] == messages[0, place]]
        earlier = hidden[0, place - 1] if place - 1 in own else torch.zeros(2)
        weights = {
            other: AFTER_DECAY ** (other - place - 1) for other in own if 0 < other - place <= AFTER_TOKENS
        }
        later = [weight / sum(weights.values()) * hidden[0, other] for other, weight in weights.items()]
        torch.testing.assert_close(before[0, place], earlier)
        torch.testing.assert_close(after[0, place], sum(later, start=torch.zeros(2)))


def test_what_is_of_no_message_may_be_anything() -> None:
    layer = GatedLayer(MemoryShape(rank=2, gated=True), LayerWidths(hidden=3, query=3))
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    hidden = torch.randn(1, 5, 3, generator=generator)
    messages = torch.tensor([[0, NOT_WRITTEN, 1, 1, NOT_WRITTEN]])
    padded = hidden.masked_fill((messages == NOT_WRITTEN).unsqueeze(-1), torch.nan)

    states = [
        layer.store(Told(one, one), torch.zeros(1, 1, 2, 2), messages)
        for one in (padded, padded.nan_to_num(7.0))
    ]

    assert torch.equal(states[0], states[1])
    assert bool(states[0].any())
