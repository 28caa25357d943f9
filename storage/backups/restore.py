"""Makes a store of a backup: it appears once everything was checked, and without erased models."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from populace.storage.backups.adapters import AdapterGrant, restore_adapter
from populace.storage.backups.errors import BackupInvalid, DirectoryRefused, KeyFileRefused
from populace.storage.backups.key_file import KeyFile, ShardKeys
from populace.storage.backups.manifest import Manifest, Report, check_files, shard_file
from populace.storage.backups.shard_stream import Row, ShardReader
from populace.storage.backups.unfinished import building
from populace.storage.records import erasures, keys
from populace.storage.records.errors import MasterKeyRefused, RecordInvalid
from populace.storage.records.master_key import MASTER_KEY_FILE, MasterKey
from populace.storage.shards.ownership import check_header
from populace.storage.shards.pages import read_snapshot
from populace.storage.shards.shard import Shard
from populace.storage.store import Store


class Restored(NamedTuple):
    """The counts of the new store, and how many models were left out, by reason."""

    models: int
    adapters: int
    api_keys: int
    erased: int
    lacking: int


def restore_backup(
    backup: Path,
    key_file: Path,
    target: Path,
    *,
    erasures_of: Path | None = None,
    master_key: Path | None = None,
    partial: bool = False,
    report: Report,
) -> Restored:
    """Make a store in ``target``, which is absent or empty, as it was when ``backup`` was written.

    Models that were erased since are left out, as far as the key file or the store in ``erasures_of`` knows
    them. A model that neither knows is an error, unless ``partial``. The master key goes to the file
    ``master_key``, in ``target`` if None. Raises ``BackupInvalid``, ``BackupVersionMismatch``,
    ``KeyFileRefused``, ``DirectoryRefused``, ``MasterKeyRefused``, ``DiskRefused``, ``StoreVersionMismatch``
    and ``StoreInvalid`` (of ``erasures_of``); nothing is made then.
    """
    manifest = Manifest.read(backup)
    opened = KeyFile.load(key_file)
    if (opened.store_id, opened.master_key.key_id) != (manifest.store_id, manifest.master_key):
        raise KeyFileRefused(str(key_file), "it is that of another store than the backup")
    if target.resolve().is_relative_to(backup.resolve()):
        raise DirectoryRefused(str(target), "it lies in the backup")
    _refuse_other_key(opened.master_key, master_key)
    # Before anything is written. The seals would find most changes, but not those in plain rows, nor in a
    # model without a key.
    check_files(backup, manifest, opened.master_key, report)
    with building(target) as place:
        store = Store.lay_out(place, manifest.shards, manifest.store_id, opened.master_key)
        restored = _Restore(backup, manifest, opened, store, erasures_of, partial, report).run()
        _check_shards(backup, store, report)
        if master_key is None or not master_key.exists():
            opened.master_key.save(master_key or place / MASTER_KEY_FILE)
    return restored


class _Restore:
    """The restoring of one backup into ``store``."""

    def __init__(
        self,
        backup: Path,
        manifest: Manifest,
        key_file: KeyFile,
        store: Store,
        erasures_of: Path | None,
        partial: bool,
        report: Report,
    ) -> None:
        self._backup = backup
        self._manifest = manifest
        self._key_file = key_file
        self._store = store
        self._partial = partial
        self._report = report
        self._erased_by_shard = self._known_erasures(erasures_of)
        self._erasures = frozenset[bytes]().union(*self._erased_by_shard)
        self._models = self._adapters = self._api_keys = self._erased = self._lacking = 0

    def run(self) -> Restored:
        for number, wrapped in enumerate(self._wrapped_keys()):
            self._restore_shard(number, wrapped)
            self._report("Restoring the models", (number + 1) / self._manifest.shards)
        return Restored(self._models, self._adapters, self._api_keys, self._erased, self._lacking)

    def _wrapped_keys(self) -> Iterator[Mapping[bytes, bytes]]:
        """Yield the keys for each shard of the backup.

        If the store was resharded between the backup and the key file, these are all keys each time.
        """
        by_shard = (shard_keys.wrapped for shard_keys in self._read_keys())
        if self._key_file.shards == self._manifest.shards:
            yield from by_shard
            return
        every_key = {key_id: wrapped for shard in by_shard for key_id, wrapped in shard.items()}
        for _ in range(self._manifest.shards):
            yield every_key

    def _read_keys(self) -> Iterator[ShardKeys]:
        shards = 0
        for shard_keys in self._key_file.read_shards():
            if shard_keys.number != shards:
                raise KeyFileRefused(str(self._key_file.path), f"it does not begin with shard {shards}")
            yield shard_keys
            shards += 1
        if shards != self._key_file.shards:
            raise KeyFileRefused(str(self._key_file.path), f"it has {shards} shards")

    def _known_erasures(self, erasures_of: Path | None) -> list[dict[bytes, bytes]]:
        """Return the erasures for each shard of the new store: data key ids and the stored values.

        A model of the backup may be erased in any of them, as a resharding spreads erasures anew.
        """
        shards = self._manifest.shards
        erased: list[dict[bytes, bytes]] = [{} for _ in range(shards)]

        def note(number: int, count: int, key_id: bytes, record: bytes) -> None:
            place = number if count == shards else erasures.any_shard_of(keys.erasure(key_id), shards)
            erased[place][key_id] = record

        for shard_keys in self._read_keys():
            for key_id, record in shard_keys.erased.items():
                note(shard_keys.number, self._key_file.shards, key_id, record)
        former = () if erasures_of is None else Store.shard_paths(erasures_of, self._manifest.store_id)
        prefix = keys.erasures()
        for number, path in enumerate(former):
            with read_snapshot(path) as txn:
                check_header(txn, str(path), number, len(former))
                for key, record in txn.scan(prefix):
                    note(number, len(former), key[len(prefix) :], record)
        return erased

    def _restore_shard(self, number: int, wrapped: Mapping[bytes, bytes]) -> None:
        reader = ShardReader(
            self._backup,
            shard_file(number),
            self._manifest.salt,
            data_key_of=self._data_key_of(wrapped),
            take_adapter=self._take_adapter,
        )

        def rows() -> Iterator[Row]:
            for key, value in reader.rows():
                self._api_keys += key.startswith(keys.api_keys())
                yield key, value
            for key_id, record in self._erased_by_shard[number].items():
                yield keys.erasure(key_id), record

        Shard.create(self._store.shard_path(number), number, self._manifest.shards, rows())
        self._models += reader.models

    def _data_key_of(self, wrapped: Mapping[bytes, bytes]) -> Callable[[bytes], bytes | None]:
        def data_key_of(key_id: bytes) -> bytes | None:
            if key_id in self._erasures:
                self._erased += 1
                return None
            found = wrapped.get(key_id)
            if found is None:
                if not self._partial:
                    raise KeyFileRefused(
                        str(self._key_file.path),
                        "it lacks the key of a model of this backup and does not say that it was erased, so "
                        "it is older than the backup; take the newest one",
                    )
                self._lacking += 1
                return None
            return self._key_file.master_key.unwrap(found, key_id)

        return data_key_of

    def _take_adapter(self, grant: AdapterGrant) -> None:
        self._adapters += restore_adapter(self._backup, self._manifest.salt, grant, self._store.revisions)


def _check_shards(backup: Path, store: Store, report: Report) -> None:
    """Open every seal and check every shard's laws. Raises ``BackupInvalid``."""
    for number in range(store.shards):
        shard = store.open_shard(number, "the restore")
        try:
            shard.check_integrity()
        except (AssertionError, RecordInvalid, ValueError) as error:
            reason = f"the rows of shard {number} do not fit together: {type(error).__name__}: {error}"
            raise BackupInvalid(str(backup), reason) from error
        finally:
            shard.close()
        report("Checking the rows", (number + 1) / store.shards)


def _refuse_other_key(key: MasterKey, path: Path | None) -> None:
    """Refuse to write the master key over that of another store."""
    if path is not None and path.exists() and MasterKey.load(path).key_id != key.key_id:
        raise MasterKeyRefused(str(path), "it is that of another store than the backup's and is not replaced")
