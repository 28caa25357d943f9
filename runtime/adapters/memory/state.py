"""A memory state as bytes: what a personal model owns, what crosses processes, and what is stored.

A header that names the memory module, and float32 values in little-endian order, [layers, states,
rank, rank]. Nothing here runs what is in the bytes, and nothing is taken over unchecked. No torch: who
only shows a state does not load it.
"""

import struct
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from populace.actors.errors import MemoryStateInvalid, MemoryStateMismatch

_HEADER = struct.Struct("<8s32sHHH2x")
_MAGIC = b"PMSTATE1"

VALUE_MAX = 1000.0
"""No value of a state is larger. Written ones stay near those of the values, which are below ten; one
that is far beyond is damaged, and what it adds to a model could reach the key-value cache as NaN, and
by way of a block that is used again the next request in it, another person's."""

Values = npt.NDArray[np.float32]

_LITTLE_ENDIAN = np.dtype("<f4")


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

    def empty(self) -> Values:
        """The state of a model that was told nothing."""
        return np.zeros(self.shape, np.float32)

    def pack(self, state_LNRR: Values) -> bytes:
        """Encode. Raises ``MemoryStateInvalid`` if a value is not a number, or too large."""
        assert state_LNRR.shape == self.shape, state_LNRR.shape
        _check(state_LNRR)
        header = _HEADER.pack(_MAGIC, bytes.fromhex(self.module), self.layers, self.states, self.rank)
        return header + state_LNRR.astype(_LITTLE_ENDIAN).tobytes()

    def unpack(self, packed: bytes) -> Values:
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
        values = np.frombuffer(packed, _LITTLE_ENDIAN, offset=_HEADER.size).astype(np.float32)
        _check(values)
        return values.reshape(self.shape)


def _check(values: Values) -> None:
    if not np.isfinite(values).all():
        raise MemoryStateInvalid("it holds NaN or infinity")
    if (np.abs(values) > VALUE_MAX).any():
        raise MemoryStateInvalid(f"it holds values beyond {VALUE_MAX:g}")
