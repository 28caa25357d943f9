# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# numba's decorators are untyped.
"""The δ-mem of an engine step on a CPU, compiled by numba.

Between two layers of a base an operation finds its code and data gone from the processor's caches and
takes several times as long as in a loop of its own: a dozen of torch's cost a fifth of a step of the
default base (``docs/measurements``). Here a layer's memory is two calls for a reply that is being written,
with addresses as arguments, since torch's slices and numba's look at each array cost more than what is
computed. For a prompt it is a matrix product by torch's library and loops over its tokens; torch's sum of
bfloat16 and float32 alone takes longer than these.

It computes what ``TokenStep`` does, up to rounding. Shape suffixes are in ``weights.py``.
"""

import math
from ctypes import c_void_p
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
import torch

from populace.adapters.memory.module import MemoryModule
from populace.engines.kernels.compiled import compiled, upper_half
from populace.engines.vllm_memory.weights import FusedWeights, Part

FEW_TOKENS = 32
"""Up to here one call does everything; for more, the first product by torch's library is faster."""

_NORM_MIN = 1e-12


@compiled
def _token(raw: Any, state: Any, writes: bool, reads: bool, rank: int, read: Any, work: Any) -> None:
    """Read and write one token's states. raw [J], state [N, R, R], read [W] is filled, work is [2, R]."""
    states = state.shape[0]
    width = states * rank
    for number in range(states):
        pair = 2 * number * rank
        for part in range(2):
            total = np.float32(0.0)
            for index in range(rank):
                value = np.float32(math.tanh(raw[pair + part * rank + index]))
                work[part, index] = value
                total += value * value
            scale = np.float32(1.0) / max(np.float32(math.sqrt(total)), np.float32(_NORM_MIN))
            for index in range(rank):
                work[part, index] *= scale
        for row in range(rank):
            found = np.float32(0.0)
            recalled = np.float32(0.0)
            for index in range(rank):
                found += state[number, row, index] * work[0, index]
                recalled += state[number, row, index] * work[1, index]
            place = number * rank + row
            read[place] = found if reads else np.float32(0.0)
            if writes:
                rate = np.float32(1.0) / (np.float32(1.0) + np.float32(math.exp(-raw[3 * width + place])))
                error = rate * (raw[2 * width + place] - recalled)
                kept = np.float32(1.0) - rate
                for index in range(rank):
                    state[number, row, index] = kept * state[number, row, index] + error * work[1, index]


@compiled
def scan_tokens(raw_TJ: Any, parts: Any, writes_T: Any, reads_S: Any, states_SNRR: Any, read_TW: Any) -> None:
    """Take each part's tokens in order; ``parts`` [.., 3] has row, first, last. States change in place."""
    rank = states_SNRR.shape[-1]
    work = np.empty((2, rank), np.float32)
    for part in range(parts.shape[0]):
        row = parts[part, 0]
        for token in range(parts[part, 1], parts[part, 2]):
            _token(raw_TJ[token], states_SNRR[row], writes_T[token], reads_S[row], rank, read_TW[token], work)


@compiled
def add_read(target_TD: Any, read_TW: Any, output_WD: Any) -> None:
    """Add what was read, projected, to bfloat16: ``target_TD`` are its bits, the upper half of a float32's.

    It may be wider: the first columns count.
    """
    columns = output_WD.shape[1]
    bits_D = np.empty(columns, np.uint32)
    sum_D = bits_D.view(np.float32)
    for token in range(read_TW.shape[0]):
        for index in range(columns):
            bits_D[index] = np.uint32(target_TD[token, index]) << np.uint32(16)
        for place in range(read_TW.shape[1]):
            scale = read_TW[token, place]
            for index in range(columns):
                sum_D[index] += scale * output_WD[place, index]
        for index in range(columns):
            target_TD[token, index] = upper_half(bits_D[index])


@compiled
def few_tokens(
    hidden_TH: Any,
    input_JH: Any,
    bias_J: Any,
    output_WQ: Any,
    parts: Any,
    writes_T: Any,
    reads_S: Any,
    states_SNRR: Any,
    query_TQ: Any,
    read_TW: Any,
) -> None:
    """Everything of one layer: fill what is read, and add it to the query projection.

    ``hidden_TH`` and ``query_TQ`` are bits, as in ``add_read``.
    """
    rank = states_SNRR.shape[-1]
    hidden = input_JH.shape[1]
    hidden_bits = np.empty(hidden, np.uint32)
    hidden_H = hidden_bits.view(np.float32)
    raw_J = np.empty(input_JH.shape[0], np.float32)
    work = np.empty((2, rank), np.float32)
    for part in range(parts.shape[0]):
        row = parts[part, 0]
        for token in range(parts[part, 1], parts[part, 2]):
            for index in range(hidden):
                hidden_bits[index] = np.uint32(hidden_TH[token, index]) << np.uint32(16)
            for place in range(raw_J.shape[0]):
                total = bias_J[place]
                for index in range(hidden):
                    total += input_JH[place, index] * hidden_H[index]
                raw_J[place] = total
            _token(raw_J, states_SNRR[row], writes_T[token], reads_S[row], rank, read_TW[token], work)
    add_read(query_TQ, read_TW, output_WQ)


_ADDRESS, _SIZE = numba.types.voidptr, numba.int64
_at_addresses: Any = partial(numba.cfunc, cache=True, nopython=True)


@_at_addresses(numba.void(*(_ADDRESS, _SIZE) * 2, *(_ADDRESS,) * 8, *(_SIZE,) * 7))
def _few_tokens_at(
    hidden: Any,
    hidden_stride: Any,
    projected: Any,
    projected_stride: Any,
    read: Any,
    input_: Any,
    bias: Any,
    output: Any,
    parts: Any,
    writes: Any,
    reads: Any,
    states: Any,
    tokens: Any,
    hidden_width: Any,
    query_width: Any,
    states_of_layer: Any,
    rank: Any,
    part_count: Any,
    request_count: Any,
) -> None:
    width = states_of_layer * rank
    few_tokens(
        numba.carray(hidden, (tokens, hidden_stride), np.uint16),
        numba.carray(input_, (4 * width, hidden_width), np.float32),
        numba.carray(bias, (4 * width,), np.float32),
        numba.carray(output, (width, query_width), np.float32),
        numba.carray(parts, (part_count, 3), np.int64),
        numba.carray(writes, (tokens,), np.bool_),
        numba.carray(reads, (request_count,), np.bool_),
        numba.carray(states, (request_count, states_of_layer, rank, rank), np.float32),
        numba.carray(projected, (tokens, projected_stride), np.uint16),
        numba.carray(read, (tokens, width), np.float32),
    )


@_at_addresses(numba.void(*(_ADDRESS, _SIZE) * 3, _SIZE))
def _add_read_at(
    target: Any, target_stride: Any, read: Any, width: Any, output: Any, columns: Any, tokens: Any
) -> None:
    add_read(
        numba.carray(target, (tokens, target_stride), np.uint16),
        numba.carray(read, (tokens, width), np.float32),
        numba.carray(output, (width, columns), np.float32),
    )


_few_tokens: Any = _few_tokens_at.ctypes
_add_read: Any = _add_read_at.ctypes


class _Output(NamedTuple):
    """A layer's weights [W, D] from what is read to a projection, and where they are."""

    weights: torch.Tensor
    at: c_void_p


class CompiledWeights(FusedWeights):
    """The weights of a CPU, and where those of each layer are."""

    def __init__(self, module: MemoryModule, query_part: slice, device: torch.device) -> None:
        super().__init__(module, query_part, device)
        # A row for each projection: their sums run along it. (Kept, since addresses keep nothing.)
        self._input_LJH = self.input_LHJ.transpose(1, 2).contiguous()
        layers = range(len(self.bias_LJ))
        self.inputs_at = [
            [_at(weights[layer]) for weights in (self._input_LJH, self.bias_LJ)] for layer in layers
        ]
        # Each layer by itself: only adjacent values are read many at a time.
        self.query, self.hidden = (
            [_Output(weights_WD, _at(weights_WD)) for weights_WD in part_LWD.contiguous()]
            for part_LWD in self.output_LWD.split((self.query_width, self.hidden_width), dim=-1)
        )


def _at(tensor: torch.Tensor) -> c_void_p:
    return c_void_p(tensor.data_ptr())


class CompiledTokenStep:
    """``TokenStep`` on a CPU: same arguments, same results up to rounding."""

    def __init__(
        self,
        weights: CompiledWeights,
        states_LSNRR: torch.Tensor,
        parts: list[Part],
        tokens: int,
        reads: list[bool],
        dtype: torch.dtype,
    ) -> None:
        """``dtype`` is the base's."""
        self._weights = weights
        self.states_LSNRR = states_LSNRR.contiguous()
        self._states = self.states_LSNRR.numpy()
        self.tokens = tokens
        self._parts = np.array([(part.row, part.first, part.last) for part in parts], dtype=np.int64)
        self._reads = np.array(reads)
        self._writes = np.zeros(tokens, dtype=np.bool_)
        for part in parts:
            for first, last, _ in part.writes:
                self._writes[first:last] = True
        self._bfloat16 = dtype is torch.bfloat16
        self._few = tokens <= FEW_TOKENS and self._bfloat16
        self._layer = 0
        shape = weights.shape
        self._read_TW = torch.zeros(tokens, shape.width)
        self._read_at = _at(self._read_TW)
        if self._few:
            self._step_at = [
                c_void_p(array.ctypes.data) for array in (self._parts, self._writes, self._reads)
            ]
            self._states_at = [c_void_p(states.ctypes.data) for states in self._states]
            widths = (weights.hidden_width, weights.query_width)
            self._sizes = (tokens, *widths, shape.states, shape.rank, len(parts), len(reads))
            return
        # Used again by each layer: the system takes large arrays back at once, and each page of the next
        # is then a fault, which costs more than what is computed with it.
        self._hidden_TH = torch.empty(tokens, weights.hidden_width)
        self._raw_TJ = torch.empty(tokens, 4 * shape.width)

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Read and write the states of a layer, and add to its query projection in place."""
        weights = self._weights
        self._layer = number
        if self._few:
            _few_tokens(
                hidden_TH.data_ptr(),
                hidden_TH.stride(0),
                projected_TP.data_ptr(),
                projected_TP.stride(0),
                self._read_at,
                *weights.inputs_at[number],
                weights.query[number].at,
                *self._step_at,
                self._states_at[number],
                *self._sizes,
            )
            return
        torch.addmm(
            weights.bias_LJ[number],
            self._hidden_TH.copy_(hidden_TH[: self.tokens]),
            weights.input_LHJ[number],
            out=self._raw_TJ,
        )
        scan_tokens(
            self._raw_TJ.numpy(),
            self._parts,
            self._writes,
            self._reads,
            self._states[number],
            self._read_TW.numpy(),
        )
        self._add(projected_TP, weights.query[number])

    def add_output(self, output_TH: torch.Tensor) -> None:
        """Add to the layer's output projection in place."""
        self._add(output_TH, self._weights.hidden[self._layer])

    def finish(self) -> torch.Tensor:
        """Return the states after the step."""
        return self.states_LSNRR

    def _add(self, target_TD: torch.Tensor, output: _Output) -> None:
        """Add what the layer read, projected, to the first columns in place."""
        width, columns = output.weights.shape
        if self._bfloat16:
            target = (target_TD.data_ptr(), target_TD.stride(0))
            _add_read(*target, self._read_at, width, output.at, columns, self.tokens)
        else:
            target_TD[: self.tokens, :columns].addmm_(self._read_TW, output.weights)
