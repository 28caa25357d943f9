# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingParameterType=false
# numba's decorators are untyped.
"""The LoRA of a linear layer on a CPU, for the tokens of a step that are few: compiled by numba.

``y[t] += scale · B (A x[t])`` for each token t with its own adapter, whose matrices are read where they
lie, in bfloat16. One call does a layer's slices (q, k, v) for all adapters in the batch, on all of torch's
threads; with torch's operations it takes seven for each adapter, and each of them costs more than what it
computes.
"""

from functools import partial
from typing import Any, cast

import numba
import numpy as np
from llvmlite import ir
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


@intrinsic
def _take_next(_typing: Any, address: Any) -> Any:
    """The integer at an address, which is one larger afterwards: no two threads get the same."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        whole = ir.IntType(64)
        counter = builder.bitcast(arguments[0], whole.as_pointer())
        return builder.atomic_rmw("add", counter, whole(1), "monotonic")

    return types.int64(address), generate


_widened: Any = _widen
_take: Any = _take_next


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
def _add_token(
    y_O: Any, x: Any, widths: Any, addresses: Any, ranks: Any, scales: Any, bits: Any, sums: Any
) -> None:
    """Add one token's products to its row, in place. ``x`` [inputs] is float32; ``bits`` are ``sums``'."""
    inputs, first = x.shape[0], 0
    for number in range(widths.shape[0]):
        width, rank = widths[number], ranks[number]
        if rank:
            a = numba.carray(_pointer(addresses[number, 0]), (rank, inputs), np.uint16)
            b = numba.carray(_pointer(addresses[number, 1]), (rank, width), np.uint16)
            for index in range(width):
                bits[index] = np.uint32(y_O[first + index]) << np.uint32(16)
            for row in range(rank):
                _add_scaled(sums[:width], b[row], scales[number] * _dot(a[row], x))
            for index in range(width):
                y_O[first + index] = upper_half(bits[index])
        first += width


CALL = (
    *("next", "y", "x", "tokens", "widths", "addresses", "ranks", "scales"),
    *("y_stride", "x_stride", "inputs", "rows", "count", "slots", "slices_in_all", "first_slice", "slices"),
)
"""The fields of a call of ``add_products``, int64 each. Addresses: of ``y`` [rows, y_stride] and ``x`` [rows,
x_stride], bfloat16's bits, which may be wider than ``inputs`` and the slices' widths, and have the slices'
columns side by side from the first; of ``tokens`` [count, 2], a token and its adapter's slot; of ``widths``
[slices_in_all]; of ``addresses`` [slots, slices_in_all, 2], which say where A [rank, inputs] and B [rank,
width] of a slice begin; of ``ranks`` and ``scales`` [slots, slices_in_all], where rank 0 is none. The layer
has ``slices`` of them from ``first_slice``. ``next`` is the first row of ``tokens`` that no thread has
taken."""


@partial(numba.cfunc, cache=True, nopython=True)(numba.void(numba.types.voidptr))
def _add_products(address: Any) -> None:
    call = numba.carray(address, (len(CALL),), np.int64)
    y_stride, x_stride, inputs, rows = call[8], call[9], call[10], call[11]
    count, slots, in_all, first, last = call[12], call[13], call[14], call[15], call[15] + call[16]
    y_TO = numba.carray(_pointer(call[1]), (rows, y_stride), np.uint16)
    x_TI = numba.carray(_pointer(call[2]), (rows, x_stride), np.uint16)
    tokens = numba.carray(_pointer(call[3]), (count, 2), np.int64)
    widths = numba.carray(_pointer(call[4]), (in_all,), np.int64)[first:last]
    addresses = numba.carray(_pointer(call[5]), (slots, in_all, 2), np.uint64)
    ranks = numba.carray(_pointer(call[6]), (slots, in_all), np.int64)
    scales = numba.carray(_pointer(call[7]), (slots, in_all), np.float32)
    x = np.empty(inputs, np.float32)
    bits = np.empty(y_stride, np.uint32)
    sums = bits.view(np.float32)
    while True:
        place = _take(address)
        if place >= count:
            return
        token, slot = tokens[place, 0], tokens[place, 1]
        for index in range(inputs):
            x[index] = _widened(x_TI[token, index])
        own = addresses[slot, first:last], ranks[slot, first:last], scales[slot, first:last]
        _add_token(y_TO[token], x, widths, own[0], own[1], own[2], bits, sums)


add_products = cast(int, _add_products.address)
"""Where the C function is, ``void (int64 *call)``, that adds each token's products in place. Threads that get
the same call at once share its tokens."""
