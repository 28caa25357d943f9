# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg and torch's split are partly untyped.
"""One layer of a memory with gates: what the tokens of messages bring to its states, and how it is written.

For a token of a message with hidden input x, with x' that of the token before it in the message (zeros for
the first), x'' the mean of those after it, m the mean of all of the message, and e what the base's first
attention layer is given of it::

    q = l2norm(tanh(W x))    k = l2norm(tanh(W x + W' x' + W'' x'' + U m))    v = W e
    p = l2norm(tanh(P x))    b = sigmoid(w x + w' x' + w'' x'' + u m + bias)
    r = [S q, (S p)_R]       S' = S + b (v - S k) k^T
    x'' = Σ_d g^(d-1) x_{+d} / Σ_d g^(d-1)     over the d <= 32 tokens that follow in the message

A hidden input is made for what comes next: which token it is of can be told from it only roughly. e is of the
token alone, so what is read back says exactly which to say again, and no adapter changes it. With x' a key
also knows what led to the token, which is what a question that leads to it has in common with it, as in the
induction heads of arXiv 2209.11895. With x'' it knows what a base that reads from left to right cannot know
yet: in "Luna is my cat." it is said after the name what it is the name of. With m it knows what all of it
is about. The last row of a value is 1 for every token, so what the query p reads of it says how much there is
under p: whether anything was told.

Unlike in the published rule nothing fades: a write takes the place of what was under the same key and leaves
what is under others as it is. That is the plain delta rule with one rate for a token, whose chunkwise form
(arXiv 2406.06484) needs one triangular system for all rows. If messages are written and not tokens, each is
one write, with the means of its tokens' sums and values.

Shape suffixes as in ``layer.py``; P is the width of keys and rates together.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch.nn import functional

from populace.adapters.memory.layer import (
    NOT_WRITTEN,
    LayerWidths,
    MemoryLayer,
    MemoryShape,
    direction,
    zeros,
)

CHUNK_TOKENS = 64

AFTER_TOKENS = 32
AFTER_DECAY = 0.8
"""g of the head of this file."""


class Told(NamedTuple):
    """Tokens of messages [B, T, H] each: x and e of the head of this file."""

    hidden: torch.Tensor
    embedded: torch.Tensor


class Projected(NamedTuple):
    """What each token has by itself: W x, W' x, W'' x and U x with the rates' [B, T, P], and v [B, T, W]."""

    own: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor
    message: torch.Tensor
    value: torch.Tensor


class Brought(NamedTuple):
    """What tokens bring to the states: key and value [X, T, R], and the rate [X, T, 1]. X = B, N."""

    key: torch.Tensor
    value: torch.Tensor
    rate: torch.Tensor


class GatedLayer(MemoryLayer):
    """A layer whose messages are written by ``store``, and whose replies read what that left."""

    def __init__(self, shape: MemoryShape, widths: LayerWidths) -> None:
        super().__init__(shape, widths)
        self.rate = zeros(shape.states, widths.hidden)
        self.rate_bias = zeros(shape.states)
        self.key_before = zeros(shape.width, widths.hidden)
        self.rate_before = zeros(shape.states, widths.hidden)
        self.key_after = zeros(shape.width, widths.hidden)
        self.rate_after = zeros(shape.states, widths.hidden)
        self.key_message = zeros(shape.width, widths.hidden)
        self.rate_message = zeros(shape.states, widths.hidden)
        self.query_told = zeros(shape.width, widths.hidden)
        # What is read goes to the answer head.
        self.delta_query = self.delta_output = None

    def store(self, told: Told, state_BNRR: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
        """Return the states [B, N, R, R] after messages; ``NOT_WRITTEN`` marks tokens that are of none."""
        return self.write_projected(self.projected(told), state_BNRR, messages_BT)

    def projected(self, told: Told, drop: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Projected:
        """Project tokens. ``drop`` is applied to the hidden inputs anew for each use of them."""
        pairs = (
            (self.key, self.rate),
            (self.key_before, self.rate_before),
            (self.key_after, self.rate_after),
            (self.key_message, self.rate_message),
        )
        weights = [torch.cat(pair) for pair in pairs]
        hidden_BTH = told.hidden.float()
        if drop is None:
            parts = functional.linear(hidden_BTH, torch.cat(weights)).chunk(len(weights), dim=-1)
        else:
            parts = [functional.linear(drop(hidden_BTH), weight) for weight in weights]
        own, before, after, message = parts
        return Projected(own, before, after, message, functional.linear(told.embedded.float(), self.value))

    def answers(self, hidden_BTH: torch.Tensor, state_BNRR: torch.Tensor) -> torch.Tensor:
        """Return what tokens read [B, T, W + N]: values, and how much each state has under p."""
        read_BTW = self.read(hidden_BTH, state_BNRR).transpose(1, 2).flatten(2)
        told_BNTR = direction(self._states(functional.linear(hidden_BTH.float(), self.query_told)))
        told_BNT = (told_BNTR @ state_BNRR[..., -1, :].unsqueeze(-1)).squeeze(-1)
        return torch.cat((read_BTW, told_BNT.transpose(1, 2)), dim=-1)

    def write_projected(
        self, projected: Projected, state_BNRR: torch.Tensor, messages_BT: torch.Tensor
    ) -> torch.Tensor:
        """Return the states after messages that are projected already. Each must be whole."""
        if not messages_BT.shape[1]:
            return state_BNRR
        # What is masked may be anything, also padding's NaN.
        masked_BT1 = (messages_BT == NOT_WRITTEN).unsqueeze(-1)
        own, before, after, message, value = (part.masked_fill(masked_BT1, 0.0) for part in projected)
        sum_BTP = own + _of_the_one_before(before, messages_BT) + _of_those_after(after, messages_BT)
        sum_BTP = sum_BTP + _of_all(message, messages_BT)
        if self.shape.writes == "message":
            sum_BTP, masked_BT1 = message_means(sum_BTP, messages_BT)
            value, _ = message_means(value, messages_BT)
        key_BTW, rate_BTN = sum_BTP.split((self.shape.width, self.shape.states), dim=-1)
        rate_BTN = torch.sigmoid(rate_BTN + self.rate_bias).masked_fill(masked_BT1, 0.0)
        brought = Brought(
            direction(self._states(key_BTW)),
            self._states(value),
            rate_BTN.transpose(1, 2).unsqueeze(-1),
        )
        return delta_rule(brought, state_BNRR)


def delta_rule(tokens: Brought, state_XRR: torch.Tensor, *, chunk_tokens: int = CHUNK_TOKENS) -> torch.Tensor:
    """Return the state after the tokens, ``chunk_tokens`` at a time; a token with rate 0 does not write.

    Within a chunk token j adds u_j k_j^T, with u_j = b_j (v_j - S k_j - Σ_{l<j} (k_l · k_j) u_l).
    """
    for first in range(0, tokens.key.shape[-2], chunk_tokens):
        key_XCR, value_XCR, rate_XC1 = (part[..., first : first + chunk_tokens, :] for part in tokens)
        missing_XCR = value_XCR - key_XCR @ state_XRR.transpose(-1, -2)
        overlap_XCC = rate_XC1 * (key_XCR @ key_XCR.transpose(-1, -2))
        # The diagonal is taken as 1.
        added_XCR = cast(
            "torch.Tensor",
            torch.linalg.solve_triangular(
                overlap_XCC, rate_XC1 * missing_XCR, upper=False, unitriangular=True
            ),
        )
        state_XRR = state_XRR + added_XCR.transpose(-1, -2) @ key_XCR
    return state_XRR


def around_each(
    hidden_BTH: torch.Tensor, messages_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x', x'' and m of the head of this file for tokens of messages; zeros where there is no such token."""
    if not hidden_BTH.shape[1]:
        return hidden_BTH, hidden_BTH, hidden_BTH
    return (
        _of_the_one_before(hidden_BTH, messages_BT),
        _of_those_after(hidden_BTH, messages_BT),
        _of_all(hidden_BTH, messages_BT),
    )


def _of_the_one_before(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    begins_BT1 = (messages_BT[:, 1:] != messages_BT[:, :-1]).unsqueeze(-1)
    return functional.pad(parts_BTX[:, :-1].masked_fill(begins_BT1, 0.0), (0, 0, 1, 0))


def message_means(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of each message [B, M, X], and which of them [B, M, 1] there are not."""
    belongs_BMT = _belongs(messages_BT, parts_BTX.dtype)
    return _means(parts_BTX, belongs_BMT), belongs_BMT.sum(-1, keepdim=True) == 0


def _belongs(messages_BT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Which tokens are of which message [B, M, T], as 1 and 0."""
    count = int(messages_BT.max()) + 2
    return functional.one_hot(messages_BT + 1, count).transpose(1, 2)[:, 1:].to(dtype)


def _means(parts_BTX: torch.Tensor, belongs_BMT: torch.Tensor) -> torch.Tensor:
    return belongs_BMT @ parts_BTX / belongs_BMT.sum(-1, keepdim=True).clamp(min=1)


def _of_all(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    belongs_BMT = _belongs(messages_BT, parts_BTX.dtype)
    return belongs_BMT.transpose(1, 2) @ _means(parts_BTX, belongs_BMT)


def _of_those_after(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    found: list[torch.Tensor] = []
    for first in range(0, parts_BTX.shape[1], CHUNK_TOKENS):
        of_BC1 = messages_BT[:, first : first + CHUNK_TOKENS].unsqueeze(-1)
        window = slice(first, first + of_BC1.shape[1] + AFTER_TOKENS)
        those_BWX, messages_B1W = parts_BTX[:, window], messages_BT[:, window].unsqueeze(1)
        tokens_C1, others_1W = torch.arange(of_BC1.shape[1])[:, None], torch.arange(those_BWX.shape[1])
        distance_CW = (others_1W - tokens_C1).to(those_BWX.device)
        follows_BCW = (of_BC1 == messages_B1W) & (distance_CW > 0) & (distance_CW <= AFTER_TOKENS)
        weights_BCW = follows_BCW * AFTER_DECAY ** (distance_CW - 1).clamp(0, AFTER_TOKENS)
        weights_BCW = weights_BCW / weights_BCW.sum(-1, keepdim=True).clamp(min=1e-9)
        found.append(weights_BCW.to(those_BWX.dtype) @ those_BWX)
    return torch.cat(found, dim=1)
