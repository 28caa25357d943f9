"""Makes the directory of a store on another machine than the one that it was on, from its journal.

The directory gets its header and empty shards. What was committed comes when these are opened and attached to
their journals, which fences the machine that had them (``attaching.py``); adapters come when they are needed.
"""

from pathlib import Path

from populace.storage.header import HEADER_FILE, read_header
from populace.storage.journal.bucket import Bucket
from populace.storage.journal.damage import is_own, journal_of
from populace.storage.journal.description import Description, description_of, stores_in
from populace.storage.journal.errors import JournalDamaged, JournalElsewhere, JournalOfOthers
from populace.storage.journal.former import note_journal
from populace.storage.journal.replaying import has_models
from populace.storage.journal.shipping import State, stored_row
from populace.storage.records.errors import StoreInvalid
from populace.storage.store import Store


def join_store(
    bucket: Bucket,
    path: Path,
    *,
    store_id: str,
    shards: int | None = None,
    master_key: Path | None = None,
) -> Store:
    """Open the directory of a store that has its journal in the bucket, or begin one.

    ``master_key`` is the file of its key, in the directory itself if None; it has to be there. ``shards``
    refuses a store of another number, before anything is made. Raises ``StoreNotNamed`` if the bucket has
    not this store, ``JournalDamaged``, ``BucketRefused``, ``BucketUnreachable``, and what ``Store.join``
    does.
    """
    description = description_of(bucket, store_id)
    if shards not in (None, description.shards):
        reason = (
            f"the store {store_id} has {description.shards} shards in its journal, and {shards} are asked for"
        )
        raise StoreInvalid(str(path), reason)
    _refuse_other(description, path, master_key)
    # Before there is a header: what is empty here is never to be taken for the store.
    note_journal(path, bucket, joins=not _is_made(path))
    return Store.join(
        path,
        store_id=store_id,
        shards=description.shards,
        key_id=description.master_key,
        master_key=master_key,
    )


def check_join(bucket: Bucket, path: Path, *, store_id: str, master_key: Path | None = None) -> None:
    """Raise what would keep a directory from going on with a store of the bucket; make and change nothing.

    Raises as ``join_store`` and ``check_follows`` do.
    """
    description = description_of(bucket, store_id)
    _refuse_other(description, path, master_key)
    # One that was not made to its end is, when it joins.
    if _is_made(path):
        check_follows(bucket, Store.open(path, master_key=master_key))


def check_follows(bucket: Bucket, store: Store) -> None:
    """Raise ``JournalElsewhere`` if a shard of a directory has what its journal will never have.

    Raises ``JournalDamaged`` if that cannot be known.

    For a machine that is to go on with the store later: a shard that is only behind catches up then, and one
    that was served without its journal since, or with another one, would be refused. Owns no shard.
    """
    for number in range(store.shards):
        with store.read_shard(number) as txn:
            row, is_blank = stored_row(txn), not has_models(txn)
        if row is None and is_blank:
            continue
        if row is None or row.state is State.LEFT:
            reason = (
                "this directory was served without it, and may have what that lacks. Name an empty "
                "directory, or move this one away."
            )
            raise JournalElsewhere(number, reason)
        journal = journal_of(bucket, store, number)
        if not bucket.names(journal.folder):
            reason = (
                f"{bucket.url} has nothing of it: this directory follows another one, or it was lost. Name "
                "an empty directory."
            )
            raise JournalElsewhere(number, reason)
        try:
            follows = is_own(journal, row)
        except JournalDamaged as error:
            reason = (
                f"{error.reason}, so that it is not known whether this directory follows the journal. Try "
                "again in ten minutes, in which the host that has the shard mends it, or name an empty one"
            )
            raise JournalDamaged(error.name, reason) from error
        if not follows:
            reason = f"this directory follows another one than that in {bucket.url}. Name an empty directory."
            raise JournalElsewhere(number, reason)


def _refuse_other(description: Description, path: Path, master_key: Path | None) -> None:
    """Raise as ``Store.check_join`` does for the store of the description."""
    Store.check_join(
        path,
        store_id=description.store_id,
        shards=description.shards,
        key_id=description.master_key,
        master_key=master_key,
    )


def _is_made(path: Path) -> bool:
    return (path / HEADER_FILE).exists() and read_header(path).is_made


def had_last(bucket: Bucket, store: Store, number: int) -> bool:
    """Return whether the directory is that of the newest owner of a shard, whose disk has all of it."""
    with store.read_shard(number) as txn:
        row = stored_row(txn)
    return (
        row is not None
        and row.state is State.FOLLOWS
        and journal_of(bucket, store, number).is_newest_owner(row.position.epoch)
    )


def refuse_others(bucket: Bucket, path: Path) -> None:
    """Raise ``JournalOfOthers`` if a new store would begin its journal beside those of others.

    That is a second Populace on one bucket, or the same one on a machine that has nothing of it yet.
    """
    found = stores_in(bucket)
    if found:
        raise JournalOfOthers(bucket.url, str(path), ", ".join(found))
