# pyright: reportUnknownMemberType=false
# torch.linalg is untyped.
"""The gated delta rule of δ-mem, as a plain loop over tokens and as a chunkwise parallel form.

A state S [r, r] is read before it is written; with k of length 1, each row i of it is an online
linear regression of value i on the keys (arXiv 2605.12357, equations 6, 10 and 12)::

    r_t = S_{t-1} q_t
    S_t = Diag(1 - b_t) S_{t-1} + Diag(b_t) (v_t - S_{t-1} k_t) k_t^T

Both forms take the same arguments and give the same results up to rounding. ``scan_loop`` is the definition.
``scan_chunks`` computes the tokens of a chunk in parallel, for training and for prompts. A token with b = 0
reads and does not write; so do padding and tokens that were written before.

Shape suffixes: X = any leading dimensions (batch, states), T = tokens, R = rank, K = chunks,
C = tokens of a chunk.
"""

from typing import NamedTuple, cast

import torch
from torch.nn import functional

CHUNK_TOKENS = 32
"""Longer chunks need fewer steps, but each solves a larger system; 32 to 64 tokens are equally fast."""


class TokenInputs(NamedTuple):
    """The tokens' queries, keys, values and rates, all [X, T, R]. ``rate`` has b in [0, 1] for each row."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    rate: torch.Tensor


class Scanned(NamedTuple):
    """What each token read [X, T, R], and the state after all tokens [X, R, R]."""

    read: torch.Tensor
    state: torch.Tensor


def scan_loop(tokens: TokenInputs, state_XRR: torch.Tensor) -> Scanned:
    """Apply the rule token by token; the reference for every other form."""
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
    """Apply the rule to ``chunk_tokens`` at a time; differentiable in all inputs, also at rates of 0 and 1.

    Everything is computed for all chunks at once, except the states at which the chunks start: these take one
    small product for each chunk.
    """
    count = tokens.query.shape[-2]
    if count == 0:
        return Scanned(torch.zeros_like(tokens.query), state_XRR)
    if count == 1:  # a token of a reply; the loop needs far fewer operations
        return scan_loop(tokens, state_XRR)
    size = min(chunk_tokens, count)
    chunks = _chunks(tokens, size)
    updates = _solve(chunks)
    start_XKRR, state_XRR = _chunk_states(chunks, updates, state_XRR)
    read_XKCR = _read_chunks(chunks, updates, start_XKRR)
    return Scanned(read_XKCR.flatten(-3, -2)[..., :count, :], state_XRR)


class _Updates(NamedTuple):
    """What the tokens of a chunk add to a row of the state, as a linear function of the row s_0 at its start.

    After token j a row is s_j = Γ(j, 0) s_0 + Σ_{l ≤ j} Γ(j, l) u_l k_l, with Γ(j, l) = Π_{l < m ≤ j} (1 -
    b_m). The delta rule determines u by one triangular system for each row::

        u_j + b_j Σ_{l < j} Γ(j-1, l) (k_l · k_j) u_l = b_j (v_j - Γ(j-1, 0) s_0 · k_j)

    so that u = ``own`` - ``dependent`` s_0. ``from_start`` is Γ(j-1, 0) and ``between`` Γ(j-1, l) for l < j,
    the shares that are left when token j reads. ``at_end`` has Γ(C, l) for all l from 0.

    ``own`` and ``from_start`` are [X, K, R, C, 1], ``dependent`` [X, K, R, C, R], ``between``
    [X, K, R, C, C], ``at_end`` [X, K, R, C + 1].
    """

    own: torch.Tensor
    dependent: torch.Tensor
    from_start: torch.Tensor
    between: torch.Tensor
    at_end: torch.Tensor


def _chunks(tokens: TokenInputs, size: int) -> TokenInputs:
    """Split [X, T, R] into [X, K, C, R]; the last chunk is padded with tokens that do not write."""
    missing = -tokens.query.shape[-2] % size
    return TokenInputs(
        *(functional.pad(part, (0, 0, 0, missing)).unflatten(-2, (-1, size)) for part in tokens)
    )


def _solve(chunks: TokenInputs) -> _Updates:
    _, key_XKCR, value_XKCR, rate_XKCR = chunks
    size = key_XKCR.shape[-2]
    kept_XKRCC = _products(1 - rate_XKCR)
    from_start_XKRC1, between_XKRCC = kept_XKRCC[..., :size, :1], kept_XKRCC[..., :size, 1:].tril(-1)
    rate_XKRC1 = rate_XKCR.transpose(-1, -2).unsqueeze(-1)
    overlap_XK1CC = (key_XKCR @ key_XKCR.transpose(-1, -2)).unsqueeze(-3)
    value_XKRC1 = value_XKCR.transpose(-1, -2).unsqueeze(-1)
    wanted = torch.cat((value_XKRC1, from_start_XKRC1 * key_XKCR.unsqueeze(-3)), dim=-1)
    # ``unitriangular`` takes the diagonal as 1; ``tril(-1)`` left zeros there.
    solved = cast(
        "torch.Tensor",
        torch.linalg.solve_triangular(
            rate_XKRC1 * between_XKRCC * overlap_XK1CC, rate_XKRC1 * wanted, upper=False, unitriangular=True
        ),
    )
    return _Updates(
        solved[..., :1], solved[..., 1:], from_start_XKRC1, between_XKRCC, kept_XKRCC[..., size, :]
    )


def _chunk_states(
    chunks: TokenInputs, updates: _Updates, state_XRR: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states at which the chunks start [X, K, R, R], and the state after the last chunk."""
    key_XK1RC = chunks.key.transpose(-1, -2).unsqueeze(-3)
    left_XKRC1 = updates.at_end[..., 1:].unsqueeze(-1)
    added_XKRR = (key_XK1RC @ (left_XKRC1 * updates.own)).squeeze(-1)
    taken_XKRRR = key_XK1RC @ (left_XKRC1 * updates.dependent)
    kept_XKR1 = updates.at_end[..., :1]
    starts: list[torch.Tensor] = []
    for chunk in range(added_XKRR.shape[-3]):
        starts.append(state_XRR)
        taken_XRR = (taken_XKRRR[..., chunk, :, :, :] @ state_XRR.unsqueeze(-1)).squeeze(-1)
        state_XRR = kept_XKR1[..., chunk, :, :] * state_XRR - taken_XRR + added_XKRR[..., chunk, :, :]
    return torch.stack(starts, dim=-3), state_XRR


def _read_chunks(chunks: TokenInputs, updates: _Updates, start_XKRR: torch.Tensor) -> torch.Tensor:
    query_XKCR, key_XKCR = chunks.query, chunks.key
    update_XKRC1 = updates.own - updates.dependent @ start_XKRR.unsqueeze(-1)
    likeness_XK1CC = (query_XKCR @ key_XKCR.transpose(-1, -2)).unsqueeze(-3)
    recalled_XKRC1 = updates.from_start * (start_XKRR @ query_XKCR.transpose(-1, -2)).unsqueeze(-1)
    read_XKRC1 = recalled_XKRC1 + (updates.between * likeness_XK1CC) @ update_XKRC1
    return read_XKRC1.squeeze(-1).transpose(-1, -2)


def _products(factors_XCR: torch.Tensor) -> torch.Tensor:
    """Return [.., R, C+1, C+1]: at (j, l) the product of factors l+1 to j, and 1 where j ≤ l.

    They are true products. Quotients of running products, or differences of their logarithms, would fail
    after a factor of 0 and lose digits after a small one.
    """
    size = factors_XCR.shape[-2]
    factors_XRC1 = factors_XCR.transpose(-1, -2).unsqueeze(-1)
    ones = torch.ones(size + 1, size + 1, dtype=torch.bool, device=factors_XCR.device)
    later_CC = ones.tril(-1)[1:]
    steps_XRCC = torch.where(later_CC, factors_XRC1, factors_XRC1.new_ones(()))
    products_XRCC = torch.cumprod(steps_XRCC, dim=-2)
    return functional.pad(products_XRCC, (0, 0, 1, 0), value=1.0)


def _apply(state_XRR: torch.Tensor, vector_XR: torch.Tensor) -> torch.Tensor:
    return (state_XRR @ vector_XR.unsqueeze(-1)).squeeze(-1)
