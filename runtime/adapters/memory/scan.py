# pyright: reportUnknownMemberType=false
# torch.linalg is untyped.
"""The gated delta rule of δ-mem, as a plain loop over tokens and as a chunkwise parallel form.

A state S [r, r] is read before it is written; with k of length 1, each row i of it is an online
linear regression of value i on the keys (arXiv 2605.12357, equations 6, 10 and 12)::

    r_t = S_{t-1} q_t
    S_t = Diag(1 - b_t) S_{t-1} + Diag(b_t) (v_t - S_{t-1} k_t) k_t^T

Both forms take the same arguments and answer the same numbers up to rounding. ``scan_loop`` is the
definition. ``scan_chunks`` needs a step of Python for a chunk and not for a token: for training and
for reading prompts.

Shape suffixes: X = any leading dimensions (batch, states), T = tokens, R = rank, C = tokens of a chunk.
A token with b = 0 reads and does not write; padding and what was written before are such tokens.
"""

from typing import NamedTuple, cast

import torch

CHUNK_TOKENS = 32
"""The solve grows with the square of it, the number of steps falls with it; 32 to 64 are as good."""


class TokenInputs(NamedTuple):
    """What each token brings, all [X, T, R]. ``rate`` is b, for each row of the state, in [0, 1]."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    rate: torch.Tensor

    def span(self, start: int, stop: int) -> "TokenInputs":
        return TokenInputs(*(part[..., start:stop, :] for part in self))


class Scanned(NamedTuple):
    """What each token read [X, T, R], and the state after all of them [X, R, R]."""

    read: torch.Tensor
    state: torch.Tensor


def scan_loop(tokens: TokenInputs, state_XRR: torch.Tensor) -> Scanned:
    """Take one token after the other. The reference; exact by definition."""
    reads: list[torch.Tensor] = []
    for token in range(tokens.query.shape[-2]):
        query_XR, key_XR, value_XR, rate_XR = (part[..., token, :] for part in tokens)
        reads.append(_apply(state_XRR, query_XR))
        error_XR = value_XR - _apply(state_XRR, key_XR)
        written_XRR = (rate_XR * error_XR).unsqueeze(-1) * key_XR.unsqueeze(-2)
        state_XRR = (1 - rate_XR).unsqueeze(-1) * state_XRR + written_XRR
    read_XTR = torch.stack(reads, dim=-2) if reads else torch.zeros_like(tokens.query)
    return Scanned(read_XTR, state_XRR)


def scan_chunks(tokens: TokenInputs, state_XRR: torch.Tensor, *, chunk_tokens: int = CHUNK_TOKENS) -> Scanned:
    """Take ``chunk_tokens`` at a time; differentiable in everything, also where a rate is 0 or 1."""
    reads: list[torch.Tensor] = []
    for start in range(0, tokens.query.shape[-2], chunk_tokens):
        read_XCR, state_XRR = _scan_chunk(tokens.span(start, start + chunk_tokens), state_XRR)
        reads.append(read_XCR)
    read_XTR = torch.cat(reads, dim=-2) if reads else torch.zeros_like(tokens.query)
    return Scanned(read_XTR, state_XRR)


def _scan_chunk(tokens: TokenInputs, state_XRR: torch.Tensor) -> Scanned:
    """Solve for what each token writes, then read and write all of them at once.

    Row i of the state is s_j = Γ(j, 0) s_0 + Σ_{l ≤ j} Γ(j, l) u_l k_l, Γ(j, l) = Π_{l < m ≤ j} (1 - b_m).
    The u are what the delta rule says, which is one triangular system for each row::

        u_j + b_j Σ_{l < j} Γ(j-1, l) (k_l · k_j) u_l = b_j (v_j - Γ(j-1, 0) s_0 · k_j)
    """
    query_XCR, key_XCR, value_XCR, rate_XCR = tokens
    size = query_XCR.shape[-2]
    kept_XRCC = _products(1 - rate_XCR)
    # Γ(j-1, 0), and Γ(j-1, l) for l < j: what is left of s_0 and of u_l when token j reads.
    from_start_XRC, between_XRCC = kept_XRCC[..., :size, 0], kept_XRCC[..., :size, 1:].tril(-1)

    rate_XRC = rate_XCR.transpose(-1, -2)
    overlap_XCC = key_XCR @ key_XCR.transpose(-1, -2)
    system_XRCC = rate_XRC.unsqueeze(-1) * between_XRCC * overlap_XCC.unsqueeze(-3)
    recalled_XRC = from_start_XRC * (state_XRR @ key_XCR.transpose(-1, -2))
    target_XRC = rate_XRC * (value_XCR.transpose(-1, -2) - recalled_XRC)
    # The diagonal is taken as 1: ``tril(-1)`` left zeros there.
    solved_XRC1 = cast(
        "torch.Tensor",
        torch.linalg.solve_triangular(system_XRCC, target_XRC.unsqueeze(-1), upper=False, unitriangular=True),
    )
    update_XRC = solved_XRC1.squeeze(-1)

    likeness_XCC = query_XCR @ key_XCR.transpose(-1, -2)
    weights_XRCC = between_XRCC * likeness_XCC.unsqueeze(-3)
    read_XRC = from_start_XRC * (state_XRR @ query_XCR.transpose(-1, -2))
    read_XRC = read_XRC + (weights_XRCC @ update_XRC.unsqueeze(-1)).squeeze(-1)

    left_XRC = kept_XRCC[..., size, 1:]
    state_XRR = kept_XRCC[..., size, :1] * state_XRR + (left_XRC * update_XRC) @ key_XCR
    return Scanned(read_XRC.transpose(-1, -2), state_XRR)


def _products(factors_XCR: torch.Tensor) -> torch.Tensor:
    """Return [.., R, C+1, C+1]: at (j, l) the product of factors l+1 to j, 1 where j ≤ l.

    As products and not as quotients of running ones, or differences of logarithms: those lose
    everything after a factor of 0, and digits after a small one.
    """
    size = factors_XCR.shape[-2]
    factors_XRC1 = factors_XCR.transpose(-1, -2).unsqueeze(-1)
    ones = torch.ones(size + 1, size + 1, dtype=torch.bool, device=factors_XCR.device)
    later_CC = ones.tril(-1)[1:]
    steps_XRCC = torch.where(later_CC, factors_XRC1, factors_XRC1.new_ones(()))
    products_XRCC = torch.cumprod(steps_XRCC, dim=-2)
    return torch.nn.functional.pad(products_XRCC, (0, 0, 1, 0), value=1.0)


def _apply(state_XRR: torch.Tensor, vector_XR: torch.Tensor) -> torch.Tensor:
    return (state_XRR @ vector_XR.unsqueeze(-1)).squeeze(-1)
