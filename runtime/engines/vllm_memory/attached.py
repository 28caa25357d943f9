# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""The memory inside vLLM's model: hooks on the model and on two linear layers of each attention block.

It needs little of vLLM: the names ``qkv_proj`` and ``o_proj``, which requests are in the step and with
which tokens. Hooks run in eager mode only; a compiled model would need a custom operation in their
place (it would do what a step's ``layer`` and ``add_output`` do).

A step is torch operations, for any device. Where every token writes at once (TSW, MSW), per layer there is
one product for query, key, value and rate, one for what was read and recalled, and one for both projections
of what was read; the states of the tokens that come alone (replies being written) are updated for all layers
at once after the last. Shape suffixes are in ``weights.py``.

Each request has a slot: a cell with its starting state and a ring of the states after its last few
steps. The ring is there because the end of a reply is not always decided where it is computed: a stop
string is found outside, and a scheduler that runs ahead computes a step too many.
"""

from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

import torch

from populace.adapters.memory.module import MemoryModule
from populace.adapters.memory.scan import TokenInputs, scan_chunks
from populace.engines.vllm_memory.blocks import Scheduled, ServedBlock, hook_blocks
from populace.engines.vllm_memory.compiled import CompiledTokenStep, CompiledWeights
from populace.engines.vllm_memory.request import MemoryRequest
from populace.engines.vllm_memory.weights import FusedWeights, Part, reading_tokens

RING = 8
"""States kept of each request. If a stop string is found later, the state is computed again."""


@dataclass
class Slot:
    """One request's cells. ``seen`` is how many tokens went into the newest state, ``ring`` where it is.

    ``kept`` maps a number of tokens to the cell with the state after them. ``open_tokens`` counts, for
    each of those, the tokens of the message that is not complete yet; only message means need it.
    """

    number: int
    request: MemoryRequest
    seen: int = 0
    ring: int = 0
    kept: OrderedDict[int, int] = field(default_factory=OrderedDict[int, int])
    open_tokens: dict[int, int] = field(default_factory=dict[int, int])
    lost: bool = False

    @property
    def start_cell(self) -> int:
        return self.number * (RING + 1) + RING

    @property
    def cell(self) -> int:
        """The cell with the newest state."""
        return self.kept.get(self.seen, self.start_cell)

    def begin(self, position: int) -> None:
        """Prepare for a step whose first token is at ``position``.

        At 0 everything is computed anew, as after a preemption. Any other position must follow what
        was seen, or tokens were skipped that should have been written.
        """
        if position == 0:
            self.seen, self.lost = 0, False
            self.kept.clear()
            self.open_tokens.clear()
        elif position != self.seen and self.request.writes:
            self.lost = True

    def advance(self, tokens: int, open_tokens: int = 0) -> int:
        """Count a step of ``tokens``; return the cell for the state after them."""
        self.ring = (self.ring + 1) % RING
        cell = self.number * (RING + 1) + self.ring
        for seen in [seen for seen, kept in self.kept.items() if kept == cell]:
            del self.kept[seen]
            self.open_tokens.pop(seen, None)
        self.seen += tokens
        self.kept[self.seen] = cell
        self.open_tokens[self.seen] = open_tokens
        return cell


class SlotTable:
    """A slot for each request in flight, and for those that ended until their state is taken.

    Slot 0 is for requests without a memory: its states are empty and stay so.
    """

    def __init__(self, requests_max: int) -> None:
        """``requests_max``: how many run at once. Three times as many that ended are kept besides."""
        self.count = 1 + 4 * requests_max
        self._free = list(range(self.count - 1, 0, -1))
        self._running: dict[str, Slot] = {}
        self._ended: OrderedDict[str, Slot] = OrderedDict()

    @property
    def cells(self) -> int:
        return self.count * (RING + 1)

    def get(self, key: str) -> Slot | None:
        return self._running.get(key) or self._ended.get(key)

    def open(self, request: MemoryRequest) -> Slot:
        """Give the request a slot; the one that ended longest ago and was never taken makes room."""
        if not self._free:
            self._free.append(self._ended.popitem(last=False)[1].number)
        slot = self._running[request.key] = Slot(self._free.pop(), request)
        return slot

    def end_others(self, running: Container[str]) -> None:
        """Note that all but the ``running`` requests have ended."""
        for key in [key for key in self._running if key not in running]:
            self._ended[key] = self._running.pop(key)

    def close(self, key: str) -> None:
        """Free the slot of a request that has ended or is about to."""
        slot = self._ended.pop(key, None) or self._running.pop(key, None)
        if slot is not None:
            self._free.append(slot.number)

    def check_integrity(self) -> None:
        numbers = [*self._free, *(slot.number for slot in (*self._running.values(), *self._ended.values()))]
        assert sorted(numbers) == list(range(1, self.count)), (
            "each slot but the first is one request's or free"
        )


class _Step:
    """What the two kinds of steps have in common: how what was read is added to a layer's projections."""

    def __init__(
        self,
        weights: FusedWeights,
        states_LSNRR: torch.Tensor,
        parts: list[Part],
        tokens: int,
        reads: list[bool],
    ) -> None:
        """``tokens`` counts all of the step, also those of requests that are in no part.

        ``reads`` says of each request whether its tokens read.
        """
        self._weights = weights
        self._delta_TH = torch.empty(0)
        self.states_LSNRR = states_LSNRR
        self.tokens = tokens
        self._read_T1 = reading_tokens(parts, reads, tokens, states_LSNRR.device)

    def _add(self, number: int, read_TW: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Add to the layer's query projection in place, and keep what is for its output projection."""
        if self._read_T1 is not None:
            read_TW = read_TW * self._read_T1
        self._delta_TH = self._weights.add(number, read_TW, projected_TP[: self.tokens])

    def add_output(self, output_TH: torch.Tensor) -> None:
        """Add to the layer's output projection in place."""
        output_TH[: self.tokens] += self._delta_TH


class TokenStep(_Step):
    """A step in which every written token writes the state that the next one reads (TSW and MSW).

    ``states_LSNRR`` holds the states before the step, and after ``finish`` those after it.
    """

    def __init__(
        self,
        weights: FusedWeights,
        states_LSNRR: torch.Tensor,
        parts: list[Part],
        tokens: int,
        reads: list[bool],
    ) -> None:
        """See ``_Step``."""
        super().__init__(weights, states_LSNRR, parts, tokens, reads)
        device = states_LSNRR.device
        singles = [part for part in parts if part.last - part.first == 1]
        spans = [part for part in parts if part.last - part.first > 1]
        rows = [part.row for part in singles]
        self._every_token_is_single = len(singles) == tokens == states_LSNRR.shape[1] and rows == list(
            range(tokens)
        )
        self._single_rows = torch.tensor(rows, dtype=torch.long, device=device)
        self._single_tokens = torch.tensor([part.first for part in singles], dtype=torch.long, device=device)
        self._single_writes_S11 = torch.tensor(
            [float(bool(part.writes)) for part in singles], device=device
        ).view(-1, 1, 1)
        self._any_single_writes = any(part.writes for part in singles)
        self._spans = _Spans(spans, device) if spans else None
        self._raw: list[torch.Tensor] = []
        self._keys: list[torch.Tensor] = []
        self._recalled: list[torch.Tensor] = []

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Read and write the states of a layer, and add to its query projection in place.

        ``projected_TP`` begins with the query's columns. Rows after the step's tokens are left alone.
        """
        weights = self._weights
        raw_TJ = weights.project(number, hidden_TH[: self.tokens])
        pairs_TN2R = weights.pairs(raw_TJ)
        if self._every_token_is_single:
            read_TW = self._read_singles(number, raw_TJ, pairs_TN2R)
        else:
            read_TW = raw_TJ.new_zeros(self.tokens, weights.shape.width)
            if len(self._single_tokens):
                chosen = self._single_tokens
                read_TW[chosen] = self._read_singles(number, raw_TJ[chosen], pairs_TN2R[chosen])
            if self._spans is not None:
                self._scan_spans(number, raw_TJ, pairs_TN2R, read_TW)
        self._add(number, read_TW, projected_TP)

    def finish(self) -> torch.Tensor:
        """Write what the single tokens bring, in all layers, and return the states after the step."""
        if self._any_single_writes:
            value, rate = self._weights.value_and_rate(torch.stack(self._raw))
            rate = rate * self._single_writes_S11
            key, recalled = torch.stack(self._keys), torch.stack(self._recalled)
            old = (
                self.states_LSNRR
                if self._every_token_is_single
                else self.states_LSNRR.index_select(1, self._single_rows)
            )
            new = (1 - rate).unsqueeze(-1) * old + (rate * (value - recalled)).unsqueeze(-1) * key.unsqueeze(
                -2
            )
            if self._every_token_is_single:
                self.states_LSNRR = new
            else:
                self.states_LSNRR.index_copy_(1, self._single_rows, new)
        return self.states_LSNRR

    def _read_singles(self, number: int, raw_SJ: torch.Tensor, pairs_SN2R: torch.Tensor) -> torch.Tensor:
        states_SNRR = self.states_LSNRR[number]
        if not self._every_token_is_single:
            states_SNRR = states_SNRR.index_select(0, self._single_rows)
        both_SNR2 = states_SNRR @ pairs_SN2R.transpose(-1, -2)
        if self._any_single_writes:
            self._raw.append(raw_SJ)
            self._keys.append(pairs_SN2R[..., 1, :])
            self._recalled.append(both_SNR2[..., 1])
        return both_SNR2[..., 0].flatten(1)

    def _scan_spans(
        self, number: int, raw_TJ: torch.Tensor, pairs_TN2R: torch.Tensor, read_TW: torch.Tensor
    ) -> None:
        spans = self._spans
        assert spans is not None
        states_SNRR = self.states_LSNRR[number].index_select(0, spans.rows)
        pairs_SPN2R = pairs_TN2R[spans.tokens_SP]
        query = pairs_SPN2R[..., 0, :].transpose(1, 2)
        if spans.any_writes:
            value, rate = self._weights.value_and_rate(raw_TJ[spans.tokens_SP])
            tokens = TokenInputs(
                query,
                pairs_SPN2R[..., 1, :].transpose(1, 2),
                value.transpose(1, 2),
                rate.transpose(1, 2) * spans.writes_S1P1,
            )
            read, after = scan_chunks(tokens, states_SNRR)
            self.states_LSNRR[number].index_copy_(0, spans.rows, after)
        else:
            read = query @ states_SNRR.transpose(-1, -2)
        read_TW[spans.valid_tokens] = read.transpose(1, 2).flatten(2)[spans.valid_SP]


class _Spans:
    """The requests with several tokens in this step, side by side and filled up to the longest."""

    def __init__(self, spans: list[Part], device: torch.device) -> None:
        longest = max(span.last - span.first for span in spans)
        place_1P = torch.arange(longest).unsqueeze(0)
        length_S1 = torch.tensor([[span.last - span.first] for span in spans])
        valid_SP = place_1P < length_S1
        # Filled up with a token of the same request: what is wrong with another's must not reach it.
        first_S1 = torch.tensor([[span.first] for span in spans])
        tokens_SP = first_S1 + torch.where(valid_SP, place_1P, 0)
        writes_SP = torch.zeros(len(spans), longest)
        for index, span in enumerate(spans):
            for first, last, _ in span.writes:
                writes_SP[index, first - span.first : last - span.first] = 1.0
        self.any_writes = bool(writes_SP.any())
        self.rows = torch.tensor([span.row for span in spans], device=device)
        self.tokens_SP = tokens_SP.to(device)
        self.valid_SP = valid_SP.to(device)
        self.valid_tokens = tokens_SP[valid_SP].to(device)
        self.writes_S1P1 = writes_SP[:, None, :, None].to(device)


class MessageStep(_Step):
    """A step in which each message writes the mean of its tokens once it is complete (SSW).

    Tokens read the states from before the turn, ``reading_LSNRR``. ``states_LSNRR`` are those that the
    complete messages have written, ``sums_LSH`` the sums of the hidden inputs of the open ones.
    """

    def __init__(
        self,
        weights: FusedWeights,
        reading_LSNRR: torch.Tensor,
        states_LSNRR: torch.Tensor,
        sums_LSH: torch.Tensor,
        open_tokens: list[int],
        parts: list[Part],
        tokens: int,
        reads: list[bool],
    ) -> None:
        super().__init__(weights, states_LSNRR, parts, tokens, reads)
        self._reading_LSNRR = reading_LSNRR
        self.sums_LSH = sums_LSH
        self._parts = parts
        self._before = open_tokens
        self.open_tokens = [_open_after(before, parts, row) for row, before in enumerate(open_tokens)]

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Read and write the states of a layer, and add to its query projection; see ``TokenStep``."""
        weights = self._weights
        hidden_TH = hidden_TH[: self.tokens]
        pairs_TN2R = weights.pairs(weights.project(number, hidden_TH))
        read_TW = hidden_TH.new_zeros(self.tokens, weights.shape.width, dtype=torch.float32)
        for part in self._parts:
            query_NTR = pairs_TN2R[part.first : part.last, :, 0].transpose(0, 1)
            read_NTR = query_NTR @ self._reading_LSNRR[number, part.row].transpose(-1, -2)
            read_TW[part.first : part.last] = read_NTR.transpose(0, 1).flatten(1)
            count = self._before[part.row]
            for first, last, ends in part.writes:
                self.sums_LSH[number, part.row] += hidden_TH[first:last].float().sum(0)
                count += last - first
                if ends:
                    write_mean(
                        weights,
                        number,
                        self.states_LSNRR[number, part.row],
                        self.sums_LSH[number, part.row],
                        count,
                    )
                    count = 0
        self._add(number, read_TW, projected_TP)

    def finish(self) -> torch.Tensor:
        return self.states_LSNRR


def write_mean(
    weights: FusedWeights, layer: int, state_NRR: torch.Tensor, sum_H: torch.Tensor, count: int
) -> None:
    """Write a message's mean into a layer's state, in place, and empty its sum."""
    raw_1J = weights.project(layer, (sum_H / count).unsqueeze(0))
    pairs_1N2R = weights.pairs(raw_1J)
    value_1NR, rate_1NR = weights.value_and_rate(raw_1J)
    key_NR, rate_NR = pairs_1N2R[0, :, 1], rate_1NR[0]
    error_NR = value_1NR[0] - (state_NRR @ key_NR.unsqueeze(-1)).squeeze(-1)
    state_NRR.mul_((1 - rate_NR).unsqueeze(-1)).add_(
        (rate_NR * error_NR).unsqueeze(-1) * key_NR.unsqueeze(-2)
    )
    sum_H.zero_()


def _open_after(before: int, parts: list[Part], row: int) -> int:
    count = before
    for part in parts:
        if part.row == row:
            for first, last, ends in part.writes:
                count = 0 if ends else count + last - first
    return count


Step = TokenStep | CompiledTokenStep | MessageStep


class ServedMemory:
    """States of the requests in flight, and the hooks that read and write them.

    ``scheduled`` answers, at the start of a model's forward pass, whose tokens are in it; ``running``
    the keys of the requests that have not ended.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        module: MemoryModule,
        blocks: list[ServedBlock],
        *,
        requests_max: int,
        device: torch.device,
        scheduled: Callable[[], list[Scheduled]],
        running: Callable[[], set[str]],
    ) -> None:
        kind = CompiledWeights if device.type == "cpu" else FusedWeights
        self._weights = kind(module, blocks[0].query_part, device)
        self._slots = SlotTable(requests_max)
        shape = module.shape
        layers = len(blocks)
        self._dtype = next(model.parameters()).dtype
        cells = (layers, self._slots.cells)
        self._states = torch.zeros(*cells, shape.states, shape.rank, shape.rank, device=device)
        self._sums = (
            torch.zeros(*cells, blocks[0].layer.widths.hidden, device=device)
            if shape.writes == "message"
            else None
        )
        self._scheduled = scheduled
        self._running = running
        self._step: Step | None = None
        self._after: Callable[[], None] | None = None
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._finish)
        hook_blocks(blocks, lambda: self._step)

    def take(self, key: str, tokens: int) -> bytes | None:
        """Return the state after ``tokens`` as float32 bytes and forget the request; None if not kept."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        cell = None if slot.lost else slot.kept.get(tokens)
        taken = None if cell is None else self._complete(cell, slot.open_tokens[tokens])
        self._slots.close(key)
        return None if taken is None else taken.cpu().numpy().tobytes()

    def _complete(self, cell: int, open_tokens: int) -> torch.Tensor:
        """The state in a cell [L, N, R, R]; a message that was open, the reply, ends and is written."""
        state = self._states[:, cell].clone()
        if self._sums is not None and open_tokens:
            for layer in range(len(state)):
                sums = self._sums[layer, cell].clone()
                write_mean(self._weights, layer, state[layer], sums, open_tokens)
        return state

    def _begin(self, *_: Any) -> None:
        self._slots.end_others(self._running())
        scheduled = self._scheduled()
        if not any(entry.request is not None for entry in scheduled):
            self._step = None
            return
        slots = [None if entry.request is None else self._slot(entry.request) for entry in scheduled]
        before: list[int] = []
        for slot, entry in zip(slots, scheduled, strict=True):
            if slot is not None:
                slot.begin(entry.position)
            before.append(0 if slot is None else slot.cell)
        parts = [
            Part(row, entry.first, entry.last, _writes(entry))
            for row, entry in enumerate(scheduled)
            if entry.request is not None or entry.last - entry.first == 1
        ]
        tokens = max(entry.last for entry in scheduled)
        reads = [entry.request is None or entry.request.reads for entry in scheduled]
        states = self._states.index_select(1, self._index(before))
        step: Step
        if self._sums is None and isinstance(self._weights, CompiledWeights):
            step = CompiledTokenStep(self._weights, states, parts, tokens, reads, self._dtype)
        elif self._sums is None:
            step = TokenStep(self._weights, states, parts, tokens, reads)
        else:
            starts = [0 if slot is None else slot.start_cell for slot in slots]
            step = MessageStep(
                self._weights,
                self._states.index_select(1, self._index(starts)),
                states,
                self._sums.index_select(1, self._index(before)),
                [0 if slot is None else slot.open_tokens.get(slot.seen, 0) for slot in slots],
                parts,
                tokens,
                reads,
            )
        self._step = step
        self._after = lambda: self._store(slots, scheduled, step)

    def _finish(self, *_: Any) -> None:
        if self._step is not None and self._after is not None:
            self._after()
        self._step = self._after = None

    def _store(self, slots: list[Slot | None], scheduled: list[Scheduled], step: Step) -> None:
        states = step.finish()
        rows: list[int] = []
        cells: list[int] = []
        for row, (slot, entry) in enumerate(zip(slots, scheduled, strict=True)):
            if slot is not None:
                open_tokens = step.open_tokens[row] if isinstance(step, MessageStep) else 0
                rows.append(row)
                cells.append(slot.advance(entry.last - entry.first, open_tokens))
        chosen, places = self._index(rows), self._index(cells)
        self._states.index_copy_(
            1, places, states if len(rows) == len(slots) else states.index_select(1, chosen)
        )
        if self._sums is not None and isinstance(step, MessageStep):
            self._sums.index_copy_(1, places, step.sums_LSH.index_select(1, chosen))

    def _slot(self, request: MemoryRequest) -> Slot:
        slot = self._slots.get(request.key)
        if slot is None:
            slot = self._slots.open(request)
            start = self._states[:, slot.start_cell]
            if request.state is None:
                start.zero_()
            else:
                values = torch.frombuffer(bytearray(request.state), dtype=torch.float32)
                start.copy_(values.view(start.shape))
            if self._sums is not None:
                self._sums[:, slot.start_cell].zero_()
        return slot

    def _index(self, numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self._states.device)


def _writes(entry: Scheduled) -> tuple[tuple[int, int, bool], ...]:
    if entry.request is None:
        return ()
    shift = entry.first - entry.position
    stop = entry.position + entry.last - entry.first
    return tuple(
        (first + shift, last + shift, ends)
        for first, last, ends in entry.request.written(entry.position, stop)
    )
