"""Changes to samples, as damage and malice make them: of bytes, and of the values that bytes encode."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

NUMBERS = (0, 1, -1, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
"""Where the sizes of integers end."""

VALUES: Sequence[object] = (
    *(None, True, False, "", "x" * 300, "\ud7ff\0\n", "../../etc/passwd", b"", b"\0" * 40, b"\xff"),
    *(0, 1, -1, 2**31, 2**63 - 1, 1.5, 1e308, float("nan"), float("inf")),
    *((), ((),) * 20, {}, {"x": {}}),
)

GROWTH_MAX = 64 * 1024


def mutated(data: bytes, others: Sequence[bytes], source: random.Random) -> bytes:
    """Return the bytes with one change or several, also of parts of other samples."""
    changed = bytearray(data)
    for _ in range(1 + min(7, int(source.expovariate(0.7)))):
        _CHANGES[source.randrange(len(_CHANGES))](changed, others, source)
    return bytes(changed)


def _place(data: bytearray, source: random.Random) -> int:
    return source.randrange(len(data) + 1)


def _flip(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    if data:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _overwrite(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    size = source.choice((1, 2, 4, 8))
    number = source.choice(NUMBERS) % 2 ** (8 * size)
    at = _place(data, source)
    data[at : at + size] = number.to_bytes(size, source.choice(("little", "big")))


def _insert(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    at = _place(data, source)
    data[at:at] = source.randbytes(source.choice((1, 2, 8, 100)))


def _delete(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    at = _place(data, source)
    del data[at : at + source.choice((1, 2, 8, 100, 1000))]


def _repeat(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    at = _place(data, source)
    part = data[at : at + source.choice((1, 4, 64, 1000))]
    data[at:at] = part * min(source.choice((1, 2, 16, 4096)), GROWTH_MAX // max(1, len(part)))


def _truncate(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    del data[_place(data, source) :]


def _splice(data: bytearray, others: Sequence[bytes], source: random.Random) -> None:
    other = source.choice(others)
    begin = source.randrange(len(other) + 1)
    at = _place(data, source)
    data[at : at + source.choice((0, 16, 1000))] = other[begin : begin + source.choice((16, 256, 5000))]


def _renumber(data: bytearray, _: Sequence[bytes], source: random.Random) -> None:
    places = [match.span() for match in re.finditer(rb"\d+", bytes(data[:100_000]))]
    if places:
        begin, end = source.choice(places)
        data[begin:end] = str(source.choice(NUMBERS)).encode()


_CHANGES = (_flip, _overwrite, _insert, _delete, _repeat, _truncate, _splice, _renumber)


def mutated_value(value: object, source: random.Random) -> object:
    """Return the value with one of its parts replaced, removed or repeated; lists come back as tuples."""
    if isinstance(value, list | tuple):
        items = list(cast("Sequence[object]", value))
        if items and source.random() < 0.85:
            at = source.randrange(len(items))
            kind = source.random()
            if kind < 0.7:
                items[at] = mutated_value(items[at], source)
            elif kind < 0.85:
                del items[at]
            else:
                items[at:at] = [items[at]] * source.choice((1, 2, 50))
            return tuple(items)
    elif isinstance(value, Mapping):
        pairs = dict(cast("Mapping[Any, object]", value))
        if pairs and source.random() < 0.85:
            name = source.choice(sorted(pairs, key=repr))
            if source.random() < 0.85:
                pairs[name] = mutated_value(pairs[name], source)
            else:
                del pairs[name]
            return pairs
    elif isinstance(value, bytes) and value and source.random() < 0.5:
        return mutated(value, [value], source)
    elif isinstance(value, int) and not isinstance(value, bool) and source.random() < 0.5:
        return value + source.choice((-1, 1, 64, -64, 2**20))
    return source.choice(VALUES)
