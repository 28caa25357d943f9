"""The δ-mem of one attention layer: what its tokens bring to the state, and what they read from it.

Per token with hidden input x (arXiv 2605.12357, equations 4 to 9)::

    q, k = l2norm(tanh(W x))    v = W x    b = sigmoid(W_b x + bias)      [rank], for each state
    delta_q = (alpha / rank) W_q r      delta_o = (alpha / rank) W_o r     r: what was read

``delta_q`` is added to the query projection before any norm or rotary embedding of it, ``delta_o``
after the output projection. Everything is computed in float32.

Shape suffixes: B = batch, N = states, T = tokens, R = rank, H = hidden width, M = messages.
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
"""In the place of a message's number: the token is of none that is written."""

FIRST_LAYER_SHARE = 0.27
"""Of the layers, the first ones: without a gated memory, as they do not tell yet what is about the person."""

RANK_MAX = 256
STATES_MAX = 64
LAYERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """What all layers of a memory module have in common.

    ``writes`` "token" writes every token (TSW), "message" the mean of each message (SSW); more than
    one of ``states`` are parallel ones with projections of their own (MSW). A ``gated`` module reads and
    writes where its gates say so, see ``gates.py``, what it writes is of ``gated_layer.py``, and ``alpha``
    and ``heads`` do not matter; the layers before ``first_layer`` have no memory, so that a gate can be
    computed before anything is read, and from there on every ``layer_step``-th one has.
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
        """The rows of all states together."""
        return self.rank * self.states

    def with_memory(self, layers: Sequence[Layer]) -> Sequence[Layer]:
        """Those of a base's layers that have a memory."""
        return layers[self.first_layer :: self.layer_step]


class LayerWidths(NamedTuple):
    """An attention layer's hidden width and that of its query projection."""

    hidden: int
    query: int


class Passed(NamedTuple):
    """What a pass added to the layer's two projections [B, T, width], and the state after it.

    ``read`` [B, N, T, R] is what each token read, ``rate`` how strongly it would write; None for a pass
    that writes nothing.
    """

    delta_query: torch.Tensor | None
    delta_output: torch.Tensor | None
    state: torch.Tensor
    read: torch.Tensor
    rate: torch.Tensor | None = None


class MemoryLayer(torch.nn.Module):
    """The trained projections of one attention layer. They are shared; the states are not."""

    def __init__(self, shape: MemoryShape, widths: LayerWidths) -> None:
        """All zeros: read but empty. ``memory/initial.py`` and files fill it."""
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
        """Read with every token, and write those that ``writes_BT`` (bool) marks.

        With ``writes`` "message", every token reads the state from before the pass, and the mean of
        each message's marked tokens is written, in the order of the ids in ``messages_BT``.
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

    def read(self, hidden_BTH: torch.Tensor, state_BNRR: torch.Tensor) -> torch.Tensor:
        """Read [B, N, T, R] of one and the same state with every token."""
        query_BNTR = direction(self._states(functional.linear(hidden_BTH.float(), self.query)))
        return query_BNTR @ state_BNRR.transpose(-1, -2)

    def write(
        self,
        hidden_BTH: torch.Tensor,
        state_BNRR: torch.Tensor,
        writes_BT: torch.Tensor,
        messages_BT: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Write the marked tokens, or the means of their messages, and read nothing."""
        if self.shape.writes == "token":
            return self._scanned(self.inputs(hidden_BTH.float()), state_BNRR, writes_BT).state
        assert messages_BT is not None, "writes of message means need the messages"
        mean_BMH, written_BM = message_means(hidden_BTH.float(), writes_BT, messages_BT)
        return self._scanned(self.inputs(mean_BMH), state_BNRR, written_BM).state

    def _scanned(self, tokens: TokenInputs, state_BNRR: torch.Tensor, writes_BT: torch.Tensor) -> Scanned:
        return scan_chunks(_writing(tokens, writes_BT), state_BNRR)

    def inputs(self, hidden_BTH: torch.Tensor) -> TokenInputs:
        """Project hidden inputs to what the scan takes, [B, N, T, R] each."""
        # One product of all four: each alone is too narrow for the processor.
        weight = torch.cat((self.query, self.key, self.value, self.rate))
        query, key, value, rate = functional.linear(hidden_BTH, weight).chunk(4, dim=-1)
        return TokenInputs(
            query=direction(self._states(query)),
            key=direction(self._states(key)),
            value=self._states(value),
            rate=torch.sigmoid(self._states(rate + self.rate_bias)),
        )

    def deltas(self, read_BNTR: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Project what was read to what is added to the query and the output projection."""
        read_BTW = read_BNTR.transpose(1, 2).flatten(2) * (self.shape.alpha / self.shape.rank)
        query, output = (
            None if weight is None else functional.linear(read_BTW, weight)
            for weight in (self.delta_query, self.delta_output)
        )
        return query, output

    def _states(self, projected_BTW: torch.Tensor) -> torch.Tensor:
        """Split [B, T, W] among the states: [B, N, T, R]."""
        batch, tokens, _ = projected_BTW.shape
        return projected_BTW.reshape(batch, tokens, self.shape.states, self.shape.rank).transpose(1, 2)


def direction(projected: torch.Tensor) -> torch.Tensor:
    """Make keys or queries of what was projected."""
    return functional.normalize(torch.tanh(projected), dim=-1)


def message_means(
    hidden_BTH: torch.Tensor, writes_BT: torch.Tensor, messages_BT: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each message's mean [B, M, H] over its marked tokens, and whether it has any [B, M].

    ``messages_BT`` has ids from 0 to M - 1; what is not marked may have any other number.
    """
    count = int(messages_BT.max()) + 1 if messages_BT.numel() else 0
    belongs_BMT = functional.one_hot(messages_BT.clamp(min=0), max(count, 1)).transpose(1, 2)
    belongs_BMT = belongs_BMT.to(hidden_BTH.dtype) * writes_BT.unsqueeze(1)
    tokens_BM1 = belongs_BMT.sum(-1, keepdim=True)
    return belongs_BMT @ hidden_BTH / tokens_BM1.clamp(min=1), tokens_BM1.squeeze(-1) > 0


def _writing(tokens: TokenInputs, writes_BT: torch.Tensor) -> TokenInputs:
    """Have only the marked tokens write. What is masked may be anything, also padding's NaN."""
    masked_B1T1 = ~writes_BT[:, None, :, None]
    return TokenInputs(
        *(
            part.masked_fill(masked_B1T1, 0.0) if name != "query" else part
            for name, part in tokens._asdict().items()
        )
    )


def zeros(*shape: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(*shape))
