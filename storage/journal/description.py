"""The description of a journaled store in its bucket: ``<store id>/store.json``, in plain JSON."""

from pydantic import BaseModel, ValidationError

from populace.storage.journal.bucket import Bucket, check_bucket
from populace.storage.journal.errors import (
    BucketRefused,
    JournalDamaged,
    JournalElsewhere,
    StoreNotNamed,
)
from populace.storage.journal.former import awaited_shard, note_journal
from populace.storage.records import keys
from populace.storage.records.errors import StoreVersionMismatch
from populace.storage.store import Store

FORMAT = "populace-journal"
VERSION = 1
FIRST_SCHEMA = 5
"""That of the first release with a journal, whose descriptions do not say it."""

_FILE = "store.json"


class Description(BaseModel):
    """What a restore has to know before it reads anything else. ``master_key`` names the key.

    ``schema_version`` is that of the newest release that wrote rows to the journal.
    """

    format: str = FORMAT
    version: int = VERSION
    schema_version: int = FIRST_SCHEMA
    store_id: str
    shards: int
    master_key: str
    left: bool = False
    """The store went on with another journal, and nothing can be restored from this one."""


def describe(bucket: Bucket, store: Store) -> None:
    """See to it that a bucket can hold the journal of a store, and that both say so.

    Raises ``BucketRefused``, also if it holds one of the store with another number of shards,
    ``BucketUnreachable``, ``StoreVersionMismatch``, ``StoreInvalid``, ``DiskRefused``, and
    ``JournalElsewhere`` for a bucket without the store that the directory is still to come from.
    """
    awaited = awaited_shard(store.path)
    if awaited is not None and not is_described(bucket, store.store_id):
        reason = (
            f"it was to come from one, and {bucket.url} has nothing of its store. See that its disk is "
            "mounted, and that POPULACE_JOURNAL is what it was."
        )
        raise JournalElsewhere(awaited, reason)
    _describe(bucket, store)
    note_journal(store.path, bucket)


def _describe(bucket: Bucket, store: Store) -> None:
    check_bucket(bucket, store.store_id)
    own = _description(store)
    name, content = _name(store.store_id), own.model_dump_json().encode()
    if bucket.create(name, content):
        return
    found = read_description(bucket, store.store_id)
    if found != own.model_copy(update={"schema_version": found.schema_version}):
        reason = f"it has the journal of this store with {found.shards} shards; name another folder in it."
        raise BucketRefused(bucket.url, reason)
    if found.schema_version < own.schema_version:
        # From now on it gets rows that an older release does not know.
        bucket.replace(name, content)


def is_described(bucket: Bucket, store_id: str) -> bool:
    """Return whether a bucket says that it has the journal of a store."""
    return bucket.has(_name(store_id))


def describe_left(bucket: Bucket, store_id: str) -> None:
    """Say of a journal that its store went on with another one. Raises as ``read_description``."""
    left = read_description(bucket, store_id, even_left=True).model_copy(update={"left": True})
    bucket.replace(_name(store_id), left.model_dump_json().encode())


def describe_again(bucket: Bucket, store: Store) -> bool:
    """Write the description of a store that was lost, for who takes it over; return whether it was.

    Call only for a bucket that has the store's journal. Raises ``BucketUnreachable`` and ``BucketRefused``.
    """
    name = _name(store.store_id)
    return not bucket.has(name) and bucket.create(name, _description(store).model_dump_json().encode())


def stores_in(bucket: Bucket) -> list[str]:
    """Return the ids of the stores whose journals a bucket has."""
    return [folder for folder in bucket.folders() if bucket.has(_name(folder))]


def description_of(bucket: Bucket, store_id: str | None) -> Description:
    """Read the description of a store; ``store_id`` None is the only one that the bucket has.

    Raises ``StoreNotNamed`` if there is none, or not this one, and ``JournalDamaged``.
    """
    found = stores_in(bucket)
    if store_id is None and len(found) == 1:
        [store_id] = found
    if store_id is not None and store_id not in found and store_id in bucket.folders():
        reason = (
            "it is absent, while there is more of the store. The machine that has it writes it anew within "
            "ten minutes, or when `populace serve` starts there"
        )
        raise JournalDamaged(_name(store_id), reason)
    if store_id is None or store_id not in found:
        raise StoreNotNamed(bucket.url, ", ".join(found) or "none")
    return read_description(bucket, store_id)


def read_description(bucket: Bucket, store_id: str, *, even_left: bool = False) -> Description:
    """Raises ``JournalDamaged``, also for a newer format, and ``StoreVersionMismatch`` for newer rows.

    That of a journal that was left is damaged, too, unless it is looked at ``even_left``.
    """
    name = _name(store_id)
    content = bucket.read(name)
    if content is None:
        raise JournalDamaged(name, "it is absent")
    try:
        found = Description.model_validate_json(content)
    except ValidationError as error:
        raise JournalDamaged(name, "it is not what was written") from error
    if (found.format, found.version) != (FORMAT, VERSION):
        raise JournalDamaged(name, f"it has format {found.format} {found.version}, of a newer release")
    if found.left and not even_left:
        raise JournalDamaged(name, "its store went on with another journal, and this one was emptied")
    if found.schema_version > keys.SCHEMA:
        raise StoreVersionMismatch(f"{bucket.url}/{store_id}", found.schema_version, keys.SCHEMA)
    return found


def _description(store: Store) -> Description:
    return Description(
        schema_version=keys.SCHEMA,
        store_id=store.store_id,
        shards=store.shards,
        master_key=store.sealing.master_key.key_id,
    )


def _name(store_id: str) -> str:
    return f"{store_id}/{_FILE}"
