"""Memory states as bytes, in which form they are stored and cross processes.

The format is a header that names the memory module, then float32 values in little-endian order, [layers,
states, rank, rank]. Everything is checked, and nothing is executed. This module does not import torch, so
that processes which only inspect a state do not load it.
"""

import struct
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from populace.actors.errors import MemoryStateInvalid, MemoryStateMismatch

_HEADER = struct.Struct("<8s32sHHH2x")
_MAGIC = b"PMSTATE1"

VALUE_MAX = 1000.0
"""A state with a larger absolute value is refused as damaged.

Valid states stay near the values that are written, which are below ten. A huge value could put NaN into the
key-value cache, and a reused block would pass it on to the request of another person.
"""

Values = npt.NDArray[np.float32]

_LITTLE_ENDIAN = np.dtype("<f4")


class StateFormat(NamedTuple):
    """The format of the states of one memory module; ``module`` is its digest in hexadecimal."""

    module: str
    layers: int
    states: int
    rank: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of a state: [layers, states, rank, rank]."""
        return self.layers, self.states, self.rank, self.rank

    @property
    def packed_bytes(self) -> int:
        """The size of a packed state in bytes, with its header."""
        return _HEADER.size + 4 * self.layers * self.states * self.rank**2

    @classmethod
    def of(cls, packed: bytes) -> Self:
        """Read the header of any packed state. Raises ``MemoryStateInvalid`` if it has none."""
        if len(packed) < _HEADER.size or not packed.startswith(_MAGIC):
            raise MemoryStateInvalid("it has no header")
        _, module, layers, states, rank = _HEADER.unpack_from(packed)
        return cls(module.hex(), layers, states, rank)

    def empty(self) -> Values:
        """Return the empty state, all zeros."""
        return np.zeros(self.shape, np.float32)

    def pack(self, state_LNRR: Values) -> bytes:
        """Encode a state. Raises ``MemoryStateInvalid`` for NaN, infinity and values beyond ``VALUE_MAX``."""
        assert state_LNRR.shape == self.shape, state_LNRR.shape
        _check(state_LNRR)
        header = _HEADER.pack(_MAGIC, bytes.fromhex(self.module), self.layers, self.states, self.rank)
        return header + state_LNRR.astype(_LITTLE_ENDIAN).tobytes()

    def unpack(self, packed: bytes) -> Values:
        """Decode a state of this format.

        Raises:
            MemoryStateMismatch: another memory module wrote it.
            MemoryStateInvalid: it is truncated or of another shape, or has NaN, infinity or values beyond
                ``VALUE_MAX``.
        """
        stored = self.of(packed)
        if stored.module != self.module:
            raise MemoryStateMismatch(
                f"it was written with the memory module {stored.module[:12]}, "
                f"and {self.module[:12]} is served"
            )
        if stored != self:
            raise MemoryStateInvalid(f"it has the shape {stored.shape} and should have {self.shape}")
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
