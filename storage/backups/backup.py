"""Writes a backup of a store, which may be serving.

Each shard is read in one snapshot, so all that was acknowledged before the backup began is in it, whole.
A backup holds no key: those are in the key file (``storage/backups/key_file.py``), which is written with it.
"""

import secrets
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple, TextIO

from populace.storage.backups.adapters import AdapterWriter
from populace.storage.backups.errors import DirectoryRefused, KeyFileRefused
from populace.storage.backups.key_file import KeyFileWriter, replacing
from populace.storage.backups.manifest import (
    ADAPTERS_DIRECTORY,
    MANIFEST_FILE,
    SHARDS_DIRECTORY,
    SUMS_FILE,
    Manifest,
    Report,
    shard_file,
    sum_line,
    write_mac,
)
from populace.storage.backups.shard_stream import count_models, data_keys, write_end, write_model, write_row
from populace.storage.backups.unfinished import building
from populace.storage.records import keys, tenant_keys
from populace.storage.records.files import disk_named, sync_directory, sync_file
from populace.storage.records.transaction import ReadTransaction
from populace.storage.store import Store
from populace.storage.streams.frames import FrameWriter, writing

_MODELS_A_REPORT = 64


class _Written(NamedTuple):
    """Counts of what has been written."""

    models: int = 0
    api_keys: int = 0
    erasures: int = 0


def write_backup(store: Store, target: Path, key_file: Path, *, now_ms: int, report: Report) -> Manifest:
    """Write a backup to ``target``, which is absent or empty, and the key file.

    The key file is replaced first, so that no backup exists without its keys. After an error there is
    no backup, and the key file is the former one or a renewed one. Takes no lock of the store and delays
    only the removal of adapters; pages that are freed meanwhile are reused after it. An adapter that is
    damaged is left out and named in the manifest that is returned; all else is backed up.

    Raises ``DirectoryRefused``, ``KeyFileRefused``, ``DiskRefused``, ``StoreInvalid`` and ``RecordInvalid``
    for a damaged store, and ``StoreInUse`` if this process has a shard open.
    """
    _refuse_places(store, target, key_file)
    manifest = Manifest(
        backup_id=secrets.token_hex(16),
        store_id=store.store_id,
        master_key=store.sealing.master_key.key_id,
        created_ms=now_ms,
        shards=store.shards,
    )
    with ExitStack() as stack:
        # The key file first, then the name: a backup never exists without its keys.
        place = stack.enter_context(building(target))
        key_writer = stack.enter_context(_keys_of(store, key_file, now_ms))
        with disk_named(store.revisions.root):
            stack.enter_context(store.revisions.adding())
        for directory in (SHARDS_DIRECTORY, ADAPTERS_DIRECTORY):
            (place / directory).mkdir()
        with (place / SUMS_FILE).open("x", encoding="ascii") as sums:
            manifest = _Writer(store, place, manifest, key_writer, sums, report).write()
        sync_file(place / SUMS_FILE)
        write_mac(place, manifest, store.sealing.master_key)
        for directory in (SHARDS_DIRECTORY, ADAPTERS_DIRECTORY):
            sync_directory(place / directory)
    return manifest


def write_keys(store: Store, key_file: Path, *, now_ms: int, report: Report) -> int:
    """Write the key file alone, so that it drops erased models; return how many models it opens.

    Raises as ``write_backup`` does.
    """
    _refuse_inside(key_file, store.path)
    models = 0
    with disk_named(key_file), _keys_of(store, key_file, now_ms) as writer:
        for number in range(store.shards):
            writer.begin_shard(number)
            with store.read_shard(number) as txn:
                for _, record in data_keys(txn):
                    writer.add_key(record)
                    models += 1
                for key, value in txn.scan(keys.erasures()):
                    writer.add_erasure(key[len(keys.erasures()) :], value)
            report("Writing the keys", (number + 1) / store.shards)
    return models


class _Writer:
    """One backup that is being written to ``place``."""

    def __init__(
        self,
        store: Store,
        place: Path,
        manifest: Manifest,
        key_writer: KeyFileWriter,
        sums: TextIO,
        report: Report,
    ) -> None:
        self._store = store
        self._place = place
        self._manifest = manifest
        self._keys = key_writer
        self._sums = sums
        self._report = report
        self._adapters = AdapterWriter(place, manifest.salt, store.revisions, self._add_sum)

    def write(self) -> Manifest:
        """Write all files but the MAC; return the manifest with its counts."""
        shards = [self._write_shard(number) for number in range(self._store.shards)]
        manifest = self._manifest.model_copy(
            update={
                "models": sum(shard.models for shard in shards),
                "adapters": self._adapters.count,
                "api_keys": sum(shard.api_keys for shard in shards),
                "erasures": sum(shard.erasures for shard in shards),
                "damaged": tuple(sorted(self._adapters.damaged)),
            }
        )
        self._add_sum(manifest.write(self._place), MANIFEST_FILE)
        return manifest

    def _write_shard(self, number: int) -> _Written:
        file = shard_file(number)
        self._keys.begin_shard(number)
        with writing(self._place / file) as writer, self._store.read_shard(number) as txn:
            models, total = 0, count_models(txn)
            master_key, salt = self._store.sealing.master_key, self._manifest.salt
            for identity, record in data_keys(txn):
                data_key = master_key.unwrap(record.wrapped, record.key_id)
                write_model(writer, txn, identity, data_key, record.key_id, salt, self._adapters.put)
                self._keys.add_key(record)
                models += 1
                if models % _MODELS_A_REPORT == 0:
                    self._report("Writing the models", (number + models / total) / self._store.shards)
            written = _Written(models, *self._write_plain(writer, txn))
            write_end(writer, models)
        self._add_sum(writer.digest(), file)
        self._report("Writing the models", (number + 1) / self._store.shards)
        return written

    def _write_plain(self, writer: FrameWriter, txn: ReadTransaction) -> tuple[int, int]:
        """Write the rows that belong to no model; return the numbers of API keys and erasures."""
        api_keys = erasures = 0
        served = txn.get(keys.SERVED_KEY)
        if served is not None:
            # Otherwise the time until the restore would count towards the age of what expires.
            write_row(writer, (keys.SERVED_KEY, served))
        for row in txn.scan(keys.api_keys()):
            write_row(writer, row)
            api_keys += 1
        for row in txn.scan(tenant_keys.all_tenants()):
            write_row(writer, row)
        for key, value in txn.scan(keys.erasures()):
            write_row(writer, (key, value))
            self._keys.add_erasure(key[len(keys.erasures()) :], value)
            erasures += 1
        return api_keys, erasures

    def _add_sum(self, digest: bytes, file: str) -> None:
        self._sums.write(sum_line(digest, file))


def _keys_of(store: Store, key_file: Path, now_ms: int) -> AbstractContextManager[KeyFileWriter]:
    # Resolved: the target of a symbolic link is replaced, and not the link.
    master_key = store.sealing.master_key
    return replacing(key_file.resolve(), store.store_id, store.shards, master_key, now_ms=now_ms)


def _refuse_places(store: Store, target: Path, key_file: Path) -> None:
    """Keep keys out of backups and data directories, and backups out of data directories."""
    if target.resolve().is_relative_to(store.path.resolve()):
        raise DirectoryRefused(str(target), f"it lies in the data directory {store.path}")
    _refuse_inside(key_file, store.path)
    _refuse_inside(key_file, target)


def _refuse_inside(key_file: Path, directory: Path) -> None:
    if key_file.resolve().is_relative_to(directory.resolve()):
        reason = f"it lies in {directory}; keep it apart, as whoever has both can read everything"
        raise KeyFileRefused(str(key_file), reason)
