"""The journal of one shard: numbered segments, each created only if absent, and the keys beside them.

In a bucket::

    <store id>/shard-0007/j/<number>     segments, see ``storage/journal/segment.py``
    <store id>/shard-0007/s/<number>     snapshots behind a segment, see ``storage/journal/snapshot.py``
    <store id>/shard-0007/keys/<epoch>/<number>   the data keys of the shard's models, wrapped and sealed

Who may write is decided by the numbers alone. An owner claims the journal with a segment of its own behind
the last one; from then on the former owner's next segment finds its number taken. That needs neither clocks
nor leases, and no comparison but whether an object exists.

Data keys are in no segment and no snapshot, but in the newest of the objects for them; others are removed.
It is written before the segment that needs it, so that what was erased cannot be read again, however long
segments are kept. It has a new name each time, by epoch and number: neither a former owner that lives on nor
a write that takes effect late can stand in its place.

A claimant that slept may create its claim where a segment was and was removed since. So it looks behind its
claim, and takes it back unless all that follows continues it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgpack

from populace.storage.journal.bucket import Bucket, Listed
from populace.storage.journal.errors import (
    BucketRefused,
    BucketUnreachable,
    JournalDamaged,
    JournalOvertaken,
    JournalUnsettled,
    SegmentsGone,
)
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import Commit, Position, Segment, digest_of, number_in, numbered

READS_AT_ONCE = 16
"""How many segments are read at a time: a request to an object store takes some tens of milliseconds."""

READS_MAX = 10
"""How often the data keys are looked for again that were replaced between a listing and a read."""

OWNER_CHARACTERS_MAX = 200

_msgpack: Any = msgpack  # it ships no types


class Prepared(NamedTuple):
    """A segment that can be sent: its object, and the position behind it."""

    position: Position
    content: bytes


class ShardJournal:
    """Reads a journal up to ``end``, claims it there, and appends to it. For one thread at a time."""

    def __init__(
        self,
        bucket: Bucket,
        seal: JournalSeal,
        folder: str,
        shard: int,
        *,
        owner: str,
        now_ms: Callable[[], int],
    ) -> None:
        """``now_ms`` is the time of the clock on the wall, which is only noted; nothing depends on it."""
        self.bucket = bucket
        self.seal = seal
        self.folder = folder
        self.shard = shard
        self.owner = owner[:OWNER_CHARACTERS_MAX]
        self.now_ms = now_ms
        self.end: Position = Position()
        """Behind the last segment that was read or written; the epoch is the owner's own after ``claim``."""
        self.sent_bytes = 0
        """The bytes of all segments that were sent."""
        self._is_claimed = False
        self._keys_number = 0

    def name_of(self, kind: str, number: int) -> str:
        return f"{self.folder}/{kind}/{numbered(number)}"

    def listed(self, kind: str, *, after: int = 0) -> list[Listed]:
        """List the objects of a kind with higher numbers than ``after``, by their numbers."""
        return self.bucket.names(f"{self.folder}/{kind}", after=self.name_of(kind, after))

    def has(self, position: Position) -> bool:
        """Whether the journal still has the segment of a position, and has the same one."""
        content = self.bucket.read(self.name_of("j", position.segment))
        return content is not None and digest_of(content) == position.digest

    def is_claim(self, number: int) -> bool:
        """Whether a segment only says who owns the shard from there on. Raises ``JournalDamaged``."""
        content = self._read(number)
        return content is not None and self._opened(number, content).is_claim

    def seek(self, position: Position) -> None:
        """Go on reading behind a position, such as that of a snapshot."""
        self.end = position
        self._is_claimed = False

    def follow(self) -> Iterator[Segment]:
        """Read the segments behind ``end``, which moves along.

        Raises ``SegmentsGone``, and ``JournalDamaged`` for one that does not continue the one before.
        """
        waiting = [number_in(found.name) for found in self.listed("j", after=self.end.segment)]
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="populace-journal") as readers:
            for begin in range(0, len(waiting), READS_AT_ONCE):
                numbers = waiting[begin : begin + READS_AT_ONCE]
                for number, content in zip(numbers, readers.map(self._read, numbers), strict=True):
                    yield self._next(number, content)

    def claim(self, *, commit: int | None = None) -> bool:
        """Take the journal behind ``end``; False if there is a segment now: ``follow``, and try again.

        It is the owner's from then on, and every other owner's next ``send`` fails. ``commit`` is the newest
        one of the owner if segments do not have it, but the next snapshot. Raises ``SegmentsGone`` if what
        was read last was removed meanwhile.
        """
        before = self.end
        if commit is not None:
            self.end = before._replace(commit=max(commit, before.commit))
        claim = self._prepare(before.epoch + 1, ())
        try:
            self.send(claim)
        except JournalOvertaken:
            self.end = before
            return False
        later = self.listed("j", after=claim.position.segment)
        if later:
            self.end = before
            number = number_in(later[0].name)
            following = self._read(number)
            if following is None or not self._continues(number, following, claim.position):
                self.bucket.remove([self.name_of("j", claim.position.segment)])
                raise SegmentsGone(self.name_of("j", claim.position.segment), "it was removed meanwhile")
            return False
        self._is_claimed = True
        self._keys_number = 0
        return True

    def _continues(self, number: int, content: bytes, position: Position) -> bool:
        segment = self._opened(number, content)
        return (number, segment.previous) == (position.segment + 1, position.digest)

    def prepare(self, commits: Sequence[Commit]) -> Prepared:
        """Make the next segment, without writing it: what is stored beside it needs its position."""
        assert self._is_claimed, "it was not claimed"
        assert commits
        return self._prepare(self.end.epoch, commits)

    def send(self, prepared: Prepared) -> None:
        """Write a segment, also one that was sent before if it is not known what came of it.

        Raises ``JournalOvertaken`` if the journal is another owner's now, and ``JournalUnsettled`` (send it
        again, or claim the journal anew).
        """
        name = self.name_of("j", prepared.position.segment)
        try:
            # One that exists may be this very one, whose answer was lost.
            is_written = self.bucket.create(name, prepared.content) or (
                self.bucket.read(name) == prepared.content
            )
        except (BucketUnreachable, BucketRefused) as error:
            # Also a refusal may come after an attempt whose answer was lost.
            raise JournalUnsettled(self.shard, prepared.position.segment, error.reason) from error
        if not is_written:
            self._is_claimed = False
            raise JournalOvertaken(self.shard, prepared.position.segment)
        self.end = prepared.position
        self.sent_bytes += len(prepared.content)

    def origin(self) -> bytes:
        """Return what tells this journal from every other one: the digest of its first segment, a claim."""
        content = self._read(1)
        if content is None:
            raise JournalDamaged(self.name_of("j", 1), "it is absent")
        return digest_of(content)

    def read_keys(self) -> dict[bytes, bytes]:
        """Return the newest wrapped data keys, by the keys of their rows. Raises ``JournalDamaged``."""
        for _ in range(READS_MAX):
            found = self.bucket.names(f"{self.folder}/keys")
            if not found:
                break
            content = self.bucket.read(found[-1].name)
            # Absent if its owner wrote newer ones meanwhile.
            if content is not None:
                rows: dict[bytes, bytes] = _msgpack.unpackb(self.seal.open(found[-1].name, content))
                return rows
        raise JournalDamaged(f"{self.folder}/keys", "there are no data keys")

    def write_keys(self, rows: Mapping[bytes, bytes]) -> None:
        """Write the data keys, before a segment needs them, and remove the former ones.

        The journal must have been claimed.
        """
        content = _msgpack.packb(dict(rows), use_bin_type=True)
        is_written = False
        while not is_written:
            # A number is taken if an answer was lost.
            self._keys_number += 1
            name = f"{self.folder}/keys/{numbered(self.end.epoch)}/{numbered(self._keys_number)}"
            is_written = self.bucket.create(name, self.seal.seal(name, content))
        self.remove_former_keys()

    def remove_former_keys(self) -> None:
        """Remove all data keys but the newest, also those that a former owner or a late write left."""
        names = [found.name for found in self.bucket.names(f"{self.folder}/keys")]
        self.bucket.remove(names[:-1])

    def _prepare(self, epoch: int, commits: Sequence[Commit]) -> Prepared:
        number = self.end.segment + 1
        segment = Segment(
            self.shard, number, epoch, self.owner, self.now_ms(), self.end.digest, self.end.commit, commits
        )
        content = self.seal.seal(self.name_of("j", number), segment.pack())
        return Prepared(self._behind(segment, content), content)

    def _behind(self, segment: Segment, content: bytes) -> Position:
        commit = segment.commits[-1].number if segment.commits else max(self.end.commit, segment.before)
        return Position(segment.number, digest_of(content), segment.epoch, commit)

    def _opened(self, number: int, content: bytes) -> Segment:
        name = self.name_of("j", number)
        return Segment.unpack(name, self.seal.open(name, content))

    def _read(self, number: int) -> bytes | None:
        return self.bucket.read(self.name_of("j", number))

    def _next(self, number: int, content: bytes | None) -> Segment:
        name = self.name_of("j", number)
        expected = self.end.segment + 1
        if number != expected or content is None:
            raise SegmentsGone(self.name_of("j", expected), f"the next one is {number}")
        segment = self._opened(number, content)
        if (segment.shard, segment.number) != (self.shard, number):
            raise JournalDamaged(name, "it is another segment")
        if segment.previous != self.end.digest:
            raise JournalDamaged(name, "it does not continue the segment before")
        self.end = self._behind(segment, content)
        return segment
