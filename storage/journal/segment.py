"""One segment of a shard's journal: what was committed to the shard since the segment before.

An object ``j/<number>``, sealed, of a msgpack array::

    [1, shard, number, epoch, owner, written ms, SHA-256 of the segment before, newest commit before it,
     [[commit, [change, …]], …]]

A change is one of ``storage/shards/rows.py``, with keys and values as the shard has them on disk. Commits are
numbered through over all segments. A segment without commits is a claim: from there on, the shard belongs to
the owner of its epoch.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from populace.storage.journal.errors import JournalDamaged
from populace.storage.shards.rows import DELETE, DELETE_PREFIX, PUT, Change

NO_DIGEST = bytes(32)
"""The digest of what is before the first segment."""

KEY_BYTES_MAX = 511
"""LMDB's limit."""

CHANGE_FIELDS = {PUT: 2, DELETE: 1, DELETE_PREFIX: 1}
"""How many fields a change has beside its kind."""

_FORMAT = 1
_DIGITS = 20

_msgpack: Any = msgpack  # it ships no types


class Position(NamedTuple):
    """A place in a journal: behind a segment of this epoch, whose object has this SHA-256, and a commit."""

    segment: int = 0
    digest: bytes = NO_DIGEST
    epoch: int = 0
    commit: int = 0

    def pack(self) -> bytes:
        packed: bytes = _msgpack.packb(tuple(self))
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> "Position":
        return cls(*_msgpack.unpackb(packed, use_list=False))


class Commit(NamedTuple):
    """The changes of one transaction of a shard."""

    number: int
    changes: Sequence[Change]


class Segment(NamedTuple):
    """See the module. ``previous`` is the digest of the segment before, which makes a chain of them.

    ``before`` is the newest commit that whoever has read all before it has. It is larger than that of the
    segment before if a snapshot has commits that are in no segment.
    """

    shard: int
    number: int
    epoch: int
    owner: str
    written_ms: int
    previous: bytes
    before: int
    commits: Sequence[Commit]

    @property
    def is_claim(self) -> bool:
        return not self.commits

    def pack(self) -> bytes:
        packed: bytes = _msgpack.packb((_FORMAT, *self), use_bin_type=True)
        return packed

    @classmethod
    def unpack(cls, name: str, packed: bytes) -> "Segment":
        """Raises ``JournalDamaged``."""
        try:
            version, *fields = _msgpack.unpackb(packed, use_list=False)
            if version != _FORMAT:
                raise JournalDamaged(name, f"it has format {version}, of a newer release")
            segment = cls(*fields)
            segment = segment._replace(commits=[Commit(*commit) for commit in segment.commits])
            _check(segment)
            return segment
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise JournalDamaged(name, f"it is no segment: {error}") from error


def check_row(key: object, value: object = b"") -> None:
    """Raise ``ValueError`` for what LMDB cannot have as a row, or as the beginning of keys."""
    if type(key) is not bytes or not 0 < len(key) <= KEY_BYTES_MAX or type(value) is not bytes:
        raise ValueError("a row of it has no key or no value that a shard can have")


def check_numbers(*numbers: object) -> None:
    """Raise ``ValueError`` unless all are whole numbers from 0 on."""
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("it has no number where one has to be")


def check_time(written_ms: object) -> None:
    """Raise ``ValueError`` unless it is a time, by whatever clock: before 1970 too."""
    if type(written_ms) is not int:
        raise ValueError("it has no time where one has to be")


def _check(segment: Segment) -> None:
    """Raise ``ValueError`` or ``TypeError`` for a segment that cannot be applied to any shard."""
    check_numbers(segment.shard, segment.number, segment.epoch, segment.before)
    check_time(segment.written_ms)
    if type(segment.owner) is not str or type(segment.previous) is not bytes:
        raise ValueError("it has no owner, or no segment before it")
    for commit in segment.commits:
        check_numbers(commit.number)
        for kind, *row in commit.changes:
            if type(kind) is not int or CHANGE_FIELDS.get(kind) != len(row):
                raise ValueError("it has a change of no kind that there is")
            check_row(*row)


def pack_changes(changes: Sequence[Change]) -> bytes:
    packed: bytes = _msgpack.packb(changes, use_bin_type=True)
    return packed


def unpack_changes(packed: bytes) -> Sequence[Change]:
    changes: Sequence[Change] = _msgpack.unpackb(packed, use_list=False)
    return changes


def digest_of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def numbered(number: int) -> str:
    """Return a number as it stands in names, so that names sort by it."""
    return f"{number:0{_DIGITS}d}"


def number_in(name: str) -> int:
    """Return the number at the end of a name. Raises ``JournalDamaged``."""
    last = name.rpartition("/")[2]
    if len(last) != _DIGITS or not last.isdecimal():
        raise JournalDamaged(name, "it is no object of a journal")
    return int(last)
