# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# numba's decorators are untyped.
"""The LoRA of a linear layer on a CPU, for the tokens of a step that are few: compiled by numba.

``y[t] += scale · B (A x[t])`` for each token t with its own adapter, whose matrices are read where they
lie, in bfloat16. One call does a layer's slices (q, k, v) for all adapters in the batch; with torch's
operations it takes seven for each adapter, and each of them costs more than what it computes.
"""

from functools import partial
from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from populace.engines.kernels.compiled import compiled, upper_half


@intrinsic
def _pointer(_typing: Any, address: Any) -> Any:
    """An address as something that ``carray`` takes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@intrinsic
def _widen(_typing: Any, bits: Any) -> Any:
    """A bfloat16's bits as a float32: they are its upper half."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        whole = context.get_value_type(types.uint32)
        upper = builder.shl(builder.zext(arguments[0], whole), whole(16))
        return builder.bitcast(upper, context.get_value_type(types.float32))

    return types.float32(types.uint16), generate


_widened: Any = _widen


@compiled
def _dot(row: Any, x: Any) -> Any:
    total = np.float32(0.0)
    for index in range(x.shape[0]):
        total += _widened(row[index]) * x[index]
    return total


@compiled
def _add_scaled(target: Any, row: Any, scale: Any) -> None:
    for index in range(target.shape[0]):
        target[index] += _widened(row[index]) * scale


@compiled
def add_products(
    y_TO: Any, x_TI: Any, inputs: Any, tokens: Any, widths: Any, addresses: Any, ranks: Any, scales: Any
) -> None:
    """Add each token's product in place. ``tokens`` [.., 2] has a token and its adapter's slot.

    ``x_TI`` and ``y_TO`` are bfloat16's bits, and may be wider than ``inputs`` and all ``widths``: the
    slices' columns of ``y_TO`` lie side by side from the first. ``addresses`` [slots, slices, 2] says where
    A [rank, inputs] and B [rank, width] of a slice begin, ``ranks`` and ``scales`` [slots, slices] belong
    to them; rank 0 is none.
    """
    x = np.empty(inputs, np.float32)
    bits = np.empty(y_TO.shape[1], np.uint32)
    sums = bits.view(np.float32)
    for place in range(tokens.shape[0]):
        token, slot = tokens[place, 0], tokens[place, 1]
        for index in range(inputs):
            x[index] = _widened(x_TI[token, index])
        first = 0
        for number in range(widths.shape[0]):
            width, rank = widths[number], ranks[slot, number]
            if rank:
                a = numba.carray(_pointer(addresses[slot, number, 0]), (rank, inputs), np.uint16)
                b = numba.carray(_pointer(addresses[slot, number, 1]), (rank, width), np.uint16)
                for index in range(width):
                    bits[index] = np.uint32(y_TO[token, first + index]) << np.uint32(16)
                for row in range(rank):
                    _add_scaled(sums[:width], b[row], scales[slot, number] * _dot(a[row], x))
                for index in range(width):
                    y_TO[token, first + index] = upper_half(bits[index])
            first += width


_ADDRESS, _SIZE = numba.types.voidptr, numba.int64


@partial(numba.cfunc, cache=True, nopython=True)(numba.void(*(_ADDRESS,) * 7, *(_SIZE,) * 9))
def _add_products_at(
    y: Any,
    x: Any,
    tokens: Any,
    widths: Any,
    addresses: Any,
    ranks: Any,
    scales: Any,
    y_stride: Any,
    x_stride: Any,
    inputs: Any,
    rows: Any,
    token_count: Any,
    slots: Any,
    slices_in_all: Any,
    first_slice: Any,
    slices: Any,
) -> None:
    last_slice = first_slice + slices
    add_products(
        numba.carray(y, (rows, y_stride), np.uint16),
        numba.carray(x, (rows, x_stride), np.uint16),
        inputs,
        numba.carray(tokens, (token_count, 2), np.int64),
        numba.carray(widths, (slices_in_all,), np.int64)[first_slice:last_slice],
        numba.carray(addresses, (slots, slices_in_all, 2), np.uint64)[:, first_slice:last_slice],
        numba.carray(ranks, (slots, slices_in_all), np.int64)[:, first_slice:last_slice],
        numba.carray(scales, (slots, slices_in_all), np.float32)[:, first_slice:last_slice],
    )


add_products_at: Any = _add_products_at.ctypes
"""``add_products`` with addresses instead of arrays: y, x, tokens, widths, addresses, ranks, scales; then the
strides of y and x, inputs, rows of both, the count of tokens, slots, slices of all layers, the first slice of
this layer and how many it has."""
