"""What a gated layer writes: the delta rule in chunks, and the token before each in its message."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.gated_layer import Brought, before_each, delta_rule


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


def test_the_first_token_of_a_message_has_none_before_it() -> None:
    hidden = torch.arange(1.0, 6.0).view(1, 5, 1)
    hidden[0, 1] = torch.nan  # not of a message, such as padding
    messages = torch.tensor([[0, -1, 1, 1, 2]])

    before = before_each(hidden, messages)

    assert torch.equal(before[0, 2:].flatten(), torch.tensor([0.0, 3.0, 0.0]))
