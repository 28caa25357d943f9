"""Makes a store of its journal, as it is now or was at an earlier time."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from populace.storage.backups.unfinished import building
from populace.storage.journal.adapters import JournalAdapters
from populace.storage.journal.bucket import Bucket
from populace.storage.journal.description import description_of
from populace.storage.journal.errors import JournalDamaged, NothingThen
from populace.storage.journal.former import note_journal
from populace.storage.journal.replaying import apply_commits, put_snapshot, take_keys
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.segment import Position, number_in
from populace.storage.journal.shard_journal import ShardJournal, shard_folder
from populace.storage.journal.shipping import JournalRow, put_row
from populace.storage.journal.snapshot import read_snapshot
from populace.storage.records import keys
from populace.storage.records.erasures import digests_in_use
from populace.storage.records.errors import MasterKeyRefused
from populace.storage.records.master_key import MASTER_KEY_FILE, MasterKey
from populace.storage.shards.shard import Shard
from populace.storage.store import Store

Report = Callable[[str, float], None]
"""Called with what is being done now, and the share of that which is done, from 0 to 1."""

SHARDS_AT_ONCE = 8
OWNER = "populace restore"


class RestoredShard(NamedTuple):
    """Up to where a shard was restored: a commit, and when what has it was written (Unix ms).

    A journal that was cut off at its end restores without a sign of it: this is what to compare.
    """

    number: int
    commit: int
    written_ms: int


class RestoredStore(NamedTuple):
    """The counts of the new store, and how many adapters its journal does not have.

    ``damaged`` are adapters whose objects in the journal are not what was written; they are left out.
    """

    store_id: str
    models: int
    adapters: int
    api_keys: int
    lacking: int
    damaged: tuple[str, ...] = ()
    shards: tuple[RestoredShard, ...] = ()


def restore_store(
    bucket: Bucket,
    target: Path,
    master_key: Path,
    *,
    report: Report,
    store_id: str | None = None,
    at_ms: int | None = None,
) -> RestoredStore:
    """Make a store in ``target``, absent or empty, as its journal has it now, or had it at ``at_ms``.

    Models that were erased since are left out. A store as of now goes on with its journal when it is served;
    one as of an earlier time is another store, with a journal of its own. ``store_id`` may be left out if
    the bucket has one store. The master key, of the file ``master_key``, is copied into ``target``. Raises
    ``StoreNotNamed``, ``MasterKeyRefused``, ``NothingThen``, ``JournalDamaged``, ``BucketRefused``,
    ``BucketUnreachable``, ``DirectoryRefused`` and ``DiskRefused``; nothing is made then.
    """
    description = description_of(bucket, store_id)
    store_id = description.store_id
    key = MasterKey.load(master_key)
    if key.key_id != description.master_key:
        raise MasterKeyRefused(str(master_key), "it is that of another store than the journal")
    seal = JournalSeal(key, store_id)
    with building(target) as place:
        made_id = store_id if at_ms is None else secrets.token_hex(16)
        store = Store.lay_out(place, description.shards, made_id, key)
        adapters = JournalAdapters(bucket, seal, store_id, store.revisions)

        def restore(number: int) -> _Counted:
            folder = shard_folder(description.store_id, number)
            journal = ShardJournal(bucket, seal, folder, number, owner=OWNER, now_ms=lambda: 0)
            path = store.shard_path(number)
            Shard.create(path, number, description.shards)
            with closing(store.open_shard(number, OWNER)) as shard:
                position, written_ms = restore_shard(shard, journal, at_ms=at_ms)
                if at_ms is None:
                    row = JournalRow(position, position.commit, journal.origin())
                    shard.apply(lambda writer: put_row(writer, row))
                shard.check_integrity()
                with shard.read() as txn:
                    digests = set(digests_in_use(txn))
                    models = sum(1 for _ in txn.scan(keys.all_identities()))
                    api_keys = sum(1 for _ in txn.scan(keys.api_keys()))
            fetched, damaged = 0, list[str]()
            for digest in digests:
                try:
                    fetched += adapters.fetch(digest)
                except JournalDamaged:
                    damaged.append(digest)
            reached = RestoredShard(number, position.commit, written_ms)
            return _Counted(
                models, fetched, api_keys, len(digests) - fetched - len(damaged), damaged, reached
            )

        counted: list[_Counted] = []
        with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="populace-restore") as threads:
            for number, of_shard in enumerate(threads.map(restore, range(description.shards))):
                counted.append(of_shard)
                report("Restoring the shards", (number + 1) / description.shards)
        key.save(place / MASTER_KEY_FILE)
        if at_ms is None:
            note_journal(place, bucket)
    return RestoredStore(
        made_id,
        sum(one.models for one in counted),
        sum(one.adapters for one in counted),
        sum(one.api_keys for one in counted),
        sum(one.lacking for one in counted),
        tuple(sorted({digest for one in counted for digest in one.damaged})),
        tuple(one.reached for one in counted),
    )


class _Counted(NamedTuple):
    """What one shard was restored with."""

    models: int
    adapters: int
    api_keys: int
    lacking: int
    damaged: list[str]
    reached: RestoredShard


def restore_shard(shard: Shard, journal: ShardJournal, *, at_ms: int | None) -> tuple[Position, int]:
    """Fill an empty shard with what its journal had at ``at_ms``, or has now if None.

    Returns that position, and when the newest that has it was written (Unix ms).

    The journal is not claimed. Models that were erased since are left out: their keys are not there any more.
    Raises ``NothingThen`` if the journal does not go back that far, and ``JournalDamaged``.
    """
    snapshots = [number_in(found.name) for found in journal.listed("s")]
    for number in reversed(snapshots):
        snapshot = read_snapshot(journal, number)
        if at_ms is None or snapshot.written_ms <= at_ms:
            break
    else:
        raise NothingThen(journal.shard)
    put_snapshot(shard, snapshot)
    journal.seek(snapshot.position)
    position, written_ms = snapshot.position, snapshot.written_ms
    for segment in journal.follow():
        if at_ms is not None and segment.written_ms > at_ms:
            break
        if segment.before > position.commit:
            # It returned from being served without its journal: the snapshot behind it has what is between.
            if at_ms is not None:
                break
            raise JournalDamaged(journal.name_of("j", segment.number), "a snapshot behind it is absent")
        apply_commits(shard, segment.commits)
        position, written_ms = journal.end, segment.written_ms
    take_keys(shard, journal.read_keys(), now_ms=0)
    return position, written_ms
