"""Brings a shard and its journal together when a shard is opened, and claims the journal for its owner.

The shard on the disk may be as its journal, ahead of it (commits that were not shipped), behind it (another
owner went on, or this one was killed between the two), or of another history. The journal decides: what is
behind is replayed, and what is of another history is replaced by a snapshot and the segments behind it, once
these are known to be whole. A shard that was served without its journal is left alone, and refused if the
journal went on meanwhile. If the journal is damaged, its newest owner goes on from the disk, which has all
of it, and mends it with a snapshot at its end. Whether that is so is told by the segments behind the disk's
position: one that cannot be read at the end may have what another owner acknowledged.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from populace.storage.journal.damage import check_whole, find_end, is_own, no_snapshot
from populace.storage.journal.errors import (
    JournalDamaged,
    JournalElsewhere,
    JournalLeft,
    JournalNeeded,
    JournalUnsettled,
    SegmentsGone,
)
from populace.storage.journal.replaying import apply_commits, has_models, put_snapshot, take_keys
from populace.storage.journal.segment import Position, Segment, number_in
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.shipping import (
    Adapters,
    Async,
    JournalRow,
    Shipping,
    State,
    Sync,
    erases,
    followed_row,
    put_row,
    stored_row,
    wrapped_keys,
)
from populace.storage.journal.snapshot import Row, read_snapshot, write_snapshot
from populace.storage.records import erasures, journal_keys, keys
from populace.storage.records.records import DataKeyRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.shards.rows import Change, Writer
from populace.storage.shards.shard import Shard

logger = logging.getLogger(__name__)

BEGINS_MAX = 3
"""How often a shard is attached anew because another owner began its journal at that moment."""

UPLOADS_AT_ONCE = 8
"""Adapters of a shard that are brought to a bucket at a time when its journal begins."""


class _OtherHistory(Exception):
    """The shard has commits that its journal has not, or it lacks some that are in a snapshot alone."""


class _Begun(Exception):
    """Another owner began the journal meanwhile."""


def attach(shard: Shard, journal: ShardJournal, adapters: Adapters, *, is_sync: bool) -> Shipping:
    """Make the shard what its journal says, claim the journal, and record all further commits in it.

    A shard that has no journal begins one as it is. Raises ``JournalElsewhere``, ``JournalTakenOver``,
    ``JournalDamaged``, ``JournalUnsettled``, ``BucketUnreachable`` and ``BucketRefused``, and what the shard
    raises; attaching again goes on then.
    """
    for _ in range(BEGINS_MAX):
        try:
            _attach(shard, journal, adapters)
            break
        except _Begun:
            logger.info("the journal of shard %d was begun by another owner just now", shard.number)
    else:
        raise JournalUnsettled(shard.number, 1, "others begin and remove it at the same time")
    with shard.read(verbatim=True) as txn:
        origin = followed_row(txn).origin
    journal.note_origin(origin)
    shipping = _shipping(shard, journal, adapters, is_sync=is_sync)
    shard.record(shipping)
    return shipping


def _attach(shard: Shard, journal: ShardJournal, adapters: Adapters) -> None:
    journal.refuse_later_run()
    with shard.read(verbatim=True) as txn:
        row = stored_row(txn)
        is_blank = row is None and not has_models(txn)
    snapshots = [number_in(found.name) for found in journal.listed("s")]
    if not snapshots:
        _attach_without_snapshot(shard, journal, adapters, row)
    elif row is None:
        if not is_blank:
            raise JournalElsewhere(shard.number, f"it never had one, and {journal.bucket.url} has one of it.")
        _rebuild(shard, journal, snapshots)
    elif row.state is State.REBUILDING:
        _rebuild(shard, journal, snapshots)
    elif not is_own(journal, row):
        raise _of_another(shard, journal)
    else:
        go_on = _return if row.state is State.LEFT else _go_on
        try:
            go_on(shard, journal, adapters, row, snapshots)
        except (_OtherHistory, JournalDamaged) as error:
            # A former owner that lived on may have written a snapshot that is older than what is kept.
            logger.warning("shard %d does not go on from where it is: %s", shard.number, error)
            if _mend(shard, journal, adapters, error):
                return
            if row.state is State.LEFT:
                if isinstance(error, _OtherHistory | SegmentsGone):
                    raise _went_on(shard) from error
                raise
            check_whole(journal, snapshots)
            _rebuild(shard, journal, snapshots)


def _attach_without_snapshot(
    shard: Shard, journal: ShardJournal, adapters: Adapters, row: JournalRow | None
) -> None:
    """Begin a journal, or mend one that has lost all of its snapshots."""
    is_empty = not journal.bucket.names(journal.folder)
    if row is None or (row.state is State.LEFT and (is_empty or not is_own(journal, row))):
        _begin(shard, journal, adapters, 0 if row is None else row.commit)
    elif is_empty:
        reason = (
            f"{journal.bucket.url} has none of it, and there was one. If its disk is mounted and that is "
            "lost, serve once without POPULACE_JOURNAL; the next start with it begins another one."
        )
        raise JournalElsewhere(shard.number, reason)
    elif not is_own(journal, row):
        raise _of_another(shard, journal)
    elif not _mend(shard, journal, adapters, no_snapshot(journal)):
        raise no_snapshot(journal)


def _of_another(shard: Shard, journal: ShardJournal) -> JournalElsewhere:
    reason = f"it has another one than that in {journal.bucket.url}; was POPULACE_JOURNAL changed?"
    return JournalElsewhere(shard.number, reason)


def _went_on(shard: Shard) -> JournalElsewhere:
    reason = (
        "it was served without it, and another owner went on with it meanwhile. Restore from the journal "
        "into an empty directory, or keep what is here with another POPULACE_JOURNAL."
    )
    return JournalElsewhere(shard.number, reason)


def _mend(shard: Shard, journal: ShardJournal, adapters: Adapters, damage: Exception) -> bool:
    """Go on with a journal that is damaged, if the shard has all that this ever had; return whether.

    It is the newest owner's then, nothing of it was replayed, and no segment behind its position has commits
    that it lacks, or may have. What is on the disk is not replaced by what the journal still has: a snapshot
    at the end of the journal has it, so that others can take the shard over again.
    """
    with shard.read(verbatim=True) as txn:
        row = followed_row(txn)
    if row.state not in (State.FOLLOWS, State.LEFT) or not journal.is_newest_owner(row.position.epoch):
        return False
    try:
        end = find_end(journal, row.position)
    except JournalDamaged as unread:
        if row.state is State.LEFT:
            raise
        logger.warning(
            "shard %d may lack what its journal had, and does not mend it: %s", shard.number, unread
        )
        return False
    if end.commit > row.commit:
        return False
    left = JournalRow(end, row.commit, row.origin, State.LEFT)
    shard.apply(lambda writer: put_row(writer, left))
    logger.error(
        "shard %d has on its disk all that its journal had, and mends it with a snapshot behind segment %d, "
        "after which what is damaged is needed no more: %s",
        shard.number,
        end.segment,
        damage,
    )
    _claim_left(shard, journal, left)
    _snapshot_as_it_is(shard, journal, adapters, row.origin)
    return True


class _Left:
    """Implements ``Recorder`` for a shard that is served without its journal, which would undo erasures."""

    def __init__(self, number: int) -> None:
        self._number = number

    def record(self, writer: Writer, changes: Sequence[Change]) -> None:
        if erases(changes):
            raise JournalLeft(self._number)


def leave(shard: Shard, *, had_journal: bool = False) -> None:
    """Note that the shard is served without its journal, if it has one. Raises ``JournalNeeded``.

    If the store ``had_journal``, nothing of the shard is erased or forgotten from now on.
    """
    with shard.read(verbatim=True) as txn:
        row = stored_row(txn)
    if had_journal:
        shard.record(_Left(shard.number))
    if row is None or row.state is State.LEFT:
        return
    if row.state is not State.FOLLOWS:
        raise JournalNeeded(shard.number)

    def left(writer: Writer) -> None:
        writer.delete_prefix(journal_keys.all_shipping())
        put_row(writer, row._replace(state=State.LEFT))

    shard.apply(left)
    logger.warning("shard %d is served without its journal from now on", shard.number)


def take_snapshot(journal: ShardJournal, shipping: Shipping) -> tuple[Position, int]:
    """Write a snapshot of a shard as it is now; return its position and the bytes of its rows."""
    with shipping.still() as (txn, position):
        size = write_snapshot(journal, position, journaled_rows(txn))
    # Before segments are removed, from which this shard would go on.
    shipping.note_shipped()
    return position, size


def journaled_rows(txn: ReadTransaction) -> Iterable[Row]:
    """Walk the rows that a journal has: all but those of the shard itself, and of data keys their ids."""
    served = txn.get(keys.SERVED_KEY)
    if served is not None:
        yield keys.SERVED_KEY, served
    for key, value in txn.scan(b""):
        if journal_keys.is_data_key(key):
            yield journal_keys.key_id_of(key), DataKeyRecord.unpack(value).key_id
        elif not journal_keys.is_of_shard(key):
            yield key, value


def _is_kept(journal: ShardJournal, row: JournalRow, snapshots: Sequence[int]) -> bool:
    """Whether the journal has all that is behind the shard's position still, and of the same history."""
    return row.position.segment >= snapshots[0] and journal.has(row.position)


def _go_on(
    shard: Shard, journal: ShardJournal, adapters: Adapters, row: JournalRow, snapshots: Sequence[int]
) -> None:
    if not _is_kept(journal, row, snapshots):
        raise _OtherHistory("its journal has nothing that follows it")
    _catch_up(shard, journal, row)


def _begin(shard: Shard, journal: ShardJournal, adapters: Adapters, commit: int) -> None:
    """Begin a journal with the shard as it is. What was claimed without a snapshot is an earlier attempt.

    Raises ``JournalDamaged`` if more than that is there: it was begun long ago, and its snapshots are lost.
    """
    journal.seek(Position())
    while True:
        try:
            is_begun = any(segment.commits for segment in journal.follow())
        except SegmentsGone:
            is_begun = True
        if is_begun:
            raise _Begun if journal.listed("s") else no_snapshot(journal)
        if journal.claim(commit=commit):
            break
    if journal.listed("s"):
        raise _Begun
    _snapshot_as_it_is(shard, journal, adapters, journal.origin())


def _return(
    shard: Shard, journal: ShardJournal, adapters: Adapters, row: JournalRow, snapshots: Sequence[int]
) -> None:
    """Go on with a journal that was left, unless another owner did; a snapshot has what it lacks."""
    if not _is_kept(journal, row, snapshots):
        raise _OtherHistory("its journal has nothing that follows it")
    _claim_left(shard, journal, row)
    _snapshot_as_it_is(shard, journal, adapters, row.origin)


def _claim_left(shard: Shard, journal: ShardJournal, row: JournalRow) -> None:
    journal.seek(row.position)
    while True:
        # What was shipped before it was left, and not noted, is here; so is what was only claimed.
        if any(one.number > row.commit for segment in journal.follow() for one in segment.commits):
            raise _went_on(shard)
        # One more than any owner can have: it has to take the snapshot.
        if journal.claim(commit=row.commit + 1):
            return


def _snapshot_as_it_is(shard: Shard, journal: ShardJournal, adapters: Adapters, origin: bytes) -> None:
    """Write keys and a snapshot of a shard whose journal was just claimed, and note that it follows."""
    with shard.read() as txn:
        digests = set(erasures.digests_in_use(txn))
    with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="populace-upload") as uploaders:
        for _ in uploaders.map(adapters.keep, digests):
            pass
    with shard.read(verbatim=True) as txn:
        journal.write_keys(wrapped_keys(txn))
        write_snapshot(journal, journal.end, journaled_rows(txn))
    _follow(shard, JournalRow(journal.end, journal.end.commit, origin))


def _catch_up(shard: Shard, journal: ShardJournal, row: JournalRow) -> None:
    """Replay what the shard has not, claim the journal, and make the data keys of both the same."""
    journal.seek(row.position)
    while True:
        for segment in journal.follow():
            row = _replay(shard, journal, segment, row)
        if journal.claim():
            break
    following = JournalRow(journal.end, row.commit, row.origin)
    # Before the keys: a directory whose shards have lower epochs than these was overtaken (``former.py``).
    shard.apply(lambda writer: put_row(writer, following._replace(state=row.state)))
    if row.state is not State.FOLLOWS:
        # Of what was replayed only the journal has them. Else the shard may have newer ones.
        take_keys(shard, journal.read_keys(), now_ms=journal.now_ms())
    with shard.read(verbatim=True) as txn:
        journal.write_keys(wrapped_keys(txn))
    _follow(shard, following)


def _replay(shard: Shard, journal: ShardJournal, segment: Segment, row: JournalRow) -> JournalRow:
    """Apply what the shard has not of a segment, and return how it stands then."""
    missing = [one for one in segment.commits if one.number > row.commit]
    if len(missing) < len(segment.commits) and segment.epoch != row.position.epoch:
        raise _OtherHistory("it has commits that another owner has in their place")
    if segment.before > row.commit and (missing or segment.is_claim):
        raise _OtherHistory("it lacks commits that only a snapshot has")
    if not missing:
        # The position stays: that of the segments tells whose the newer commits are.
        return row
    if missing[0].number != row.commit + 1:
        raise JournalDamaged(journal.name_of("j", segment.number), "commits before it are absent")
    state = State.BEHIND if row.state is State.FOLLOWS else row.state
    behind = row._replace(position=journal.end, commit=missing[-1].number, state=state)
    apply_commits(shard, missing, behind)
    return behind


def _rebuild(shard: Shard, journal: ShardJournal, snapshots: Sequence[int]) -> None:
    """Replace the shard's rows by those of the newest snapshot that is whole, and the segments behind it."""
    logger.warning("shard %d is built anew from its journal", shard.number)
    origin = journal.origin()
    building = JournalRow(Position(), 0, origin, State.REBUILDING)

    def begin(writer: Writer) -> None:
        put_row(writer, building)
        if has_models(writer):
            # What was erased or forgotten since stays in free pages until a compaction.
            erasures.note_erasure(writer, (), now_ms=journal.now_ms())

    shard.apply(begin)
    for number in reversed(snapshots):
        try:
            snapshot = read_snapshot(journal, number)
            put_snapshot(shard, snapshot)
        except JournalDamaged as error:
            if number == snapshots[0]:
                raise
            logger.warning("%s; an older snapshot is taken", error)
            continue
        position = snapshot.position
        try:
            _catch_up(shard, journal, building._replace(position=position, commit=position.commit))
        except _OtherHistory as error:
            raise JournalDamaged(journal.name_of("s", number), str(error)) from error
        return


def _follow(shard: Shard, row: JournalRow) -> None:
    """Note how a shard stands whose journal was claimed. Commits behind its position wait to be shipped."""

    def follow(writer: Writer) -> None:
        for key, _ in list(writer.scan(journal_keys.all_shipping())):
            if journal_keys.shipping_number(key) <= row.position.commit:
                writer.delete(key)
        put_row(writer, row)

    shard.apply(follow)


def _shipping(shard: Shard, journal: ShardJournal, adapters: Adapters, *, is_sync: bool) -> Shipping:
    waiting = Async(shard, journal, adapters)
    if not is_sync:
        return waiting
    # What was committed in the other mode.
    waiting.ship()
    return Sync(shard, journal, adapters)
