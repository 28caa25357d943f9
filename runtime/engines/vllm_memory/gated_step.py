# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's unflatten is untyped.
"""A step of vLLM's engine with a gated memory: decides, writes and reads.

Shape suffixes: T = tokens of the step, H = hidden width, P = tokens that read, S = requests that are used in
the step, L = layers with a memory, N = states, R = rank.
"""

from typing import NamedTuple

import torch

from populace.adapters.memory.gated_layer import GatedLayer, Projected, Told
from populace.adapters.memory.module import MemoryModule
from populace.engines.vllm_memory.gated_requests import GatedRequest, Pending, WrittenPart


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

    def __init__(self, module: MemoryModule, rows: list[RowStep], used: list[RowStep]) -> None:
        self._module = module
        self._rows = rows
        self._used = used
        self._states_LSNRR = torch.empty(0)
        self._messages: list[_Message] = []
        self._pending: dict[int, Pending] = {}
        self._embedded_TH = torch.empty(0)
        self._reading = torch.empty(0, dtype=torch.long)
        self._read_rows = torch.empty(0, dtype=torch.long)
        self._reads: list[torch.Tensor] = []

    def embed(self, embedded_TH: torch.Tensor) -> None:
        """Keep the input of the model's first block, if any message is read."""
        if any(row.parts for row in self._used):
            self._embedded_TH = embedded_TH.clone()

    def layer(self, number: int, hidden_TH: torch.Tensor) -> None:
        """Write and read the states of a layer."""
        if number == 0:
            self._decide(hidden_TH)
        layer = self._module.gated_layer(number)
        states_SNRR = self._states_LSNRR[number]
        for message in self._messages:
            tokens = slice(message.first, message.last)
            told = Told(hidden_TH[tokens].unsqueeze(0), self._embedded_TH[tokens].unsqueeze(0))
            projected, begun = layer.projected(told), message.begun
            if message.goes_on:
                parts = [projected] if begun is None else [*begun.layers[number], projected]
                self._pending.setdefault(message.row, Pending([])).layers.append(parts)
                continue
            whole = projected if begun is None else begun.whole(number, projected)
            states_SNRR[message.row] = _written(layer, whole, states_SNRR[message.row])
        if len(self._reading):
            reading_P1H = hidden_TH[self._reading].unsqueeze(1)
            self._reads.append(layer.answers(reading_P1H, states_SNRR[self._read_rows])[:, 0])

    def finish(self, hidden_TH: torch.Tensor) -> None:
        """Add the answer head's output to the last hidden states, and keep the states of the requests."""
        if len(self._reading):
            head, reading_PH = self._module.answer_head, hidden_TH[self._reading]
            assert head is not None
            added_PH = head(reading_PH, torch.stack(self._reads, dim=1))
            hidden_TH[self._reading] = (reading_PH.float() + added_PH).to(hidden_TH.dtype)
        for number, row in enumerate(self._used):
            known = row.known
            if row.parts:
                known.state = self._states_LSNRR[:, number].clone()
                known.pending = self._pending.get(number)
        for row in self._rows:
            row.known.seen += row.tokens

    def _decide(self, hidden_TH: torch.Tensor) -> None:
        """Ask both gates, at the inputs of the first layer."""
        gates = self._module.gates
        assert gates is not None
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


def _written(layer: GatedLayer, message: Projected, state_NRR: torch.Tensor) -> torch.Tensor:
    """Return the state after a complete message."""
    messages_1T = torch.zeros(message.own.shape[:2], dtype=torch.long, device=message.own.device)
    return layer.write_projected(message, state_NRR.unsqueeze(0), messages_1T)[0]
