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
from populace.storage.records import keys
from populace.storage.records.errors import MasterKeyRefused, RecordInvalid
from populace.storage.records.master_key import MASTER_KEY_FILE, MasterKey
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
    if opened.shards != manifest.shards:
        raise KeyFileRefused(str(key_file), "it has another number of shards than the backup")
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
        self._former = () if erasures_of is None else Store.shard_paths(erasures_of, manifest.store_id)
        self._models = self._adapters = self._api_keys = self._erased = self._lacking = 0

    def run(self) -> Restored:
        shards = 0
        for shard_keys in self._key_file.read_shards():
            if shard_keys.number != shards:
                raise KeyFileRefused(str(self._key_file.path), f"it does not begin with shard {shards}")
            self._restore_shard(shard_keys)
            shards += 1
            self._report("Restoring the models", shards / self._manifest.shards)
        if shards != self._manifest.shards:
            raise KeyFileRefused(str(self._key_file.path), f"it has {shards} shards")
        return Restored(self._models, self._adapters, self._api_keys, self._erased, self._lacking)

    def _restore_shard(self, shard_keys: ShardKeys) -> None:
        number = shard_keys.number
        erased = {**shard_keys.erased, **self._erasures_of_former(number)}
        reader = ShardReader(
            self._backup,
            shard_file(number),
            self._manifest.salt,
            data_key_of=self._data_key_of(shard_keys.wrapped, erased),
            take_adapter=self._take_adapter,
        )

        def rows() -> Iterator[Row]:
            for key, value in reader.rows():
                self._api_keys += key.startswith(keys.api_keys())
                yield key, value
            for key_id, record in erased.items():
                yield keys.erasure(key_id), record

        Shard.create(self._store.shard_path(number), number, self._manifest.shards, rows())
        self._models += reader.models

    def _data_key_of(
        self, wrapped: Mapping[bytes, bytes], erased: Mapping[bytes, bytes]
    ) -> Callable[[bytes], bytes | None]:
        def data_key_of(key_id: bytes) -> bytes | None:
            if key_id in erased:
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

    def _erasures_of_former(self, number: int) -> dict[bytes, bytes]:
        if not self._former:
            return {}
        prefix = keys.erasures()
        with read_snapshot(self._former[number]) as txn:
            return {key[len(prefix) :]: value for key, value in txn.scan(prefix)}

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
