"""Finds what is damaged in a journal before a machine that takes over does, and where such a one ends."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from populace.storage.journal.bucket import Bucket, Listed
from populace.storage.journal.errors import JournalDamaged, SegmentsGone
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import Position, Segment, digest_of, number_in
from populace.storage.journal.shard_journal import ShardJournal, shard_folder
from populace.storage.journal.shipping import JournalRow
from populace.storage.journal.snapshot import read_snapshot
from populace.storage.store import Store

logger = logging.getLogger(__name__)

READ_BYTES_MAX = 256 * 2**20
"""Journals of more bytes are listed, and not read: that would take longer than who asks waits."""

SHARDS_AT_ONCE = 16

ABSENT = "it is absent"


def find_damage(journal: ShardJournal, *, until: int = 0, reads: bool = True) -> JournalDamaged | None:
    """Read what a successor would: the newest snapshot, the segments behind it, and the data keys.

    ``until`` is the newest segment that there has to be. Without ``reads``, all is only listed, and compared
    with the sizes that are known of segments. Moves nothing; the owner may go on meanwhile. Raises
    ``BucketUnreachable`` and ``BucketRefused``.
    """
    reader = journal.reader()
    while True:
        snapshots = reader.listed("s")
        try:
            if not snapshots:
                raise no_snapshot(journal)
            if reads:
                _read(reader, snapshots[-1], until)
            else:
                _look_over(reader, snapshots[-1], until)
        except JournalDamaged as error:
            # Else its owner wrote a newer one meanwhile, and may have removed what that stands for.
            if reader.listed("s")[-1:] == snapshots[-1:]:
                return error
        else:
            return None


def is_own(journal: ShardJournal, row: JournalRow) -> bool:
    """Whether it is the journal of this directory. Raises ``JournalDamaged`` if nothing tells."""
    try:
        return journal.origin() == row.origin
    except JournalDamaged as error:
        if not journal.has(row.position):
            raise
        logger.warning("%s; segment %d tells whose journal it is", error, row.position.segment)
        return True


def check_whole(journal: ShardJournal, snapshots: Sequence[int]) -> None:
    """Raise ``JournalDamaged`` unless the journal can be read from a snapshot to its end.

    Before the shard is replaced by it, which may have what the journal lacks.
    """
    for number in reversed(snapshots):
        try:
            snapshot = read_snapshot(journal, number)
            for _ in snapshot.rows:
                pass
        except JournalDamaged:
            if number == snapshots[0]:
                raise
            continue
        journal.seek(snapshot.position)
        for _ in journal.follow():
            pass
        return


def journal_of(bucket: Bucket, store: Store, number: int) -> ShardJournal:
    """Return the journal of a shard for reading."""
    seal = JournalSeal(store.sealing.master_key, store.store_id)
    folder = shard_folder(store.store_id, number)
    return ShardJournal(bucket, seal, folder, number, owner="a reader", now_ms=lambda: 0)


def damaged_shards(
    bucket: Bucket, store: Store, numbers: Sequence[int], *, bytes_max: int | None = READ_BYTES_MAX
) -> list[JournalDamaged]:
    """Return what is damaged of the journals of these shards, which have to be there.

    Only the numbers are looked at if all have more than ``bytes_max``. Raises as ``find_damage``.
    """
    journals = [journal_of(bucket, store, number) for number in numbers]
    with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="populace-damage") as threads:
        reads = bytes_max is None or sum(threads.map(listed_bytes, journals)) <= bytes_max
        found = threads.map(partial(find_damage, reads=reads), journals)
        return [damage for damage in found if damage is not None]


def no_snapshot(journal: ShardJournal) -> JournalDamaged:
    return JournalDamaged(f"{journal.folder}/s", "there is no snapshot any more")


def listed_bytes(journal: ShardJournal) -> int:
    """Return the bytes that ``find_damage`` would read."""
    snapshots = journal.listed("s")
    if not snapshots:
        return 0
    behind = journal.listed("j", after=number_in(snapshots[-1].name))
    return snapshots[-1].size + sum(found.size for found in behind)


def find_end(journal: ShardJournal, position: Position) -> Position:
    """Find the newest segment, behind a position or, if that was lost, before it.

    Its commit is the newest one of all that is behind the position; its epoch is at least that of any claim
    there. What is not behind the position may be damaged. Raises ``JournalDamaged`` if the last one behind
    it cannot be read: what it has is not known.
    """
    end = position
    unread: JournalDamaged | None = None
    for found in journal.listed("j", after=position.segment - 1) or journal.listed("j")[-1:]:
        number = number_in(found.name)
        content = journal.read(number) or b""
        epoch, commit = end.epoch, end.commit
        try:
            segment = journal.opened(number, content)
        except JournalDamaged as error:
            epoch += 1
            unread = error if number > position.segment else None
        else:
            epoch, unread = max(epoch, segment.epoch), None
            if number > position.segment:
                commit = max(commit, _newest_commit(segment))
        end = Position(number, digest_of(content), epoch, commit)
    if unread is not None:
        raise unread
    return end


def _newest_commit(segment: Segment) -> int:
    return segment.commits[-1].number if segment.commits else segment.before


def _read(reader: ShardJournal, newest: Listed, until: int) -> None:
    snapshot = read_snapshot(reader, number_in(newest.name))
    for _ in snapshot.rows:
        pass
    reader.seek(snapshot.position)
    commit = snapshot.position.commit
    for segment in reader.follow():
        if segment.before > commit:
            raise JournalDamaged(reader.name_of("j", segment.number), "a snapshot behind it is absent")
        commit = reader.end.commit
    if reader.end.segment < until:
        raise JournalDamaged(reader.name_of("j", reader.end.segment + 1), ABSENT)
    reader.read_keys()


def _look_over(reader: ShardJournal, newest: Listed, until: int) -> None:
    last = number_in(newest.name)
    for found in reader.listed("j", after=last):
        last, number = last + 1, number_in(found.name)
        if number != last:
            raise SegmentsGone(reader.name_of("j", last), f"the next one is {number}")
        if found.size != reader.sizes.get(number, found.size):
            raise JournalDamaged(found.name, f"it has {found.size} bytes of {reader.sizes[number]}")
    if last < until:
        raise JournalDamaged(reader.name_of("j", last + 1), ABSENT)
