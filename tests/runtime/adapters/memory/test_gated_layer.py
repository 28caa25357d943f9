"""What a gated layer writes: the delta rule in chunks, and what is around each token in its message."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.gated_layer import (
    AFTER_DECAY,
    AFTER_TOKENS,
    DeltaInputs,
    GatedLayer,
    Told,
    delta_rule,
    token_context,
)
from populace.adapters.memory.layer import NOT_WRITTEN, LayerWidths, MemoryShape

WIDTHS = LayerWidths(hidden=16, query=16)
SHAPE = MemoryShape(rank=4, gated=True)


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

    after = delta_rule(DeltaInputs(key, value, rates), begun, chunk_tokens=chunk_tokens)

    wanted = begun
    for token in range(tokens):
        missing = value[..., token, :] - (wanted @ key[..., token, :, None]).squeeze(-1)
        wanted = wanted + rates[..., token, :, None] * missing[..., None] * key[..., token, None, :]
    torch.testing.assert_close(after, wanted, atol=1e-4, rtol=1e-4)


def test_what_is_written_twice_is_as_if_written_last() -> None:
    key = torch.nn.functional.normalize(torch.ones(1, 1, 2, 3), dim=-1)
    value = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])

    state = delta_rule(DeltaInputs(key, value, torch.ones(1, 1, 2, 1)), torch.zeros(1, 1, 3, 3))

    torch.testing.assert_close((state @ key[..., 0, :, None]).flatten(), value[0, 0, 1])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=3), st.integers(0, 2**31))
def test_what_is_around_a_token_is_of_its_own_message(lengths: list[int], seed: int) -> None:
    """Against the definition, for messages of which some are longer than a chunk and what counts of them."""
    messages = torch.tensor([[number for number, length in enumerate(lengths) for _ in range(length)]])
    hidden = torch.randn(1, messages.shape[1], 2, generator=torch.Generator().manual_seed(seed))

    before, after, message = token_context(hidden, messages)

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
        torch.testing.assert_close(message[0, place], hidden[0, own].mean(0), atol=1e-5, rtol=1e-4)


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


def test_messages_are_written_once_each_with_the_means_of_their_tokens() -> None:
    layer = drawn_layer(replace(SHAPE, writes="message"), seed=7)
    hidden_BTH, embedded_BTH = torch.randn(2, 1, 5, WIDTHS.hidden, generator=torch.Generator().manual_seed(8))
    messages_BT = torch.tensor([[0, 0, NOT_WRITTEN, 1, 1]])
    projected = layer.projected(Told(hidden_BTH, embedded_BTH))

    written = layer.write_projected(projected, torch.zeros(1, 1, 4, 4), messages_BT)

    wanted = torch.zeros(4, 4)
    around = (hidden_BTH, *token_context(hidden_BTH, messages_BT))
    weights = (layer.key, layer.key_before, layer.key_after, layer.key_message)
    rates = (layer.rate, layer.rate_before, layer.rate_after, layer.rate_message)
    for tokens in (slice(0, 2), slice(3, 5)):
        means = [part[0, tokens].mean(0) for part in around]
        key_R = torch.stack([weight @ mean for weight, mean in zip(weights, means, strict=True)]).sum(0)
        rate = torch.stack([weight @ mean for weight, mean in zip(rates, means, strict=True)]).sum(0)
        key_R = torch.nn.functional.normalize(torch.tanh(key_R), dim=-1)
        value_R = layer.value @ embedded_BTH[0, tokens].mean(0)
        wanted = wanted + torch.sigmoid(rate + layer.rate_bias) * torch.outer(value_R - wanted @ key_R, key_R)
    torch.testing.assert_close(written[0, 0], wanted, atol=1e-4, rtol=1e-4)


def test_parallel_states_are_as_many_memories_side_by_side() -> None:
    both = drawn_layer(replace(SHAPE, states=2), seed=9)
    told = Told(*torch.randn(2, 1, 6, WIDTHS.hidden, generator=torch.Generator().manual_seed(10)))
    messages_BT = torch.tensor([[0, 0, 0, 1, 1, 1]])
    asked_BTH = torch.randn(1, 1, WIDTHS.hidden, generator=torch.Generator().manual_seed(11))

    states_BNRR = both.store(told, torch.zeros(1, 2, 4, 4), messages_BT)
    read_BTX = both.answers(asked_BTH, states_BNRR)

    for number in range(2):
        one = GatedLayer(SHAPE, WIDTHS)
        rows = slice(4 * number, 4 * number + 4)
        one.load_state_dict(
            {
                name: tensor[number : number + 1] if name.startswith("rate") else tensor[rows]
                for name, tensor in both.state_dict().items()
            }
        )
        state_BNRR = one.store(told, torch.zeros(1, 1, 4, 4), messages_BT)
        torch.testing.assert_close(state_BNRR[:, 0], states_BNRR[:, number])
        read_BTY = one.answers(asked_BTH, state_BNRR)
        torch.testing.assert_close(read_BTY[..., :4], read_BTX[..., rows])
        torch.testing.assert_close(read_BTY[..., 4], read_BTX[..., 8 + number])


def drawn_layer(shape: MemoryShape, *, seed: int) -> GatedLayer:
    layer = GatedLayer(shape, WIDTHS)
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return layer
