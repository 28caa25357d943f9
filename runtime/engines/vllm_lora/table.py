# pyright: reportMissingParameterType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false
# numba's decorators are untyped.
"""The table of where each adapter slot's matrices are, for every linear layer of a model on a CPU.

A slot is a row of addresses into an adapter's serving image, which the caller keeps in memory. So
giving a slot to an adapter copies nothing, and a slot takes a few kilobytes however large its rank is.

For the few tokens of a decoding step the products are compiled by numba:
``y[t] += scale · B (A x[t])`` for each token t with its own adapter, whose matrices are read where they
lie, in bfloat16. One call does a layer's slices (q, k, v) for all adapters in the batch, on all of torch's
threads; with torch's operations it takes seven for each adapter, and each of them costs more than what it
computes.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from populace.adapters.serving_image import NAMES, group_tensor
from populace.engines.kernels.compiled import compiled, upper_half
from populace.engines.kernels.torch_threads import run_on_all
from populace.engines.vllm_lora.tokens import StepTokens
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.layout import modules_of


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

FEW_TOKENS = 2048
"""Up to this many tokens of an adapter in a step are for a compiled loop; more are for torch, which reads no
matrix once for each token but converts all of them to float32 first."""

PATTERNS_KNOWN = 256


class LinearLayer(NamedTuple):
    """A linear layer of vLLM's model: the base's modules that it joins, and how many columns each has."""

    modules: tuple[str, ...]
    inputs: int
    widths: tuple[int, ...]


class AdapterTable:
    """The slots of one model. Used on the thread that runs the model."""

    def __init__(
        self,
        layers: Sequence[LinearLayer],
        slots: int,
        dtype: torch.dtype,
        *,
        renamed: Callable[[str], str] = str,
    ) -> None:
        """``dtype`` is the base's; ``renamed`` makes vLLM's name of a module from the base's."""
        self._dtype = NAMES[dtype]
        self.few_max = FEW_TOKENS if dtype is torch.bfloat16 else 0
        self._layers = tuple(layers)
        self._renamed = renamed
        self._first_slices: list[int] = []
        self._slice_of: dict[str, int] = {}
        widths: list[int] = []
        for layer in layers:
            self._first_slices.append(len(widths))
            for module, width in zip(layer.modules, layer.widths, strict=True):
                self._slice_of[module] = len(widths)
                widths.append(width)
        self._widths = np.array(widths, dtype=np.int64)
        self._addresses = np.zeros((slots, len(widths), 2), dtype=np.uint64)
        self._ranks = np.zeros((slots, len(widths)), dtype=np.int64)
        self._scales = np.zeros((slots, len(widths)), dtype=np.float32)
        self._images: list[PackedAdapter | None] = [None] * slots
        self._matrices: list[dict[int, tuple[torch.Tensor, torch.Tensor]] | None] = [None] * slots
        self._at = [array.ctypes.data for array in (self._widths, self._addresses, self._ranks, self._scales)]
        self._call = np.zeros(len(CALL), dtype=np.int64)
        self._inputs = np.array([layer.inputs for layer in layers for _ in layer.modules], dtype=np.int64)
        self._places = lru_cache(PATTERNS_KNOWN)(self._find_places)

    def bind(self, slot: int, image: PackedAdapter | None) -> None:
        """Give a slot to an adapter, whose image stays mapped until the slot is another's; None empties it.

        Raises ``ValueError`` if the image does not fit the model; the slot is empty then. An accepted
        image is read without another check, so a wrong shape must be found here.
        """
        self._ranks[slot] = 0
        self._images[slot] = None
        self._matrices[slot] = None
        if image is None:
            return
        ranks = np.zeros((2, len(self._widths)), dtype=np.int64)
        for group in image.groups:
            places = self._places(group.pattern, group.numbers)
            side = 0 if group.side == "A" else 1
            long = (self._inputs, self._widths)[side][places]
            if group.dtype != self._dtype or (long != group.shape[1]).any():
                raise ValueError(f"{group.pattern} {group.side} is not of this model: {group.shape}")
            begin = np.frombuffer(image.group_bytes(group), dtype=np.uint8).ctypes.data
            offsets = np.arange(len(places), dtype=np.uint64) * np.uint64(group.factor_bytes)
            self._addresses[slot, places, side] = np.uint64(begin) + offsets
            ranks[side, places] = group.rank
            self._scales[slot, places] = image.scaling_of(group)
        if (ranks[0] != ranks[1]).any():
            raise ValueError("a module's two matrices are not of one rank")
        self._ranks[slot] = ranks[0]
        self._images[slot] = image

    def add(self, layer: int, y: torch.Tensor, x: torch.Tensor, tokens: StepTokens) -> None:
        """Add the layer's products for a step's tokens to ``y`` [tokens, outputs], in place."""
        first, slices = self._first_slices[layer], len(self._layers[layer].modules)
        if len(tokens.few):
            self._call[:] = (
                0,
                y.data_ptr(),
                x.data_ptr(),
                tokens.few.ctypes.data,
                *self._at,
                y.stride(0),
                x.stride(0),
                self._layers[layer].inputs,
                y.shape[0],
                len(tokens.few),
                *self._ranks.shape,
                first,
                slices,
            )
            run_on_all(add_products, self._call.ctypes.data)
        for slot, of_slot in tokens.many:
            self._add_many(layer, y, x, slot, of_slot)

    def _add_many(
        self, layer: int, y: torch.Tensor, x: torch.Tensor, slot: int, tokens: torch.Tensor
    ) -> None:
        matrices = self._matrices_of(slot)
        column, first = 0, self._first_slices[layer]
        rows: torch.Tensor | None = None
        for place, width in enumerate(self._layers[layer].widths, start=first):
            if place in matrices:
                a, b = matrices[place]
                if rows is None:
                    rows = x[:, : self._layers[layer].inputs].index_select(0, tokens).float()
                found = (rows @ a.float().T).mul_(float(self._scales[slot, place])) @ b.float()
                y[:, column : column + width].index_add_(0, tokens, found.to(y.dtype))
            column += width

    def _matrices_of(self, slot: int) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        """A and B of each slice that the slot's adapter has. Made when a long prompt needs them first."""
        matrices = self._matrices[slot]
        if matrices is None:
            sides: tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]] = ({}, {})
            image = self._images[slot]
            for group in () if image is None else image.groups:
                assert image is not None
                stack = group_tensor(image, group).view(-1, *group.shape)
                places = self._places(group.pattern, group.numbers).tolist()
                sides[0 if group.side == "A" else 1].update(zip(places, stack, strict=True))
            matrices = {place: (a, sides[1][place]) for place, a in sides[0].items()}
            self._matrices[slot] = matrices
        return matrices

    def _find_places(self, pattern: str, numbers: tuple[tuple[int, ...], ...]) -> NDArray[np.intp]:
        """Return the slices that a group's matrices belong to, in the order in which they lie."""
        found: list[int] = []
        for module in modules_of(pattern, numbers):
            place = self._slice_of.get(self._renamed(module))
            if place is None:
                raise ValueError(f"this model has no linear layer {module}")
            found.append(place)
        return np.array(found, dtype=np.intp)
