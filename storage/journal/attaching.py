"""Brings a shard and its journal together when a shard is opened, and claims the journal for its owner.

The shard on the disk may be as its journal, ahead of it (commits that were not shipped), behind it (another
owner went on, or this one was killed between the two), or of another history. The journal decides: what is
behind is replayed, and what is of another history is replaced by a snapshot and the segments behind it. Only
a shard that was served without its journal is left alone, and refused if the journal went on meanwhile.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from populace.storage.journal.errors import (
    JournalDamaged,
    JournalElsewhere,
    JournalNeeded,
    SegmentsGone,
)
from populace.storage.journal.segment import Commit, Position, Segment, number_in
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.shipping import (
    Adapters,
    Async,
    JournalRow,
    Shipping,
    State,
    Sync,
    put_row,
    stored_row,
    wrapped_keys,
)
from populace.storage.journal.snapshot import Row, Snapshot, read_snapshot, write_snapshot
from populace.storage.records import erasures, journal_keys, keys
from populace.storage.records.records import DataKeyRecord, IdentityRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.shards.rows import Writer
from populace.storage.shards.shard import Shard

logger = logging.getLogger(__name__)

BYTES_A_COMMIT = 16 * 2**20
"""Rows of a snapshot that one transaction writes: LMDB keeps its changes in memory."""


class _OtherHistory(Exception):
    """The shard has commits that its journal has not, or it lacks some that are in a snapshot alone."""


class _Begun(Exception):
    """Another owner began the journal meanwhile."""


def attach(shard: Shard, journal: ShardJournal, adapters: Adapters, *, is_sync: bool) -> Shipping:
    """Make the shard what its journal says, claim the journal, and record all further commits in it.

    A shard that has no journal begins one as it is. Raises ``JournalElsewhere``, ``JournalDamaged``,
    ``JournalUnsettled``, ``BucketUnreachable`` and ``BucketRefused``, and what the shard raises; attaching
    again goes on then.
    """
    while True:
        try:
            _attach(shard, journal, adapters)
            break
        except _Begun:
            logger.info("the journal of shard %d was begun by another owner just now", shard.number)
    shipping = _shipping(shard, journal, adapters, is_sync=is_sync)
    shard.record(shipping)
    return shipping


def _attach(shard: Shard, journal: ShardJournal, adapters: Adapters) -> None:
    with shard.read(verbatim=True) as txn:
        row = stored_row(txn)
        is_blank = row is None and not _has_models(txn)
    snapshots = [number_in(found.name) for found in journal.listed("s")]
    if not snapshots:
        if row is not None and row.state is not State.LEFT:
            reason = (
                f"{journal.bucket.url} has none of it, and there was one. If that is lost, serve once "
                "without a journal, and then begin another one."
            )
            raise JournalElsewhere(shard.number, reason)
        _begin(shard, journal, adapters, 0 if row is None else row.commit)
    elif row is None:
        if not is_blank:
            raise JournalElsewhere(shard.number, f"it never had one, and {journal.bucket.url} has one of it.")
        _rebuild(shard, journal, snapshots)
    elif row.origin != journal.origin() and row.state is not State.REBUILDING:
        reason = f"it has another one than that in {journal.bucket.url}; was POPULACE_JOURNAL changed?"
        raise JournalElsewhere(shard.number, reason)
    elif row.state is State.LEFT:
        _return(shard, journal, adapters, row, snapshots)
    elif row.state is State.REBUILDING or not _is_kept(journal, row, snapshots):
        _rebuild(shard, journal, snapshots)
    else:
        try:
            _catch_up(shard, journal, row)
        except (_OtherHistory, SegmentsGone) as error:
            # A former owner that lived on may have written a snapshot that is older than what is kept.
            logger.warning("shard %d does not go on from where it is: %s", shard.number, error)
            _rebuild(shard, journal, snapshots)


def leave(shard: Shard) -> None:
    """Note that the shard is served without its journal, if it has one. Raises ``JournalNeeded``."""
    with shard.read(verbatim=True) as txn:
        row = stored_row(txn)
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


def revisions_of(txn: ReadTransaction) -> set[str]:
    """Return the digests of all adapters that models of the shard have."""
    return {key[-32:].hex() for key, _ in txn.scan(keys.all_revisions())}


def _is_kept(journal: ShardJournal, row: JournalRow, snapshots: Sequence[int]) -> bool:
    """Whether the journal has all that is behind the shard's position still, and of the same history."""
    return row.position.segment >= snapshots[0] and journal.has(row.position)


def _begin(shard: Shard, journal: ShardJournal, adapters: Adapters, commit: int) -> None:
    """Begin a journal with the shard as it is. What was claimed without a snapshot is an earlier attempt."""
    journal.seek(Position())
    while True:
        if any(segment.commits for segment in journal.follow()):
            raise _Begun
        if journal.claim(commit=commit):
            break
    if journal.listed("s"):
        raise _Begun
    _snapshot_as_it_is(shard, journal, adapters)


def _return(
    shard: Shard, journal: ShardJournal, adapters: Adapters, row: JournalRow, snapshots: Sequence[int]
) -> None:
    """Go on with a journal that was left, unless another owner did; a snapshot has what it lacks."""
    reason = (
        "it was served without it, and another owner went on with it meanwhile. Restore from the journal "
        "into an empty directory, or keep what is here with another POPULACE_JOURNAL."
    )
    if not _is_kept(journal, row, snapshots):
        raise JournalElsewhere(shard.number, reason)
    journal.seek(row.position)
    try:
        while True:
            # What was shipped before it was left, and not noted, is here; so is what was only claimed.
            if any(one.number > row.commit for segment in journal.follow() for one in segment.commits):
                raise JournalElsewhere(shard.number, reason)
            # One more than any owner can have: it has to take the snapshot.
            if journal.claim(commit=row.commit + 1):
                break
    except SegmentsGone:
        raise JournalElsewhere(shard.number, reason) from None
    _snapshot_as_it_is(shard, journal, adapters)


def _snapshot_as_it_is(shard: Shard, journal: ShardJournal, adapters: Adapters) -> None:
    """Write keys and a snapshot of a shard whose journal was just claimed, and note that it follows."""
    with shard.read(verbatim=True) as txn:
        for digest in revisions_of(txn):
            adapters.keep(digest)
        journal.write_keys(wrapped_keys(txn))
        write_snapshot(journal, journal.end, journaled_rows(txn))
    _follow(shard, JournalRow(journal.end, journal.end.commit, journal.origin()))


def _catch_up(shard: Shard, journal: ShardJournal, row: JournalRow) -> None:
    """Replay what the shard has not, claim the journal, and make the data keys of both the same."""
    journal.seek(row.position)
    while True:
        for segment in journal.follow():
            row = _replay(shard, journal, segment, row)
        if journal.claim():
            break
    if row.state is not State.FOLLOWS:
        # Of what was replayed only the journal has them. Else the shard may have newer ones.
        take_keys(shard, journal.read_keys(), now_ms=journal.now_ms())
    with shard.read(verbatim=True) as txn:
        journal.write_keys(wrapped_keys(txn))
    _follow(shard, JournalRow(journal.end, row.commit, journal.origin()))


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


def apply_commits(shard: Shard, commits: Sequence[Commit], then: JournalRow | None = None) -> None:
    """Make the changes of commits of a journal in one transaction, and note how the shard stands ``then``."""

    def replay(writer: Writer) -> None:
        for one in commits:
            writer.apply(one.changes)
        if then is not None:
            put_row(writer, then)

    shard.apply(replay)


def _rebuild(shard: Shard, journal: ShardJournal, snapshots: Sequence[int]) -> None:
    """Replace the shard's rows by those of the newest snapshot that is whole, and the segments behind it."""
    logger.warning("shard %d is built anew from its journal", shard.number)
    origin = journal.origin()
    building = JournalRow(Position(), 0, origin, State.REBUILDING)
    shard.apply(lambda writer: put_row(writer, building))
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


def put_snapshot(shard: Shard, snapshot: Snapshot) -> None:
    """Replace the shard's rows by those of a snapshot. Raises ``JournalDamaged`` if that is not whole."""
    shard.apply(_clear)
    waiting: list[Row] = []
    size = 0

    def put(writer: Writer) -> None:
        for key, value in waiting:
            writer.put(key, value)

    for row in snapshot.rows:
        waiting.append(row)
        size += len(row[0]) + len(row[1])
        if size >= BYTES_A_COMMIT:
            shard.apply(put)
            waiting.clear()
            size = 0
    shard.apply(put)


def _clear(writer: Writer) -> None:
    """Remove all rows but those of the shard itself."""
    for prefix in {key[:1] for key, _ in _firsts(writer)}:
        writer.delete_prefix(prefix)
    writer.delete_prefix(journal_keys.all_shipping())
    writer.delete_prefix(journal_keys.all_key_ids())


def _firsts(txn: ReadTransaction) -> Iterable[Row]:
    """Walk the first row of each kind."""
    for kind in range(256):
        prefix = bytes((kind,))
        if not journal_keys.is_of_shard(prefix):
            yield from txn.scan(prefix, limit=1)


def take_keys(shard: Shard, wrapped: Mapping[bytes, bytes], *, now_ms: int) -> None:
    """Make the journal's data keys those of the shard, and remove the models that have none: the erased.

    A name that was erased and is used again has another key than its rows of before were sealed with; these
    are removed, too.
    """
    ids = {key: DataKeyRecord.unpack(value).key_id for key, value in wrapped.items()}

    def take(writer: Writer) -> None:
        marked = {
            journal_keys.data_key_of(key): value for key, value in writer.scan(journal_keys.all_key_ids())
        }
        had = {key for key, _ in writer.scan(keys.all_data_keys())}
        writer.delete_prefix(journal_keys.all_key_ids())
        writer.delete_prefix(keys.all_data_keys())
        kept: set[bytes] = set()
        erased = 0
        for _, data in list(writer.scan(keys.all_identities())):
            identity = IdentityRecord.unpack(data)
            key = keys.data_key(identity.tenant, identity.name)
            if key in ids and marked.get(key, ids[key]) == ids[key]:
                kept.add(key)
                continue
            erased += 1
            for prefix in keys.model_prefixes(identity.tenant, identity.name):
                writer.delete_prefix(prefix)
        for key in kept:
            writer.put(key, wrapped[key])
        if erased or had - kept:
            # Their bytes are in free pages until a compaction.
            erasures.note_erasure(writer, (), now_ms=now_ms)

    shard.apply(take)


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


def _has_models(txn: ReadTransaction) -> bool:
    return any(True for _ in _firsts(txn))
