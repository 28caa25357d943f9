"""The adapters of a store with a journal, as a process sees them that is not a host.

A gateway or a trainer may be on another machine than the host that has a model, and its disk may lack what
was made elsewhere. So what is needed and absent is fetched from the bucket, and what is added is there
before a host is told of it.
"""

from pathlib import Path

from populace.storage.journal.adapters import JournalAdapters
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.journal.sealing import JournalSeal
from populace.storage.records.master_key import MasterKey
from populace.storage.revisions import RevisionFiles
from populace.storage.store import REVISIONS_DIRECTORY, Store


class JournaledFiles(RevisionFiles):
    """Fetches what is absent when it is needed, and brings to the bucket what is added.

    The bucket and the master key are opened when they are first needed. ``here``, ``verify`` and what adds
    also raise ``BucketRefused``, ``BucketUnreachable``, ``JournalDamaged`` and ``MasterKeyRefused``.
    """

    def __init__(
        self, data_directory: Path, store_id: str, journal: JournalOptions, master_key: Path | None
    ) -> None:
        """``master_key`` is the file of the store's key, None for the one in ``data_directory``."""
        super().__init__(data_directory / REVISIONS_DIRECTORY)
        self._store_id = store_id
        self._journal = journal
        self._master_key = Store.master_key_path(data_directory, master_key)
        self._opened: JournalAdapters | None = None

    def here(self, digest: str) -> Path:
        if not self.has(digest):
            self._adapters().fetch(digest)
        return self.path(digest)

    def add(self, adapter: bytes | bytearray | Path, *, replaces: bool = False) -> tuple[str, int]:
        digest, size = super().add(adapter, replaces=replaces)
        self.keep(digest)
        return digest, size

    def add_directory(self, config: bytes, tensors: bytes | Path) -> tuple[str, int]:
        digest, size = super().add_directory(config, tensors)
        self.keep(digest)
        return digest, size

    def keep(self, digest: str) -> None:
        """Bring to the bucket an adapter that another process added here."""
        self._adapters().keep(digest)

    def _adapters(self) -> JournalAdapters:
        if self._opened is None:
            seal = JournalSeal(MasterKey.load(self._master_key), self._store_id)
            files = RevisionFiles(self.root)
            self._opened = JournalAdapters(open_bucket(self._journal.url), seal, self._store_id, files)
        return self._opened


def stored_adapters(
    data_directory: Path,
    *,
    store_id: str | None,
    journal: JournalOptions | None,
    master_key: Path | None,
) -> RevisionFiles:
    """Return the adapters of a store in a data directory, with those of its journal if it has one.

    Raises what ``Store.adapters`` does if it has none.
    """
    if journal is None or store_id is None:
        return Store.adapters(data_directory)
    return JournaledFiles(data_directory, store_id, journal, master_key)
