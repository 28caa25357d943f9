"""The chunkwise form says what the loop says: values, states and gradients, at the edges too."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.scan import Scanned, TokenInputs, scan_chunks, scan_loop

Scan = Callable[[TokenInputs, torch.Tensor], Scanned]

TOLERANCE = 1e-5


def drawn(
    seed: int,
    *,
    leading: tuple[int, ...] = (2,),
    count: int = 9,
    rank: int = 8,
    dtype: torch.dtype = torch.float32,
) -> tuple[TokenInputs, torch.Tensor]:
    """Tokens and a state as a model makes them: q and k of length 1, rates between 0 and 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*leading, *shape, generator=generator, dtype=dtype)

    def unit() -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tanh(normal(count, rank)), dim=-1)

    tokens = TokenInputs(unit(), unit(), normal(count, rank), torch.sigmoid(2 * normal(count, rank)))
    return tokens, normal(rank, rank)


def span(tokens: TokenInputs, start: int, stop: int) -> TokenInputs:
    return TokenInputs(*(part[..., start:stop, :] for part in tokens))


def assert_same(one: Scanned, other: Scanned, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(one.read, other.read, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(one.state, other.state, atol=tolerance, rtol=tolerance)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    leading=st.sampled_from([(), (1,), (3,), (2, 4)]),
    count=st.integers(0, 150),
    rank=st.integers(1, 9),
    chunk_tokens=st.sampled_from([1, 2, 32, 64]),
    rates=st.sampled_from(["between", "some 0", "some 1", "all 0", "all 1", "tiny left"]),
)
def test_chunks_are_the_loop(
    seed: int, leading: tuple[int, ...], count: int, rank: int, chunk_tokens: int, rates: str
) -> None:
    tokens, state = drawn(seed, leading=leading, count=count, rank=rank)
    tokens = tokens._replace(rate=with_rates(tokens.rate, rates, seed))

    assert_same(scan_chunks(tokens, state, chunk_tokens=chunk_tokens), scan_loop(tokens, state))


def with_rates(rate: torch.Tensor, kind: str, seed: int) -> torch.Tensor:
    chosen = torch.rand(rate.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    match kind:
        case "some 0":
            return rate.masked_fill(chosen, 0.0)
        case "some 1":
            return rate.masked_fill(chosen, 1.0)
        case "all 0" | "all 1":
            return torch.full_like(rate, float(kind[-1]))
        case "tiny left":
            return rate.masked_fill(chosen, 1 - 2**-24)
        case _:
            return rate


@pytest.mark.parametrize("rates", ["between", "some 0", "some 1"])
def test_gradients_are_those_of_the_loop(rates: str) -> None:
    tokens, state = drawn(5, count=70, rank=4, dtype=torch.float64)
    tokens = tokens._replace(rate=with_rates(tokens.rate, rates, 5))

    def gradients(scan: Scan) -> list[torch.Tensor]:
        inputs = [one.clone().requires_grad_() for one in (*tokens, state)]
        scanned = scan(TokenInputs(*inputs[:4]), inputs[4])
        weights = torch.linspace(-1, 1, scanned.read.numel(), dtype=torch.float64)
        loss = (scanned.read.flatten() * weights).sum() + scanned.state.square().sum()
        return list(torch.autograd.grad(loss, inputs))

    for chunked, looped in zip(gradients(scan_chunks), gradients(scan_loop), strict=True):
        torch.testing.assert_close(chunked, looped, atol=1e-9, rtol=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    tokens, state = drawn(7, leading=(), count=5, rank=2, dtype=torch.float64)
    inputs = [one.requires_grad_() for one in (*tokens, state)]

    assert torch.autograd.gradcheck(
        lambda *args: scan_chunks(TokenInputs(*args[:4]), args[4], chunk_tokens=2), inputs
    )


@pytest.mark.parametrize("scan", [scan_loop, scan_chunks])
def test_a_token_that_does_not_write_leaves_the_state_bit_for_bit(scan: Scan) -> None:
    tokens, state = drawn(3, count=40)
    tokens = tokens._replace(rate=torch.zeros_like(tokens.rate))

    scanned = scan(tokens, state)

    assert torch.equal(scanned.state, state)
    torch.testing.assert_close(scanned.read, tokens.query @ state.transpose(-1, -2))


@pytest.mark.parametrize("scan", [scan_loop, scan_chunks])
def test_an_empty_state_reads_back_what_was_written_under_its_key(scan: Scan) -> None:
    tokens, _ = drawn(4, leading=(), count=2)
    key, value = tokens.key[0], tokens.value[0]
    tokens = TokenInputs(key.expand(2, -1), key.expand(2, -1), value.expand(2, -1), torch.ones(2, 8))

    scanned = scan(tokens, torch.zeros(8, 8))

    assert not scanned.read[0].any()
    torch.testing.assert_close(scanned.read[1], value)


def test_a_scan_in_two_parts_is_the_scan_of_the_whole() -> None:
    tokens, state = drawn(6, count=90)
    whole = scan_chunks(tokens, state)

    first = scan_chunks(span(tokens, 0, 41), state)
    second = scan_chunks(span(tokens, 41, 90), first.state)

    assert_same(Scanned(torch.cat([first.read, second.read], dim=-2), second.state), whole)
