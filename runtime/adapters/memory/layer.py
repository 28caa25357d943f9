"""The δ-mem of one attention layer: the projections with which its tokens write and read the state.

For a token with hidden input x (arXiv 2605.12357, equations 4 to 9)::

    q, k = l2norm(tanh(W x))    v = W x    b = sigmoid(W_b x + bias)      [rank], for each state
    delta_q = (alpha / rank) W_q r      delta_o = (alpha / rank) W_o r     r: what was read

``delta_q`` is added to the output of the query projection, before any norm or rotary embedding, and
``delta_o`` to that of the output projection. Everything is computed in float32.

Shape suffixes: B = batch, N = states, T = tokens, R = rank, H = hidden width, M = messages, W = N x R.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, TypeVar

import torch
from pydantic import Field
from torch.nn import functional

from populace.adapters.memory.scan import Scanned, TokenInputs, scan_chunks

Heads = Literal["q", "o", "qo"]
Writes = Literal["token", "message"]

Layer = TypeVar("Layer")

NOT_WRITTEN = -1
"""Instead of a message number: the token belongs to no message that is written."""

FIRST_LAYER_SHARE = 0.27
"""This share of the layers, the first ones, has no memory in a gated module.

Their inputs do not show yet whether a text is about the person, which the gates decide by.
"""

RANK_MAX = 256
STATES_MAX = 64
LAYERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """The configuration that all layers of a memory module share.

    With ``writes`` "token" every token is written (TSW of the paper), with "message" the mean of each message
    (SSW). Several ``states`` are parallel, each with its own projections (MSW). ``heads`` names the
    projections to which is added, query and output. A ``gated`` module reads and writes where its gates are
    open (``Gates``), by the rule of ``gated_layer.py``; it ignores ``alpha`` and ``heads``. The layers
    before ``first_layer`` have no memory, so that the gates are computed before anything is read; from there
    on every ``layer_step``-th layer has one.
    """

    rank: Annotated[int, Field(ge=1, le=RANK_MAX)] = 8
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 16.0
    states: Annotated[int, Field(ge=1, le=STATES_MAX)] = 1
    writes: Writes = "token"
    heads: Heads = "qo"
    gated: bool = False
    first_layer: Annotated[int, Field(ge=0, le=LAYERS_MAX)] = 0
    layer_step: Annotated[int, Field(ge=1, le=LAYERS_MAX)] = 1

    @property
    def width(self) -> int:
        """The number of rows of all states together."""
        return self.rank * self.states

    def with_memory(self, layers: Sequence[Layer]) -> Sequence[Layer]:
        """Return those of the base's attention layers that have a memory."""
        return layers[self.first_layer :: self.layer_step]


class LayerWidths(NamedTuple):
    """An attention layer's hidden width and that of its query projection."""

    hidden: int
    query: int


class Passed(NamedTuple):
    """The results of one layer in a pass.

    ``delta_query`` and ``delta_output`` [B, T, width] are to be added to the two projections, None for one
    that the module does not change. ``state`` [B, N, R, R] is the state after the pass, ``read`` [B, N, T, R]
    what each token read, [B, T, W + N] in a gated layer, and ``rate`` [B, N, T, R] the rates of the tokens or
    messages; None if nothing is written.
    """

    delta_query: torch.Tensor | None
    delta_output: torch.Tensor | None
    state: torch.Tensor
    read: torch.Tensor
    rate: torch.Tensor | None = None


class MemoryLayer(torch.nn.Module):
    """The trained projections of one attention layer, which all personal models share."""

    def __init__(self, shape: MemoryShape, widths: LayerWidths) -> None:
        """Make a layer of zeros, to be filled by ``initial.py`` or from a file."""
        super().__init__()
        self.shape = shape
        self.widths = widths
        self.query = zeros(shape.width, widths.hidden)
        self.key = zeros(shape.width, widths.hidden)
        self.value = zeros(shape.width, widths.hidden)
        self.rate = zeros(shape.width, widths.hidden)
        self.rate_bias = zeros(shape.width)
        self.delta_query = zeros(widths.query, shape.width) if "q" in shape.heads else None
        self.delta_output = zeros(widths.hidden, shape.width) if "o" in shape.heads else None

    def forward(
        self,
        hidden_BTH: torch.Tensor,
        state_BNRR: torch.Tensor,
        writes_BT: torch.Tensor,
        messages_BT: torch.Tensor | None = None,
    ) -> Passed:
        """Read with every token, and write the tokens that ``writes_BT`` (bool) marks.

        If the shape writes tokens, a token reads what the tokens before it have written. If it writes
        messages, every token reads the state from before the pass, and the mean of each message's marked
        tokens is written, in the order of the numbers in ``messages_BT``.
        """
        hidden_BTH = hidden_BTH.float()
        if not bool(writes_BT.any()):
            read_BNTR = self.read(hidden_BTH, state_BNRR)
            return Passed(*self.deltas(read_BNTR), state_BNRR, read_BNTR)
        tokens = self.inputs(hidden_BTH)
        if self.shape.writes == "token":
            read_BNTR, state_BNRR = self._scanned(tokens, state_BNRR, writes_BT)
        else:
            read_BNTR = tokens.query @ state_BNRR.transpose(-1, -2)
            state_BNRR = self.write(hidden_BTH, state_BNRR, writes_BT, messages_BT)
        return Passed(*self.deltas(read_BNTR), state_BNRR, read_BNTR, tokens.rate)

    def input_weights(self) -> list[torch.Tensor]:
        """Return the matrices [K, H] that the layer multiplies its hidden input with."""
        return [self.query, self.key, self.value, self.rate]

    def read(self, hidden_BTH: torch.Tensor, state_BNRR: torch.Tensor) -> torch.Tensor:
        """Read the given state with every token; returns [B, N, T, R]."""
        query_BNTR = direction(self._states(functional.linear(hidden_BTH.float(), self.query)))
        return query_BNTR @ state_BNRR.transpose(-1, -2)

    def write(
        self,
        hidden_BTH: torch.Tensor,
        state_BNRR: torch.Tensor,
        writes_BT: torch.Tensor,
        messages_BT: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Write the marked tokens, or the means of their messages, and return the new state."""
        if self.shape.writes == "token":
            return self._scanned(self.inputs(hidden_BTH.float()), state_BNRR, writes_BT).state
        assert messages_BT is not None, "writes of message means need the messages"
        mean_BMH, written_BM = message_means(hidden_BTH.float(), writes_BT, messages_BT)
        return self._scanned(self.inputs(mean_BMH), state_BNRR, written_BM).state

    def _scanned(self, tokens: TokenInputs, state_BNRR: torch.Tensor, writes_BT: torch.Tensor) -> Scanned:
        return scan_chunks(_writing(tokens, writes_BT), state_BNRR)

    def inputs(self, hidden_BTH: torch.Tensor) -> TokenInputs:
        """Project hidden inputs to the inputs of the scan, [B, N, T, R] each."""
        # One product for all four, since a single one is too narrow to use the processor fully.
        weight = torch.cat((self.query, self.key, self.value, self.rate))
        query, key, value, rate = functional.linear(hidden_BTH, weight).chunk(4, dim=-1)
        return TokenInputs(
            query=direction(self._states(query)),
            key=direction(self._states(key)),
            value=self._states(value),
            rate=torch.sigmoid(self._states(rate + self.rate_bias)),
        )

    def deltas(self, read_BNTR: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Project what was read to delta_q and delta_o [B, T, width]; None if it is not in ``heads``."""
        read_BTW = read_BNTR.transpose(1, 2).flatten(2) * (self.shape.alpha / self.shape.rank)
        query, output = (
            None if weight is None else functional.linear(read_BTW, weight)
            for weight in (self.delta_query, self.delta_output)
        )
        return query, output

    def _states(self, projected_BTW: torch.Tensor) -> torch.Tensor:
        """Split [B, T, W] into the states [B, N, T, R]."""
        batch, tokens, _ = projected_BTW.shape
        return projected_BTW.reshape(batch, tokens, self.shape.states, self.shape.rank).transpose(1, 2)


def direction(projected: torch.Tensor) -> torch.Tensor:
    """Return the unit vectors l2norm(tanh(projected)), the form of keys and queries."""
    return functional.normalize(torch.tanh(projected), dim=-1)


def message_means(
    hidden_BTH: torch.Tensor, writes_BT: torch.Tensor, messages_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each message's mean [B, M, H] over its marked tokens, and whether it has any [B, M].

    ``messages_BT`` has numbers from 0 to M - 1; tokens that are not marked may have any number.
    """
    count = int(messages_BT.max()) + 1 if messages_BT.numel() else 0
    belongs_BMT = functional.one_hot(messages_BT.clamp(min=0), max(count, 1)).transpose(1, 2)
    belongs_BMT = belongs_BMT.to(hidden_BTH.dtype) * writes_BT.unsqueeze(1)
    tokens_BM1 = belongs_BMT.sum(-1, keepdim=True)
    return belongs_BMT @ hidden_BTH / tokens_BM1.clamp(min=1), tokens_BM1.squeeze(-1) > 0


def _writing(tokens: TokenInputs, writes_BT: torch.Tensor) -> TokenInputs:
    """Zero the inputs of unmarked tokens except queries; they may hold anything, such as NaN in padding."""
    masked_B1T1 = ~writes_BT[:, None, :, None]
    return TokenInputs(
        *(
            part.masked_fill(masked_B1T1, 0.0) if name != "query" else part
            for name, part in tokens._asdict().items()
        )
    )


def zeros(*shape: int) -> torch.nn.Parameter:
    """Return a parameter of zeros."""
    return torch.nn.Parameter(torch.zeros(*shape))
