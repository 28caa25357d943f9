# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg and torch's split are partly untyped.
"""One layer of a gated memory: the keys, values and rates of a message's tokens, and the delta rule.

Let x be the hidden input of a token of a message, x' that of the token before it in the message (zeros for
the first), x'' a weighted mean of those after it, m the mean of the whole message, and e the token's input to
the base's first attention layer::

    q = l2norm(tanh(W x))    k = l2norm(tanh(W x + W' x' + W'' x'' + U m))    v = W e
    p = l2norm(tanh(P x))    b = sigmoid(w x + w' x' + w'' x'' + u m + bias)
    r = [S q, (S p)_R]       S' = S + b (v - S k) k^T
    x'' = Σ_d g^(d-1) x_{+d} / Σ_d g^(d-1)     over the d <= 32 tokens that follow in the message

A hidden input predicts the next token and identifies its own token only roughly. e depends on the token
alone, so a value that is read back identifies the token to repeat, and adapters do not change it. With x' a
key contains what precedes the token, which a question that leads to this token also contains, as in the
induction heads of arXiv 2209.11895. With x'' it contains what a causal base cannot know yet: "Luna is my
cat." says after the name whose name it is. With m it contains the topic of the message. The last row of a
value is 1 for every token, so what the query p reads from that row says how much is stored under p, and so
whether anything was told.

Unlike in the published rule nothing decays: a write replaces what is under its key and leaves other keys
unchanged. That is the plain delta rule with one rate for each token, whose chunkwise form (arXiv 2406.06484)
needs one triangular system for all rows. If a module writes messages instead of tokens, each message is one
write, with the means over its tokens of the arguments of k and b and of the values.

Shape suffixes are those of ``layer.py``; W = width of all states, P = width of keys and rates together,
C = tokens of a chunk, X = any dimensions.
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
"""The mean x'' of the module docstring covers at most this many following tokens."""

AFTER_DECAY = 0.8
"""The weight g of the mean x'' in the module docstring."""


class Told(NamedTuple):
    """The inputs of the tokens of messages, [B, T, H] each: x and e of the module docstring."""

    hidden: torch.Tensor
    embedded: torch.Tensor


class Projected(NamedTuple):
    """The projections of single tokens: W x, W' x, W'' x and U x with those of the rates, and the value v.

    The first four are [B, T, P], keys before rates; ``value`` is [B, T, W].
    """

    own: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor
    message: torch.Tensor
    value: torch.Tensor


class DeltaInputs(NamedTuple):
    """The tokens' inputs of the delta rule: key and value [X, T, R], and rate [X, T, 1], with X = B, N."""

    key: torch.Tensor
    value: torch.Tensor
    rate: torch.Tensor


class GatedLayer(MemoryLayer):
    """A memory layer that writes messages with ``store``, and reads with ``answers`` for the answer head."""

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
        # The answer head takes what is read; nothing is added within the layers.
        self.delta_query = self.delta_output = None

    def input_weights(self) -> list[torch.Tensor]:
        return [
            *(self.query, self.query_told, self.key, self.key_before, self.key_after, self.key_message),
            *(self.rate, self.rate_before, self.rate_after, self.rate_message),
        ]

    def store(self, told: Told, state_BNRR: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
        """Return the states [B, N, R, R] after writing messages.

        ``messages_BT`` has the message number of each token, and ``NOT_WRITTEN`` for tokens of no message.
        """
        return self.write_projected(self.projected(told), state_BNRR, messages_BT)

    def projected(self, told: Told, drop: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Projected:
        """Project tokens. ``drop``, a dropout, is applied to the hidden inputs separately for each use."""
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
        """Return what tokens read [B, T, W + N]: the values S q, then for each state (S p)_R."""
        read_BTW = self.read(hidden_BTH, state_BNRR).transpose(1, 2).flatten(2)
        told_BNTR = direction(self._states(functional.linear(hidden_BTH.float(), self.query_told)))
        told_BNT = (told_BNTR @ state_BNRR[..., -1, :].unsqueeze(-1)).squeeze(-1)
        return torch.cat((read_BTW, told_BNT.transpose(1, 2)), dim=-1)

    def write_projected(
        self, projected: Projected, state_BNRR: torch.Tensor, messages_BT: torch.Tensor
    ) -> torch.Tensor:
        """Return the states after writing projected messages, each of which must be complete."""
        if not messages_BT.shape[1]:
            return state_BNRR
        # Masked tokens may hold anything, such as the NaN of padding.
        masked_BT1 = (messages_BT == NOT_WRITTEN).unsqueeze(-1)
        own, before, after, message, value = (part.masked_fill(masked_BT1, 0.0) for part in projected)
        sum_BTP = own + _previous(before, messages_BT) + _following_mean(after, messages_BT)
        sum_BTP = sum_BTP + _whole_mean(message, messages_BT)
        if self.shape.writes == "message":
            sum_BTP, masked_BT1 = message_means(sum_BTP, messages_BT)
            value, _ = message_means(value, messages_BT)
        key_BTW, rate_BTN = sum_BTP.split((self.shape.width, self.shape.states), dim=-1)
        rate_BTN = torch.sigmoid(rate_BTN + self.rate_bias).masked_fill(masked_BT1, 0.0)
        inputs = DeltaInputs(
            direction(self._states(key_BTW)),
            self._states(value),
            rate_BTN.transpose(1, 2).unsqueeze(-1),
        )
        return delta_rule(inputs, state_BNRR)


def delta_rule(
    tokens: DeltaInputs, state_XRR: torch.Tensor, *, chunk_tokens: int = CHUNK_TOKENS
) -> torch.Tensor:
    """Return the state after writing the tokens in order; a token with rate 0 does not write.

    It computes ``chunk_tokens`` at a time (arXiv 2406.06484): within a chunk, token j adds u_j k_j^T with
    u_j = b_j (v_j - S k_j - Σ_{l<j} (k_l · k_j) u_l), where S is the state before the chunk.
    """
    for first in range(0, tokens.key.shape[-2], chunk_tokens):
        key_XCR, value_XCR, rate_XC1 = (part[..., first : first + chunk_tokens, :] for part in tokens)
        missing_XCR = value_XCR - key_XCR @ state_XRR.transpose(-1, -2)
        overlap_XCC = rate_XC1 * (key_XCR @ key_XCR.transpose(-1, -2))
        # ``unitriangular`` takes the diagonal as 1 and ignores what is stored there.
        added_XCR = cast(
            "torch.Tensor",
            torch.linalg.solve_triangular(
                overlap_XCC, rate_XC1 * missing_XCR, upper=False, unitriangular=True
            ),
        )
        state_XRR = state_XRR + added_XCR.transpose(-1, -2) @ key_XCR
    return state_XRR


def token_context(
    hidden_BTH: torch.Tensor, messages_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x', x'' and m of the module docstring [B, T, H] for each token; zeros where there are none."""
    if not hidden_BTH.shape[1]:
        return hidden_BTH, hidden_BTH, hidden_BTH
    return (
        _previous(hidden_BTH, messages_BT),
        _following_mean(hidden_BTH, messages_BT),
        _whole_mean(hidden_BTH, messages_BT),
    )


def _previous(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    """Return for each token the part of the token before it in its message."""
    begins_BT1 = (messages_BT[:, 1:] != messages_BT[:, :-1]).unsqueeze(-1)
    return functional.pad(parts_BTX[:, :-1].masked_fill(begins_BT1, 0.0), (0, 0, 1, 0))


def message_means(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of each message [B, M, X], and a mask [B, M, 1] of the numbers without a message."""
    belongs_BMT = _belongs(messages_BT, parts_BTX.dtype)
    return _means(parts_BTX, belongs_BMT), belongs_BMT.sum(-1, keepdim=True) == 0


def _belongs(messages_BT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return [B, M, T]: 1 where a token belongs to a message, else 0."""
    count = int(messages_BT.max()) + 2
    return functional.one_hot(messages_BT + 1, count).transpose(1, 2)[:, 1:].to(dtype)


def _means(parts_BTX: torch.Tensor, belongs_BMT: torch.Tensor) -> torch.Tensor:
    return belongs_BMT @ parts_BTX / belongs_BMT.sum(-1, keepdim=True).clamp(min=1)


def _whole_mean(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    """Return for each token the mean of its message."""
    belongs_BMT = _belongs(messages_BT, parts_BTX.dtype)
    return belongs_BMT.transpose(1, 2) @ _means(parts_BTX, belongs_BMT)


def _following_mean(parts_BTX: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    """Return for each token the weighted mean of those after it in its message; W = tokens of a window."""
    means: list[torch.Tensor] = []
    for first in range(0, parts_BTX.shape[1], CHUNK_TOKENS):
        messages_BC1 = messages_BT[:, first : first + CHUNK_TOKENS].unsqueeze(-1)
        window = slice(first, first + messages_BC1.shape[1] + AFTER_TOKENS)
        others_BWX, messages_B1W = parts_BTX[:, window], messages_BT[:, window].unsqueeze(1)
        tokens_C1, others_1W = torch.arange(messages_BC1.shape[1])[:, None], torch.arange(others_BWX.shape[1])
        distance_CW = (others_1W - tokens_C1).to(others_BWX.device)
        follows_BCW = (messages_BC1 == messages_B1W) & (distance_CW > 0) & (distance_CW <= AFTER_TOKENS)
        weights_BCW = follows_BCW * AFTER_DECAY ** (distance_CW - 1).clamp(0, AFTER_TOKENS)
        weights_BCW = weights_BCW / weights_BCW.sum(-1, keepdim=True).clamp(min=1e-9)
        means.append(weights_BCW.to(others_BWX.dtype) @ others_BWX)
    return torch.cat(means, dim=1)
