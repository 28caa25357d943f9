# pyright: reportUnknownMemberType=false
# torch.frombuffer is untyped.
"""A memory state as bytes: what a personal model owns, what crosses processes, and what is stored.

A header that names the memory module, and float32 values in little-endian order, [layers, states,
rank, rank]. Nothing here runs what is in the bytes, and nothing is taken over unchecked.
"""

import struct
import sys
from typing import NamedTuple, Self

import torch

from populace.actors.errors import MemoryStateInvalid, MemoryStateMismatch

_HEADER = struct.Struct("<8s32sHHH2x")
_MAGIC = b"PMSTATE1"

VALUE_MAX = 1000.0
"""No value of a state is larger. Written ones stay near those of the values, which are below ten; one
that is far beyond is damaged, and what it adds to a model could reach the key-value cache as NaN, and
by way of a block that is used again the next request in it, another person's."""

assert sys.byteorder == "little", "tensors are read in the machine's own order"


class StateFormat(NamedTuple):
    """What the states of one memory module look like; ``module`` is its digest in hexadecimal."""

    module: str
    layers: int
    states: int
    rank: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.layers, self.states, self.rank, self.rank

    @property
    def packed_bytes(self) -> int:
        return _HEADER.size + 4 * self.layers * self.states * self.rank**2

    @classmethod
    def of(cls, packed: bytes) -> Self:
        """Read the header of any packed state. Raises ``MemoryStateInvalid`` if it has none."""
        if len(packed) < _HEADER.size or not packed.startswith(_MAGIC):
            raise MemoryStateInvalid("it has no header")
        _, module, layers, states, rank = _HEADER.unpack_from(packed)
        return cls(module.hex(), layers, states, rank)

    def empty(self) -> torch.Tensor:
        """The state of a model that was told nothing."""
        return torch.zeros(self.shape)

    def pack(self, state_LNRR: torch.Tensor) -> bytes:
        """Encode. Raises ``MemoryStateInvalid`` if a value is not a number, or too large."""
        assert state_LNRR.shape == self.shape, state_LNRR.shape
        _check(state_LNRR)
        header = _HEADER.pack(_MAGIC, bytes.fromhex(self.module), self.layers, self.states, self.rank)
        return header + state_LNRR.float().contiguous().cpu().numpy().tobytes()

    def unpack(self, packed: bytes) -> torch.Tensor:
        """Decode a state of this format.

        Raises:
            MemoryStateMismatch: another memory module wrote it.
            MemoryStateInvalid: it is truncated, or a value is not a number, or too large.
        """
        told = self.of(packed)
        if told != self:
            raise MemoryStateMismatch(
                f"it was written with the memory module {told.module[:12]}, and {self.module[:12]} is served"
            )
        if len(packed) != self.packed_bytes:
            raise MemoryStateInvalid(f"it has {len(packed)} bytes and should have {self.packed_bytes}")
        values = torch.frombuffer(bytearray(packed), dtype=torch.float32, offset=_HEADER.size)
        _check(values)
        return values.view(self.shape)


def _check(values: torch.Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise MemoryStateInvalid("it holds NaN or infinity")
    if bool((values.abs() > VALUE_MAX).any()):
        raise MemoryStateInvalid(f"it holds values beyond {VALUE_MAX:g}")
