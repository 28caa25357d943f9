"""The journal of one shard: numbered segments, each created only if absent, and the keys beside them.

In a bucket::

    <store id>/shard-0007/j/<number>     segments, see ``storage/journal/segment.py``
    <store id>/shard-0007/s/<number>     snapshots behind a segment, see ``storage/journal/snapshot.py``
    <store id>/shard-0007/keys/<epoch>/<number>   the data keys of the shard's models, wrapped and sealed
    <store id>/shard-0007/origin         what tells this journal from others, if its first segment is lost
    <store id>/shard-0007/waiting        there while a claimant asks the owner for a pause

Whoever can write to the bucket can put objects there, and only who has the master key can seal them: what
does not open has no owner, so it takes no journal from one, and stands for no data keys.

Who may write is decided by the numbers alone. An owner claims the journal with a segment of its own behind
the last one; from then on the former owner's next segment finds its number taken. That needs neither clocks
nor leases, and no comparison but whether an object exists.

Data keys are in no segment and no snapshot, but in the newest of the objects for them; others are removed.
It is written before the segment that needs it, so that what was erased cannot be read again, however long
segments are kept. It has a new name each time, by epoch and number: neither a former owner that lives on nor
a write that takes effect late can stand in its place.

A claimant that slept may create its claim where a segment was and was removed since. So it looks behind its
claim, and takes it back unless all that follows continues it.

An owner that is cut off from the others may write without a pause, and so faster than a claimant reads. The
claimant asks for a pause then, and the owner, which looks for that now and then, makes one that is long
enough for a claim. Nothing but the time that a claim takes depends on it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import msgpack

from populace.storage.journal.bucket import Bucket, Listed
from populace.storage.journal.errors import (
    BucketRefused,
    BucketUnreachable,
    JournalDamaged,
    JournalOvertaken,
    JournalTakenOver,
    JournalUnsettled,
    SegmentsGone,
)
from populace.storage.journal.runs import next_epoch, run_of
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import Commit, Position, Segment, digest_of, number_in, numbered

READS_AT_ONCE = 16
"""How many segments are read at a time: a request to an object store takes some tens of milliseconds."""

READS_MAX = 10
"""How often the data keys are looked for again that were replaced between a listing and a read."""

OWNER_CHARACTERS_MAX = 200

CLAIM_BYTES_MAX = 1024
"""No claim is larger: the name of its owner is cut. Smaller segments are read to see what they are."""

LOOK_EVERY = 32
"""Segments after which an owner looks whether it is asked for a pause: one request among as many."""

PAUSE_SECONDS = 2.0
"""In this time a claimant reads and replays what was written since it asked, and creates its claim."""

_msgpack: Any = msgpack  # it ships no types

logger = logging.getLogger(__name__)


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
        run: int | None = None,
    ) -> None:
        """``now_ms`` is the time of the clock on the wall, which is only noted; nothing depends on it.

        ``run`` is that of the owner's ``populace serve`` (``storage/journal/runs.py``); None goes on in the
        run that is there.
        """
        self.bucket = bucket
        self.seal = seal
        self.folder = folder
        self.shard = shard
        self.owner = owner[:OWNER_CHARACTERS_MAX]
        self.now_ms = now_ms
        self._run = run
        self.end: Position = Position()
        """Behind the last segment that was read or written; the epoch is the owner's own after ``claim``."""
        self.sent_bytes = 0
        """The bytes of all segments that were sent."""
        self.sizes: dict[int, int] = {}
        """The bytes of the segments that were read or written, as far as they are behind a snapshot."""
        self._is_claimed = False
        self._keys_number = 0
        self._until_look = LOOK_EVERY
        self._has_asked = False

    @property
    def _origin(self) -> str:
        return f"{self.folder}/origin"

    @property
    def _waiting(self) -> str:
        return f"{self.folder}/waiting"

    def name_of(self, kind: str, number: int) -> str:
        return f"{self.folder}/{kind}/{numbered(number)}"

    def listed(self, kind: str, *, after: int = 0) -> list[Listed]:
        """List the objects of a kind with higher numbers than ``after``, by their numbers."""
        return self.bucket.names(f"{self.folder}/{kind}", after=self.name_of(kind, after))

    def has(self, position: Position) -> bool:
        """Whether the journal still has the segment of a position, and has the same one."""
        content = self.bucket.read(self.name_of("j", position.segment))
        return content is not None and digest_of(content) == position.digest

    def reader(self) -> "ShardJournal":
        """Return another one that reads the same journal; it owns nothing."""
        reader = ShardJournal(
            self.bucket, self.seal, self.folder, self.shard, owner=self.owner, now_ms=self.now_ms
        )
        reader.sizes = self.sizes
        return reader

    def is_claim(self, number: int) -> bool:
        """Whether a segment only says who owns the shard from there on. Raises ``JournalDamaged``."""
        content = self.read(number)
        return content is not None and self.opened(number, content).is_claim

    def commits_before(self, number: int | None) -> list[str]:
        """Return the names of the segments with commits before a number, None: of all; claims are others."""
        names: list[str] = []
        for found in self.listed("j"):
            place = number_in(found.name)
            if number is not None and place >= number:
                break
            with contextlib.suppress(JournalDamaged):  # it may be a claim
                if found.size > CLAIM_BYTES_MAX or not self.is_claim(place):
                    names.append(found.name)
        return names

    def is_newest_owner(self, epoch: int) -> bool:
        """Whether no owner after that of an epoch has committed anything: each writes its keys before."""
        return self.newest_epoch() == epoch

    def newest_epoch(self) -> int:
        """Return the epoch of the newest owner that wrote data keys; 0 if none did.

        If none of them opens, that of the newest name: an owner whose own are damaged goes on from its disk.
        """
        try:
            newest = self._newest_keys()
        except JournalDamaged:
            return newest_epoch(self.bucket, self.folder)
        return 0 if newest is None else _epoch_in(newest[0])

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
                for number, content in zip(numbers, readers.map(self.read, numbers), strict=True):
                    yield self._next(number, content)

    def claim(self, *, commit: int | None = None) -> bool:
        """Take the journal behind ``end``; False if there is a segment now: ``follow``, and try again.

        It is the owner's from then on, and every other owner's next ``send`` fails. ``commit`` is the newest
        one of the owner if segments do not have it, but the next snapshot. Raises ``SegmentsGone`` if what
        was read last was removed meanwhile, and ``JournalTakenOver`` if a later run has the journal.
        """
        before = self.end
        self._refuse_later_run(before.epoch)
        run = run_of(before.epoch) if self._run is None else self._run
        if commit is not None:
            self.end = before._replace(commit=max(commit, before.commit))
        claim = self._prepare(next_epoch(before.epoch, run), ())
        try:
            self.send(claim)
        except JournalOvertaken:
            self.end = before
            self._ask_for_pause()
            return False
        later = self.listed("j", after=claim.position.segment)
        if later:
            self.end = before
            number = number_in(later[0].name)
            following = self.read(number)
            if following is None or not self._continues(number, following, claim.position):
                self.bucket.remove([self.name_of("j", claim.position.segment)])
                raise SegmentsGone(self.name_of("j", claim.position.segment), "it was removed meanwhile")
            return False
        self._is_claimed = True
        self._keys_number = 0
        if self._has_asked:
            self._has_asked = False
            self.bucket.remove([self._waiting])
        return True

    def refuse_later_run(self) -> None:
        """Raise ``JournalTakenOver`` if a later run than the owner's has the journal, as far as it shows.

        That spares what is here from being replaced in vain; ``claim`` is what makes sure.
        """
        if self._run is not None:
            self._refuse_later_run(self.newest_epoch())

    def _refuse_later_run(self, epoch: int) -> None:
        if self._run is not None and run_of(epoch) > self._run:
            raise JournalTakenOver(f"Shard {self.shard}", self.bucket.url)

    def _ask_for_pause(self) -> None:
        self._has_asked = True
        self.bucket.create(self._waiting, b"")

    def _pause_if_asked(self) -> None:
        """Let a claimant go first that asked for it, at the times at which this is looked for."""
        self._until_look -= 1
        if self._until_look:
            return
        self._until_look = LOOK_EVERY
        with contextlib.suppress(BucketUnreachable, BucketRefused):
            if self.bucket.has(self._waiting):
                # It asks again if the time is too short for it. One that is gone is waited for once.
                self.bucket.remove([self._waiting])
                logger.info("shard %d waits for another owner that claims its journal", self.shard)
                time.sleep(PAUSE_SECONDS)

    def _continues(self, number: int, content: bytes, position: Position) -> bool:
        segment = self.opened(number, content)
        return (number, segment.previous) == (position.segment + 1, position.digest)

    def prepare(self, commits: Sequence[Commit]) -> Prepared:
        """Make the next segment, without writing it: what is stored beside it needs its position."""
        assert self._is_claimed, "it was not claimed"
        assert commits
        return self._prepare(self.end.epoch, commits)

    def send(self, prepared: Prepared) -> None:
        """Write a segment, also one that was sent before if it is not known what came of it.

        Raises ``JournalOvertaken`` if the journal is another owner's now, ``JournalDamaged`` while something
        that is no segment stands in its place, and ``JournalUnsettled`` (send it again, or claim the journal
        anew).
        """
        if self._is_claimed:
            self._pause_if_asked()
        name = self.name_of("j", prepared.position.segment)
        try:
            # One that exists may be this very one, whose answer was lost.
            is_written = self.bucket.create(name, prepared.content)
            there = None if is_written else self.bucket.read(name)
        except (BucketUnreachable, BucketRefused) as error:
            # Also a refusal may come after an attempt whose answer was lost.
            raise JournalUnsettled(self.shard, prepared.position.segment, error.reason) from error
        if not is_written and there != prepared.content:
            if there is not None:
                self.opened(prepared.position.segment, there)
            self._is_claimed = False
            raise JournalOvertaken(self.shard, prepared.position.segment)
        self.end = prepared.position
        self.sent_bytes += len(prepared.content)
        self.sizes[prepared.position.segment] = len(prepared.content)

    def origin(self) -> bytes:
        """Return what tells this journal from every other one: the digest of its first segment, a claim.

        If that was lost or damaged, what its owner noted of it. Raises ``JournalDamaged`` if both were.
        """
        content = self.read(1)
        damage = JournalDamaged(self.name_of("j", 1), "it is absent")
        try:
            if content is not None:
                self.opened(1, content)
                return digest_of(content)
        except JournalDamaged as error:
            damage = error
        noted = self._noted_origin()
        if noted is None:
            raise damage
        logger.warning("%s; %s stands for it", damage, self._origin)
        return noted

    def note_origin(self, origin: bytes) -> None:
        """Note what tells this journal from others, also in the place of a damaged note. It must be owned."""
        if self._noted_origin() != origin:
            self.bucket.replace(self._origin, self.seal.seal(self._origin, origin))

    def _noted_origin(self) -> bytes | None:
        content = self.bucket.read(self._origin)
        try:
            return None if content is None else self.seal.open(self._origin, content)
        except JournalDamaged:
            return None

    def read_keys(self) -> dict[bytes, bytes]:
        """Return the newest wrapped data keys, by the keys of their rows. Raises ``JournalDamaged``."""
        newest = self._newest_keys()
        if newest is None:
            raise JournalDamaged(_keys_of(self.folder), "there are no data keys")
        rows: dict[bytes, bytes] = _msgpack.unpackb(newest[1])
        return rows

    def _newest_keys(self) -> tuple[str, bytes] | None:
        """Return the name and the content of the newest data keys that open; None if there are none at all.

        Raises ``JournalDamaged`` if none of those that are there opens.
        """
        for _ in range(READS_MAX):
            damage: JournalDamaged | None = None
            for found in reversed(self.bucket.names(_keys_of(self.folder))):
                content = self.bucket.read(found.name)
                if content is None:
                    break  # its owner wrote newer ones meanwhile
                try:
                    return found.name, self.seal.open(found.name, content)
                except JournalDamaged as error:
                    logger.error("%s", error)  # noqa: TRY400 - not a bug
                    damage = damage or error
            else:
                if damage is not None:
                    raise damage
                return None
        raise JournalDamaged(_keys_of(self.folder), "they are replaced faster than they can be read")

    def write_keys(self, rows: Mapping[bytes, bytes]) -> None:
        """Write the data keys, before a segment needs them, and remove the former ones.

        The journal must have been claimed.
        """
        content = _msgpack.packb(dict(rows), use_bin_type=True)
        while True:
            # A number is taken if an answer was lost.
            self._keys_number += 1
            name = f"{_keys_of(self.folder)}/{numbered(self.end.epoch)}/{numbered(self._keys_number)}"
            if self.bucket.create(name, self.seal.seal(name, content)):
                break
        self._remove_keys_before(name)

    def remove_former_keys(self) -> None:
        """Remove all data keys before the newest that open, also what a former owner or a late write left."""
        newest = self._newest_keys()
        if newest is not None:
            self._remove_keys_before(newest[0])

    def _remove_keys_before(self, newest: str) -> None:
        names = [found.name for found in self.bucket.names(_keys_of(self.folder))]
        self.bucket.remove([name for name in names if name < newest])

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

    def opened(self, number: int, content: bytes) -> Segment:
        """Open the content of a segment. Raises ``JournalDamaged``."""
        name = self.name_of("j", number)
        return Segment.unpack(name, self.seal.open(name, content))

    def read(self, number: int) -> bytes | None:
        """Read a segment as it is; None if it is absent."""
        return self.bucket.read(self.name_of("j", number))

    def _next(self, number: int, content: bytes | None) -> Segment:
        name = self.name_of("j", number)
        expected = self.end.segment + 1
        if number != expected or content is None:
            raise SegmentsGone(self.name_of("j", expected), f"the next one is {number}")
        segment = self.opened(number, content)
        if (segment.shard, segment.number) != (self.shard, number):
            raise JournalDamaged(name, "it is another segment")
        if segment.previous != self.end.digest:
            raise JournalDamaged(name, "it does not continue the segment before")
        self.end = self._behind(segment, content)
        self.sizes[number] = len(content)
        return segment


def shard_folder(store_id: str, number: int) -> str:
    """Return the folder of a shard's journal in the bucket."""
    return f"{store_id}/shard-{number:04d}"


def newest_epoch(bucket: Bucket, folder: str) -> int:
    """Return the epoch of the newest data keys in a shard's journal by their names alone; 0 without any.

    That takes no key, so that whoever can write to the bucket can make it higher: see ``ShardJournal``.
    """
    found = bucket.names(_keys_of(folder))
    return _epoch_in(found[-1].name) if found else 0


def _epoch_in(name: str) -> int:
    return number_in(name.rpartition("/")[0])


def newest_epoch_of_all(bucket: Bucket, store_id: str, shards: int) -> int:
    """Return the newest epoch of all shards of a store, as ``newest_epoch`` does for one."""
    folders = [shard_folder(store_id, number) for number in range(shards)]
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="populace-epoch") as threads:
        return max(threads.map(partial(newest_epoch, bucket), folders))


def _keys_of(folder: str) -> str:
    return f"{folder}/keys"
