# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's unflatten is untyped.
"""One step of vLLM's engine with a gated memory: what is decided, written and read in it.

Shape suffixes as in ``weights.py``; here S counts states in work: one for each request that is used in the
step, and one more for each whose message goes on after it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.adapters.memory.scan import TokenInputs, scan_chunks
from populace.engines.vllm_memory.compiled import write_tokens
from populace.engines.vllm_memory.gated_requests import GatedRequest, WrittenPart
from populace.engines.vllm_memory.weights import FusedWeights


class GatedWeights(FusedWeights):
    """A gated module's parameters; the bias of what is read is one more row of the output weights."""

    def __init__(self, module: MemoryModule, query_part: slice, device: torch.device) -> None:
        super().__init__(module, query_part, device)
        assert module.gates is not None
        assert module.recall_head is not None
        self.gates, self.recall_head = module.gates, module.recall_head
        biases = [
            torch.cat(
                (
                    _or_zeros(layer.query_bias, layer.widths.query)[query_part],
                    _or_zeros(layer.output_bias, layer.widths.hidden),
                )
            )
            for layer in (module.layer(number) for number in range(len(module.layers)))
        ]
        self.output_bias_LD = torch.stack(biases).detach().to(device)
        if device.type == "cpu":  # compiled now, and not when somebody tells something first
            write_tokens(np.zeros((1, 4 * self.shape.width), np.float32), _empty(self.shape), True)


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
    """Tokens of the step that are written, one after the other, into the state in work ``row``."""

    tokens: torch.Tensor
    row: int
    copied_from: int | None = None


class GatedStep:
    """Made for each step in which something may be written or read; ``layer`` is called in order."""

    def __init__(self, weights: GatedWeights, rows: list[RowStep], used: list[RowStep]) -> None:
        self._weights = weights
        self._rows = rows
        self._used = used
        self._states_LSNRR = torch.empty(0)
        self._writing: list[_Writing] = []
        self._pending: dict[int, int] = {}
        self._reading = torch.empty(0, dtype=torch.long)
        self._read_rows = torch.empty(0, dtype=torch.long)
        self._reads: list[torch.Tensor] = []
        self._delta_PH = torch.empty(0)

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Write and read the states of a layer, and add to its query projection in place."""
        if number == 0:
            self._decide(hidden_TH)
        weights = self._weights
        states_SNRR = self._states_LSNRR[number]
        for writing in self._writing:
            if writing.copied_from is not None:
                states_SNRR[writing.row] = states_SNRR[writing.copied_from]
            states_SNRR[writing.row] = self._written(
                number, hidden_TH[writing.tokens], states_SNRR[writing.row]
            )
        if not len(self._reading):
            return
        raw_PJ = weights.project(number, hidden_TH[self._reading])
        query_PNR = weights.pairs(raw_PJ)[..., 0, :]
        read_PNR = (states_SNRR[self._read_rows] @ query_PNR.unsqueeze(-1)).squeeze(-1)
        read_PW = read_PNR.flatten(1)
        self._reads.append(read_PW)
        deltas_PD = torch.addmm(weights.output_bias_LD[number], read_PW, weights.output_LWD[number])
        query_PQ, self._delta_PH = deltas_PD.split((weights.query_width, weights.hidden_width), dim=-1)
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
                known.pending = None if place is None else self._states_LSNRR[:, place].clone()
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
                # The last token of a message decides, and is not written.
                stop = part.last - part.ends
                tokens = torch.arange(part.first, stop, device=hidden_TH.device)
                if not part.ends:
                    later.append((number, _Writing(tokens, 0, number if part.begins else None)))
                elif float(gates.write(hidden_TH[part.last - 1]).detach()) > 0:
                    if not part.begins:
                        assert known.pending is not None, "a message that goes on has begun"
                        state = known.pending
                    self._writing.append(_Writing(tokens, number))
                    known.holds |= len(tokens) > 0 or not part.begins
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
            begun = self._used[number].known.pending if writing.copied_from is None else states[number]
            assert begun is not None, "a message that goes on has begun"
            states.append(begun)
            self._writing.append(writing._replace(row=place))
        self._states_LSNRR = torch.stack(states, dim=1)
        self._reading = torch.tensor(reading, dtype=torch.long, device=hidden_TH.device)
        self._read_rows = torch.tensor(read_rows, dtype=torch.long, device=hidden_TH.device)

    def _written(self, number: int, hidden_TH: torch.Tensor, state_NRR: torch.Tensor) -> torch.Tensor:
        """The state after these tokens."""
        weights = self._weights
        raw_TJ = weights.project(number, hidden_TH)
        if raw_TJ.device.type == "cpu":
            state_NRR = state_NRR.clone()
            write_tokens(raw_TJ.numpy(), state_NRR.numpy(), weights.shape.decays)
            return state_NRR
        key_NTR = weights.pairs(raw_TJ)[..., 1, :].transpose(0, 1)
        value, rate = weights.value_and_rate(raw_TJ)
        tokens = TokenInputs(torch.zeros_like(key_NTR), key_NTR, value.transpose(0, 1), rate.transpose(0, 1))
        return scan_chunks(tokens, state_NRR, decays=weights.shape.decays).state


def _empty(shape: MemoryShape) -> npt.NDArray[np.float32]:
    return np.zeros((shape.states, shape.rank, shape.rank), np.float32)


def _or_zeros(bias: torch.Tensor | None, width: int) -> torch.Tensor:
    return torch.zeros(width) if bias is None else bias


def _add(target_TX: torch.Tensor, rows_P: torch.Tensor, delta_PX: torch.Tensor) -> None:
    """Add to the first columns of some rows in place, in float32."""
    width = delta_PX.shape[-1]
    target_TX[rows_P, :width] = (target_TX[rows_P, :width].float() + delta_PX).to(target_TX.dtype)
