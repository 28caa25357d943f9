# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg is untyped.
"""What the layers of a gated module write: keys of two tokens, values of the token itself, by the delta rule.

Per token with hidden input x, the hidden input x' of the token before it in its message (zeros for the
first), and e, what the base's first attention layer is given of the token, for each state S [rank, rank]::

    q = l2norm(tanh(W x))    k = l2norm(tanh(W x + W' x'))    v = W e    b = sigmoid(w x + w' x' + bias)
    r = S q                  S' = S + b (v - S k) k^T

A hidden input is made for what comes next: which token it is of can be told from it only roughly. e is of the
token alone, so what is read back says exactly which to say again, and no adapter changes it. With x' a key
also knows what led to the token, which is what a question that leads to it has in common with it, as in the
induction heads of arXiv 2209.11895. Unlike in the published rule nothing fades: a write takes the place of
what was under the same key and leaves what is under others as it is. That is the plain delta rule with one
rate for a token, whose chunkwise form (arXiv 2406.06484) needs one triangular system for all rows.

Shape suffixes as in ``layer.py``.
"""

from typing import NamedTuple, cast

import torch
from torch.nn import functional

from populace.adapters.memory.layer import LayerWidths, MemoryLayer, MemoryShape, direction, zeros

CHUNK_TOKENS = 64


class Told(NamedTuple):
    """Tokens of messages [B, T, H] each: x, x' and e of the head of this file."""

    hidden: torch.Tensor
    before: torch.Tensor
    embedded: torch.Tensor


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
        # What an open gate adds whatever was told: it turns the base to answers about a person.
        self.query_bias = zeros(widths.query) if "q" in shape.heads else None
        self.output_bias = zeros(widths.hidden) if "o" in shape.heads else None

    def store(self, told: Told, state_BNRR: torch.Tensor, writes_BT: torch.Tensor) -> torch.Tensor:
        """Return the states [B, N, R, R] after the tokens that ``writes_BT`` marks."""
        # What is masked may be anything, also padding's NaN.
        masked_B1T1 = ~writes_BT[:, None, :, None]
        brought = (part.masked_fill(masked_B1T1, 0.0) for part in self.brought(told))
        return delta_rule(Brought(*brought), state_BNRR)

    def brought(self, told: Told) -> Brought:
        """Project what is told to keys, values and rates."""
        own = functional.linear(told.hidden.float(), torch.cat((self.key, self.rate)))
        before = functional.linear(told.before.float(), torch.cat((self.key_before, self.rate_before)))
        key_BTW, rate_BTN = (own + before).split((self.shape.width, self.shape.states), dim=-1)
        return Brought(
            direction(self._states(key_BTW)),
            self._states(functional.linear(told.embedded.float(), self.value)),
            torch.sigmoid(rate_BTN + self.rate_bias).transpose(1, 2).unsqueeze(-1),
        )

    def deltas(self, read_BNTR: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        query, output = super().deltas(read_BNTR)
        return (
            query if query is None or self.query_bias is None else query + self.query_bias,
            output if output is None or self.output_bias is None else output + self.output_bias,
        )


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


def before_each(hidden_BTH: torch.Tensor, messages_BT: torch.Tensor) -> torch.Tensor:
    """The hidden input of the token before each in its message; zeros for the first of a message."""
    begins_BT1 = (messages_BT[:, 1:] != messages_BT[:, :-1]).unsqueeze(-1)
    return functional.pad(hidden_BTH[:, :-1].masked_fill(begins_BT1, 0.0), (0, 0, 1, 0))
