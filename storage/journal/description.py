"""What a bucket says of a store whose journal it has: ``<store id>/store.json``, in plain JSON."""

from pydantic import BaseModel, ValidationError

from populace.storage.journal.bucket import Bucket, check_bucket
from populace.storage.journal.errors import BucketRefused, JournalDamaged
from populace.storage.store import Store

FORMAT = "populace-journal"
VERSION = 1

_FILE = "store.json"


class Description(BaseModel):
    """What a restore has to know before it reads anything else. ``master_key`` names the key."""

    format: str = FORMAT
    version: int = VERSION
    store_id: str
    shards: int
    master_key: str


def describe(bucket: Bucket, store: Store) -> None:
    """See to it that a bucket can hold the journal of a store, and says that it does.

    Raises ``BucketRefused``, also if it holds one of the store with another number of shards, and
    ``BucketUnreachable``.
    """
    check_bucket(bucket, store.store_id)
    own = Description(
        store_id=store.store_id, shards=store.shards, master_key=store.sealing.master_key.key_id
    )
    if bucket.create(_name(store.store_id), own.model_dump_json().encode()):
        return
    found = read_description(bucket, store.store_id)
    if found != own:
        reason = f"it has the journal of this store with {found.shards} shards; name another folder in it."
        raise BucketRefused(bucket.url, reason)


def stores_in(bucket: Bucket) -> list[str]:
    """Return the ids of the stores whose journals a bucket has."""
    return [folder for folder in bucket.folders() if bucket.has(_name(folder))]


def read_description(bucket: Bucket, store_id: str) -> Description:
    """Raises ``JournalDamaged``, also for a newer release's."""
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
    return found


def _name(store_id: str) -> str:
    return f"{store_id}/{_FILE}"
