# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's unflatten is untyped.
"""One step of vLLM's engine with a gated memory: what is decided, written and read in it.

Shape suffixes as in ``weights.py``; here S counts the requests that are used in the step.
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


class _Message(NamedTuple):
    """Tokens [first, last) of the step that are of a message of the request ``row``.

    ``begun`` is what earlier steps have of it. It is written now, unless it ``goes_on`` in the next step.
    """

    first: int
    last: int
    row: int
    begun: Pending | None
    goes_on: bool


class GatedStep:
    """Made for each step in which something may be written or read; ``layer`` is called in order."""

    def __init__(self, weights: GatedWeights, rows: list[RowStep], used: list[RowStep]) -> None:
        self._weights = weights
        self._rows = rows
        self._used = used
        self._states_LSNRR = torch.empty(0)
        self._messages: list[_Message] = []
        self._pending: dict[int, Pending] = {}
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
        for message in self._messages:
            tokens = slice(message.first, message.last)
            told = Told(hidden_TH[tokens].unsqueeze(0), self._embedded_TH[tokens].unsqueeze(0))
            projected, begun = weights.projected(number, told), message.begun
            if message.goes_on:
                parts = [projected] if begun is None else [*begun.layers[number], projected]
                self._pending.setdefault(message.row, Pending([])).layers.append(parts)
                continue
            whole = projected if begun is None else begun.whole(number, projected)
            states_SNRR[message.row] = weights.write(number, whole, states_SNRR[message.row])
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
                known.pending = self._pending.get(number)
        for row in self._rows:
            row.known.seen += row.tokens

    def _decide(self, hidden_TH: torch.Tensor) -> None:
        """Ask both gates, at the inputs of the first layer."""
        gates = self._weights.gates
        reading: list[int] = []
        read_rows: list[int] = []
        for number, row in enumerate(self._used):
            known = row.known
            for part in row.parts:
                begun = None if part.begins else known.pending
                if not part.begins and begun is None:
                    continue  # its beginning was not computed: the request is lost
                # The last token of a message decides, and is not written.
                last = part.last - part.ends
                if not part.ends or float(gates.write(hidden_TH[part.last - 1]).detach()) > 0:
                    self._messages.append(_Message(part.first, last, number, begun, goes_on=not part.ends))
                    known.holds |= part.ends and (last > part.first or begun is not None)
            if row.reading is not None:
                first, last = row.reading
                if row.decides:
                    opens = float(gates.read(hidden_TH[first]).detach()) > 0
                    known.opened = opens and known.holds
                if known.opened:
                    reading += range(first, last)
                    read_rows += [number] * (last - first)
        self._states_LSNRR = torch.stack([row.known.state for row in self._used], dim=1)
        self._reading = torch.tensor(reading, dtype=torch.long, device=hidden_TH.device)
        self._read_rows = torch.tensor(read_rows, dtype=torch.long, device=hidden_TH.device)


def _add(target_TX: torch.Tensor, rows_P: torch.Tensor, delta_PX: torch.Tensor) -> None:
    """Add to the first columns of some rows in place, in float32."""
    width = delta_PX.shape[-1]
    target_TX[rows_P, :width] = (target_TX[rows_P, :width].float() + delta_PX).to(target_TX.dtype)
