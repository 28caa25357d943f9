"""Where the matrices of each adapter slot are, for every linear layer of a model on a CPU.

A slot is a row of addresses into an adapter's serving image, which the caller keeps in memory. So
giving a slot to an adapter copies nothing, and a slot takes a few kilobytes however large its rank is.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from populace.adapters.serving_image import NAMES, group_tensor
from populace.engines.kernels.torch_threads import run_on_all
from populace.engines.vllm_lora.compiled import CALL, add_products
from populace.engines.vllm_lora.tokens import StepTokens
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.packed.layout import modules_of

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
