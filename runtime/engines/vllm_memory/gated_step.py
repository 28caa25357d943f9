# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's unflatten is untyped.
"""One step of vLLM's engine with a gated memory: what is decided, written and read in it.

Shape suffixes as in ``weights.py``; here S counts states in work: one for each request that is used in the
step, and one more for each whose message goes on after it.
"""

from typing import NamedTuple

import torch

from populace.adapters.memory.gated_layer import Told
from populace.engines.vllm_memory.gated_requests import GatedRequest, Pending, WrittenPart
from populace.engines.vllm_memory.gated_weights import GatedWeights


class RowStep(NamedTuple):
    """A request in the step: its tokens of messages, and those [first, last) that read if its gate is open.

    ``decides``: the first of these decides, and no earlier step did.
    """

    known: GatedRequest
    tokens: int
    parts: list[WrittenPart]
    reading: tuple[int, int] | None
    decides: bool


class _Writing(NamedTuple):
    """Tokens [first, last) of the step that are written, one after the other, into the state in work ``row``.

    ``before`` are the hidden inputs of the token before the first, if its message began in an earlier step.
    """

    first: int
    last: int
    row: int
    copied_from: int | None = None
    before: torch.Tensor | None = None


class GatedStep:
    """Made for each step in which something may be written or read; ``layer`` is called in order."""

    def __init__(self, weights: GatedWeights, rows: list[RowStep], used: list[RowStep]) -> None:
        self._weights = weights
        self._rows = rows
        self._used = used
        self._states_LSNRR = torch.empty(0)
        self._writing: list[_Writing] = []
        self._pending: dict[int, int] = {}
        self._last: dict[int, list[torch.Tensor]] = {}
        self._embedded_TH = torch.empty(0)
        self._reading = torch.empty(0, dtype=torch.long)
        self._read_rows = torch.empty(0, dtype=torch.long)
        self._reads: list[torch.Tensor] = []
        self._delta_PH = torch.empty(0)

    def embed(self, embedded_TH: torch.Tensor) -> None:
        """Keep what the model's first block is given, if any message is read."""
        if any(row.parts for row in self._used):
            self._embedded_TH = embedded_TH.clone()

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Write and read the states of a layer, and add to its query projection in place."""
        if number == 0:
            self._decide(hidden_TH)
        weights = self._weights
        states_SNRR = self._states_LSNRR[number]
        for writing in self._writing:
            if writing.copied_from is not None:
                states_SNRR[writing.row] = states_SNRR[writing.copied_from]
            told = self._told(number, writing, hidden_TH)
            states_SNRR[writing.row] = weights.store(number, told, states_SNRR[writing.row])
            if writing.row >= len(self._used):  # its message goes on
                self._last.setdefault(writing.row, []).append(told.hidden[-1].float())
        if not len(self._reading):
            return
        read_PW = weights.read(number, hidden_TH[self._reading], states_SNRR[self._read_rows])
        self._reads.append(read_PW)
        deltas_PD = torch.addmm(weights.output_bias_LD[number], read_PW, weights.output_LWD[number])
        query_PQ, self._delta_PH = deltas_PD.split(weights.widths, dim=-1)
        _add(projected_TP, self._reading, query_PQ)

    def add_output(self, output_TH: torch.Tensor) -> None:
        """Add to the layer's output projection in place."""
        if len(self._reading):
            _add(output_TH, self._reading, self._delta_PH)

    def finish(self, hidden_TH: torch.Tensor) -> None:
        """Add to the last hidden states what the recall head says, and keep what the requests have now."""
        if len(self._reading):
            read_PLW = torch.stack(self._reads, dim=1)
            _add(hidden_TH, self._reading, self._weights.recall_head(hidden_TH[self._reading], read_PLW))
        for number, row in enumerate(self._used):
            known = row.known
            if row.parts:
                known.state = self._states_LSNRR[:, number].clone()
                place = self._pending.get(number)
                known.pending = (
                    None
                    if place is None
                    else Pending(self._states_LSNRR[:, place].clone(), torch.stack(self._last[place]))
                )
        for row in self._rows:
            row.known.seen += row.tokens

    def _decide(self, hidden_TH: torch.Tensor) -> None:
        """Ask both gates, at the inputs of the first layer."""
        gates = self._weights.gates
        states: list[torch.Tensor] = []
        later: list[tuple[int, _Writing]] = []
        reading: list[int] = []
        read_rows: list[int] = []
        for number, row in enumerate(self._used):
            known = row.known
            state = known.state
            for part in row.parts:
                begun = None if part.begins else known.pending
                assert part.begins or begun is not None, "a message that goes on has begun"
                before = None if begun is None else begun.last
                # The last token of a message decides, and is not written.
                writing = _Writing(part.first, part.last - part.ends, number, before=before)
                if not part.ends:
                    later.append((number, writing._replace(copied_from=number if part.begins else None)))
                elif float(gates.write(hidden_TH[part.last - 1]).detach()) > 0:
                    if begun is not None:
                        state = begun.state
                    self._writing.append(writing)
                    known.holds |= writing.last > writing.first or begun is not None
            if row.reading is not None:
                first, last = row.reading
                if row.decides:
                    opens = float(gates.read(hidden_TH[first]).detach()) > 0
                    known.opened = opens and known.holds
                if known.opened:
                    reading += range(first, last)
                    read_rows += [number] * (last - first)
            states.append(state)
        for number, writing in later:  # after what is whole, from which it is copied
            place = self._pending[number] = len(states)
            begun = self._used[number].known.pending
            states.append(states[number] if writing.copied_from is not None or begun is None else begun.state)
            self._writing.append(writing._replace(row=place))
        self._states_LSNRR = torch.stack(states, dim=1)
        self._reading = torch.tensor(reading, dtype=torch.long, device=hidden_TH.device)
        self._read_rows = torch.tensor(read_rows, dtype=torch.long, device=hidden_TH.device)

    def _told(self, number: int, writing: _Writing, hidden_TH: torch.Tensor) -> Told:
        first, last = writing.first, writing.last
        tokens_TH = hidden_TH[first:last]
        begun = writing.before
        before_1H = torch.zeros_like(tokens_TH[:1]) if begun is None else begun[number : number + 1]
        before_TH = torch.cat((before_1H.to(tokens_TH.dtype), tokens_TH[:-1]))[: last - first]
        return Told(tokens_TH, before_TH, self._embedded_TH[first:last])


def _add(target_TX: torch.Tensor, rows_P: torch.Tensor, delta_PX: torch.Tensor) -> None:
    """Add to the first columns of some rows in place, in float32."""
    width = delta_PX.shape[-1]
    target_TX[rows_P, :width] = (target_TX[rows_P, :width].float() + delta_PX).to(target_TX.dtype)
