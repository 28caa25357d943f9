"""The data directory of a machine that joins as a store node: refused by name, or laid out and held.

Hosts start in it later, when the store node that has them is lost, and no terminal says then what they
lack. So what they need is tried here, with this machine's own variables, before Ray starts.
"""

from collections.abc import Generator
from contextlib import contextmanager

from populace.cluster.joining.cluster_note import ClusterNote, refusal
from populace.settings.settings import Settings
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.bucket import Bucket
from populace.storage.journal.errors import StoreNotNamed
from populace.storage.journal.joining import check_follows, check_join, join_store
from populace.storage.journal.opening import open_bucket


@contextmanager
def store_directory(address: str, note: ClusterNote, settings: Settings) -> Generator[None]:
    """Hold the data directory of this machine for hosts of the cluster's store during the block.

    Raises ``StartFailed`` for a cluster without a journal, or one that this machine does not see,
    ``BucketRefused``, ``BucketUnreachable``, ``MasterKeyRefused``, ``StoreInUse``, ``StoreInvalid`` for the
    directory of another store or program, and ``JournalElsewhere`` for one that left its journal.
    """
    owner = f"populace node join {address} --store"
    with _seen(address, note) as bucket:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Alone: hosts of another store may not have it. Then together with those that start here.
        with DirectoryLock(settings.data, owner):
            store = join_store(bucket, settings.data, store_id=note.store, master_key=settings.master_key)
            check_follows(bucket, store)
    with DirectoryLock(settings.data, owner, is_shared=True):
        yield


def check_directory(address: str, note: ClusterNote, settings: Settings) -> None:
    """Raise what would keep hosts of the cluster's store from this machine's data directory; change nothing.

    Raises as ``store_directory`` does, but not for who has the directory.
    """
    with _seen(address, note) as bucket:
        check_join(bucket, settings.data, store_id=note.store, master_key=settings.master_key)


@contextmanager
def _seen(address: str, note: ClusterNote) -> Generator[Bucket]:
    """Open the cluster's journal as this machine sees it."""
    if not note.journal:
        raise refusal(
            address,
            "it keeps no journal, which is what another store node takes the store from. Start `populace "
            "serve` there with POPULACE_JOURNAL, a bucket that both machines reach",
        )
    bucket = open_bucket(note.journal)
    try:
        yield bucket
    except StoreNotNamed:
        raise refusal(
            address,
            f"its journal is {bucket.url}, and what this machine sees there is not that of its store "
            f"{note.store}. A directory has to be the same one, mounted at the same path",
        ) from None
