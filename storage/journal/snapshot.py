"""Snapshots of a shard in a bucket: all of its rows behind one segment, so that earlier ones are not needed.

An object ``s/<segment>`` (``storage/journal/sealed_object.py``) of msgpack arrays: first the position and
the time, then ``[key, value]`` for each row as the shard has it on disk, without data keys and without the
rows of the shard itself.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgpack

from populace.storage.journal.errors import JournalDamaged
from populace.storage.journal.sealed_object import read_object, write_object
from populace.storage.journal.segment import Position, check_numbers, check_row, check_time
from populace.storage.journal.shard_journal import ShardJournal

Row = tuple[bytes, bytes]

_ITEM_BYTES_MAX = 2**30

_msgpack: Any = msgpack  # it ships no types


class Snapshot(NamedTuple):
    """The state of a shard behind a position. ``rows`` can be read once, and may raise ``JournalDamaged``."""

    position: Position
    written_ms: int
    rows: Iterator[Row]


def write_snapshot(journal: ShardJournal, position: Position, rows: Iterable[Row]) -> int:
    """Write the rows that a shard has behind a position; return the bytes of them."""
    size = 0

    def items() -> Iterator[bytes]:
        nonlocal size
        yield _msgpack.packb((tuple(position), journal.now_ms()), use_bin_type=True)
        for row in rows:
            packed: bytes = _msgpack.packb(row, use_bin_type=True)
            size += len(packed)
            yield packed

    write_object(journal.bucket, journal.seal, journal.name_of("s", position.segment), items())
    return size


def read_snapshot(journal: ShardJournal, number: int) -> Snapshot:
    """Read the snapshot behind a segment. Raises ``JournalDamaged``."""
    name = journal.name_of("s", number)
    pieces = read_object(journal.bucket, journal.seal, name)
    if pieces is None:
        raise JournalDamaged(name, "it is absent")
    items = _items(name, pieces)
    try:
        fields, written_ms = next(items)
        position = Position(*fields)
        check_numbers(position.segment, position.epoch, position.commit)
        check_time(written_ms)
        check_row(position.digest)
        return Snapshot(position, written_ms, _rows(name, items))
    except (StopIteration, ValueError, TypeError) as error:
        raise JournalDamaged(name, "it is no snapshot") from error


def _rows(name: str, items: Iterator[Any]) -> Iterator[Row]:
    for item in items:
        try:
            key, value = item
            check_row(key, value)
        except (ValueError, TypeError) as error:
            raise JournalDamaged(name, f"it has something other than rows: {error}") from error
        yield key, value


def _items(name: str, pieces: Iterator[bytes]) -> Iterator[Any]:
    unpacker = _msgpack.Unpacker(use_list=False, max_buffer_size=_ITEM_BYTES_MAX)
    for plain in pieces:
        try:
            unpacker.feed(plain)
            yield from unpacker
        except (ValueError, msgpack.UnpackException) as error:
            raise JournalDamaged(name, f"it is no snapshot: {error}") from error
