"""One adapter in one file: a header that says where each matrix is, and the matrices.

::

    magic, format, digest    40 bytes, see ``storage/packed/envelope.py``
    length         8 bytes   of the header, little-endian
    header                   an ``AdapterHeader``
    zeros                    up to the next multiple of 64
    body                     groups of matrices, each at a multiple of 64; zeros between

The same matrices and configuration make the same bytes, so the digest names the adapter. Reading an adapter
checks its structure first, without touching the body; ``check_content`` reads all of it.
"""

import hashlib
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, ValidationError

from populace.storage.packed.envelope import (
    BYTES_MAX,
    CONTENT_AT,
    DIGEST_AT,
    FORMAT,
    MAGIC,
    check_content,
    told_digest,
)
from populace.storage.packed.errors import PackedAdapterInvalid
from populace.storage.packed.layout import (
    DType,
    Factor,
    Group,
    Side,
    aligned,
    check_apart,
    check_names,
    groups_of,
)
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.record import RECORD_BYTES_MAX, Record, problems_of

GROUPS_MAX = 100_000
MATRICES_MAX = 1_000_000
"""The limit over all groups: 27 times the matrices of a model of 48 layers with 128 experts each."""

_LENGTH_AT = CONTENT_AT
_HEADER_AT = _LENGTH_AT + 8

_ARRAY_TYPES: dict[DType, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""The numpy type of each. numpy has no bfloat16, so its bits are read as integers."""

_EXPONENTS: dict[DType, tuple[str, int]] = {
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
"""The integer type and exponent bits of each; a float with all of these bits set is NaN or infinite."""


class AdapterHeader(Record):
    """The header of a packed adapter.

    ``base`` is the fingerprint of the base that it was made for, if it is known, ``config`` PEFT's
    ``adapter_config.json`` as it came, ``metadata`` that of the tensor file. ``rank_scaled``: a product
    B·A is scaled by alpha / √rank (rsLoRA), and not by alpha / rank.
    """

    KIND: ClassVar[str] = "packed adapter"

    base: str | None
    rank_scaled: bool
    config: bytes
    metadata: tuple[tuple[str, str], ...]
    groups: Annotated[tuple[Group, ...], Field(min_length=1, max_length=GROUPS_MAX)]


class PackedAdapter:
    """A packed adapter over bytes that the caller keeps: a mapped file, shared memory, or plain bytes."""

    def __init__(self, data: memoryview) -> None:
        """Read the header and check that it describes these bytes.

        Raises ``PackedAdapterInvalid`` and ``PackedAdapterVersionMismatch``.
        """
        self._data = data
        if len(data) > BYTES_MAX:
            raise PackedAdapterInvalid(f"{len(data)} bytes are more than {BYTES_MAX}")
        self.digest = told_digest(bytes(data[:CONTENT_AT]))
        header, self._body = _header(data)
        self.base = header.base
        self.rank_scaled = header.rank_scaled
        self.config = header.config
        self.metadata: Mapping[str, str] = dict(header.metadata)
        self.groups = header.groups
        _check_places(self.groups, len(data) - self._body)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the file; its pages are read when they are used, and shared by all processes that map it."""
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if not 0 < size <= BYTES_MAX:
                    raise PackedAdapterInvalid(f"its size of {size} bytes is not 1 to {BYTES_MAX}")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise PackedAdapterInvalid(f"it cannot be read ({error.strerror})") from error
        return cls(memoryview(mapped))

    @property
    def bytes(self) -> int:
        return len(self._data)

    @property
    def data(self) -> memoryview:
        """The bytes of the whole file."""
        return self._data

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(group.rank for group in self.groups)

    def scaling_of(self, group: Group) -> float:
        """The factor by which the products B·A of the group's modules are multiplied."""
        return group.alpha / (math.sqrt(group.rank) if self.rank_scaled else group.rank)

    def group(self, group: Group) -> np.ndarray[Any, Any]:
        """View the matrices of a group, [numbers of each axis.., rows, columns], without a copy.

        bfloat16 matrices are returned as their bits, as uint16.
        """
        shape = (*map(len, group.numbers), *group.shape)
        return np.frombuffer(self.group_bytes(group), dtype=_ARRAY_TYPES[group.dtype]).reshape(shape)

    def group_bytes(self, group: Group) -> memoryview:
        """The bytes of a group's matrices, as stored."""
        start = self._body + group.offset
        return self._data[start : start + group.bytes]

    def factors(self) -> Iterator[tuple[Factor, memoryview]]:
        """Every matrix with its bytes, in the order in which they lie."""
        for group in self.groups:
            for factor, offset in group.factors():
                start = self._body + offset
                yield factor, self._data[start : start + group.factor_bytes]

    def check_content(self) -> None:
        """Read every byte. Raises ``PackedAdapterInvalid`` unless they are those of its digest.

        This suffices for an adapter that was verified before it was named by its digest.
        """
        check_content(self.digest, hashlib.sha256(self._data[CONTENT_AT:]).hexdigest())

    def verify(self) -> None:
        """Read every byte. Raises ``PackedAdapterInvalid`` for NaN, infinity and another digest."""
        self.check_content()
        for group in self.groups:
            if not is_finite(self.group_bytes(group), group.dtype):
                raise PackedAdapterInvalid(f"{group.pattern} {group.side} holds NaN or infinity")


def pack_adapter(
    matrices: Mapping[tuple[str, Side], memoryview | bytes],
    factors: Iterable[Factor],
    *,
    base: str | None,
    config: bytes,
    rank_scaled: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bytearray:
    """Pack matrices, whose bytes are little-endian and row-major and are asked for by module and side.

    ``base`` is the fingerprint of the base that they were made for, if it is known. The matrices are asked
    for one by one. Raises ``PackedAdapterInvalid`` above an adapter's limits.
    """
    groups = groups_of(factors)
    told = tuple(sorted((metadata or {}).items()))
    packed, body = _laid_out(base, rank_scaled, config, told, groups)
    for group in groups:
        for factor, offset in group.factors():
            start = body + offset
            packed[start : start + group.factor_bytes] = matrices[factor.module, factor.side]
    _seal(packed)
    return packed


def retyped_adapter(
    adapter: PackedAdapter, dtype: DType, matrices: Callable[[Group], memoryview | bytes]
) -> bytearray:
    """Pack the adapter with its matrices in another type, which are asked for group by group.

    The groups stay the same, also where ``pack_adapter`` would now join some.
    """
    groups: list[Group] = []
    offset = 0
    for group in adapter.groups:
        groups.append(group._replace(dtype=dtype, offset=offset))
        offset = aligned(offset + groups[-1].bytes)
    told = tuple(sorted(adapter.metadata.items()))
    packed, body = _laid_out(adapter.base, adapter.rank_scaled, adapter.config, told, tuple(groups))
    for before, group in zip(adapter.groups, groups, strict=True):
        start = body + group.offset
        packed[start : start + group.bytes] = matrices(before)
    _seal(packed)
    return packed


def _laid_out(
    base: str | None,
    rank_scaled: bool,
    config: bytes,
    metadata: tuple[tuple[str, str], ...],
    groups: tuple[Group, ...],
) -> tuple[bytearray, int]:
    """Allocate the whole file and write its header; return it with the offset of the body."""
    try:
        header = AdapterHeader(
            base=base, rank_scaled=rank_scaled, config=config, metadata=metadata, groups=groups
        ).pack()
    except ValidationError as error:
        raise PackedAdapterInvalid(problems_of(error)[:300]) from error
    except RecordInvalid as error:
        raise PackedAdapterInvalid(error.reason) from error
    body = aligned(_HEADER_AT + len(header))
    size = body + groups[-1].offset + groups[-1].bytes
    if size > BYTES_MAX:
        raise PackedAdapterInvalid(f"{size} bytes are more than {BYTES_MAX}")
    packed = bytearray(size)
    packed[:DIGEST_AT] = MAGIC + bytes([FORMAT])
    packed[_LENGTH_AT:_HEADER_AT] = len(header).to_bytes(8, "little")
    packed[_HEADER_AT : _HEADER_AT + len(header)] = header
    return packed, body


def _seal(packed: bytearray) -> None:
    with memoryview(packed) as view:
        packed[DIGEST_AT:CONTENT_AT] = hashlib.sha256(view[CONTENT_AT:]).digest()


def _header(data: memoryview) -> tuple[AdapterHeader, int]:
    """Return the header and the offset of the body."""
    length = int.from_bytes(data[_LENGTH_AT:_HEADER_AT], "little")
    if not 0 < length <= min(RECORD_BYTES_MAX, len(data) - _HEADER_AT):
        raise PackedAdapterInvalid("it is cut off, or its header's length is damaged")
    try:
        header = AdapterHeader.unpack(data[_HEADER_AT : _HEADER_AT + length])
    except RecordInvalid as error:
        raise PackedAdapterInvalid(f"its header is damaged ({str(error)[:300]})") from error
    return header, aligned(_HEADER_AT + length)


def _check_places(groups: tuple[Group, ...], body_bytes: int) -> None:
    """Check that groups follow each other as ``pack_adapter`` lays them out, and no matrix occurs twice."""
    expected = end = 0
    for group in groups:
        check_names(group)
        if group.offset != expected:
            raise PackedAdapterInvalid(f"{group.pattern} is not where it has to be")
        end = group.offset + group.bytes
        if end > body_bytes:
            raise PackedAdapterInvalid("it is cut off")
        expected = aligned(end)
    matrices = sum(group.matrices for group in groups)
    if matrices > MATRICES_MAX:
        raise PackedAdapterInvalid(f"{matrices} matrices are more than {MATRICES_MAX}")
    if end != body_bytes:
        raise PackedAdapterInvalid(f"{body_bytes - end} bytes follow its end")
    check_apart(groups)


def is_finite(data: memoryview, dtype: DType) -> bool:
    """Whether none of the numbers of this type is NaN or infinite."""
    integers, exponent = _EXPONENTS[dtype]
    bits = np.frombuffer(data, integers)
    return not bool(((bits & exponent) == exponent).any())
