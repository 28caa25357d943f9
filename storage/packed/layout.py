"""Groups the matrices of an adapter: those of one module, side, shape and type, over all layers.

A dense model has two groups for each target module, and so has a model with experts: these are another axis.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from populace.storage.packed.errors import PackedAdapterInvalid

Side = Literal["A", "B"]
DType = Literal["F32", "F16", "BF16"]

ITEM_BYTES: dict[str, int] = {"F32": 4, "F16": 2, "BF16": 2}
AXES_MAX = 4
ALIGNMENT = 64
"""The alignment of each group in bytes: a cache line, and more than any copy instruction needs."""

_NUMBER = re.compile(r"(?<=\.)(?:0|[1-9]\d{0,8})(?=\.)")
"""Matches a layer's or expert's number between dots in a module's name, without leading zeros."""


class Factor(NamedTuple):
    """A matrix of the base's module with this dotted name, one row for each rank.

    A is [rank, inputs]. B is stored transposed, [rank, outputs]: an engine adds along the outputs.
    """

    module: str
    side: Side
    shape: tuple[int, int]
    dtype: DType
    alpha: float


Count = Annotated[int, Field(ge=0, lt=2**40)]
Size = Annotated[int, Field(ge=1, lt=2**31)]


class Group(NamedTuple):
    """Matrices that are stored one after the other.

    ``pattern`` is their modules' name with a ``*`` for each of the axes, along which the modules have
    these ``numbers``; the last axis runs fastest. ``offset`` is from the start of the body.
    """

    pattern: Annotated[str, Field(min_length=1, max_length=500)]
    side: Side
    dtype: DType
    alpha: Annotated[float, Field(allow_inf_nan=False)]
    shape: tuple[Size, Size]
    numbers: Annotated[
        tuple[Annotated[tuple[Count, ...], Field(min_length=1)], ...], Field(max_length=AXES_MAX)
    ]
    offset: Count

    @property
    def matrices(self) -> int:
        return math.prod(map(len, self.numbers))

    @property
    def factor_bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    @property
    def bytes(self) -> int:
        return self.matrices * self.factor_bytes

    @property
    def rank(self) -> int:
        return self.shape[0]

    def factors(self) -> Iterator[tuple[Factor, int]]:
        """Every matrix with its offset in the body, in the stored order."""
        for index, module in enumerate(modules_of(self.pattern, self.numbers)):
            factor = Factor(module, self.side, self.shape, self.dtype, self.alpha)
            yield factor, self.offset + index * self.factor_bytes


def modules_of(pattern: str, numbers: tuple[tuple[int, ...], ...]) -> Iterator[str]:
    """Name every module of a group, in the stored order of their matrices."""
    return (_numbered(pattern, place) for place in itertools.product(*numbers))


class _Alike(NamedTuple):
    """The common properties of the matrices of a group."""

    pattern: str
    side: Side
    dtype: DType
    alpha: float
    shape: tuple[int, int]


def groups_of(factors: Iterable[Factor]) -> tuple[Group, ...]:
    """Lay the matrices out. The layout does not depend on the order in which they come.

    A group is a full grid of its numbers, so matrices that only some layers have form a group of their own.
    """
    alike: dict[_Alike, list[tuple[int, ...]]] = defaultdict(list)
    for factor in factors:
        pattern, numbers = _split(factor.module)
        alike[_Alike(pattern, factor.side, factor.dtype, factor.alpha, factor.shape)].append(numbers)
    groups: list[Group] = []
    offset = 0
    for common, places in sorted(alike.items()):
        for grid in _grids(sorted(places)):
            group = Group(*common, grid, offset)
            groups.append(group)
            offset = aligned(offset + group.bytes)
    return tuple(groups)


def check_names(group: Group) -> None:
    """Raise ``PackedAdapterInvalid`` unless the pattern and its numbers name each module in one way only."""
    if group.pattern.count("*") != len(group.numbers):
        raise PackedAdapterInvalid(f"{group.pattern} has not an axis for each of its numbers")
    if any(list(axis) != sorted(set(axis)) for axis in group.numbers):
        raise PackedAdapterInvalid(f"{group.pattern} {group.side} has a matrix twice, or out of order")
    first = tuple(axis[0] for axis in group.numbers)
    if _split(_numbered(group.pattern, first)) != (group.pattern, first):
        raise PackedAdapterInvalid(f"{group.pattern} is not how its modules' names are written")


def check_apart(groups: Iterable[Group]) -> None:
    """Raise ``PackedAdapterInvalid`` if two groups with the same pattern have the same matrix."""
    alike: dict[tuple[str, str], list[Group]] = defaultdict(list)
    for group in groups:
        alike[group.pattern, group.side].append(group)
    for (pattern, side), same in alike.items():
        if len(same) > 1:
            places = [place for group in same for place in itertools.product(*group.numbers)]
            if len(set(places)) < len(places):
                raise PackedAdapterInvalid(f"{pattern} {side} has a matrix twice")


def aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _grids(places: list[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Cut sorted places into full grids, by what follows each first number."""
    if not places[0]:
        yield ()
        return
    following: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for first, *rest in places:
        following[first].append(tuple(rest))
    firsts: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for first, rest in following.items():
        firsts[tuple(rest)].append(first)
    for rest, numbers in firsts.items():
        for grid in _grids(list(rest)):
            yield (tuple(numbers), *grid)


def _split(module: str) -> tuple[str, tuple[int, ...]]:
    """Take the numbers out of a name; those beyond the axes that a group can have stay in it."""
    numbers = [int(found) for found in _NUMBER.findall(f"{module}.")][:AXES_MAX]
    return _NUMBER.sub("*", f"{module}.", count=AXES_MAX).removesuffix("."), tuple(numbers)


def _numbered(pattern: str, numbers: tuple[int, ...]) -> str:
    first, *rest = pattern.split("*")
    return first + "".join(f"{number}{part}" for number, part in zip(numbers, rest, strict=True))
