"""Whoever has everything that is left: the data directory, a backup, and the key file of now."""

import re
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from populace.storage.backups.adapters import AdapterGrant, restore_adapter
from populace.storage.backups.errors import BackupInvalid
from populace.storage.backups.key_file import KeyFile
from populace.storage.backups.manifest import Manifest, shard_file
from populace.storage.backups.shard_stream import ShardReader
from populace.storage.records import keys
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.master_key import MASTER_KEY_FILE, MasterKey
from populace.storage.revisions import RevisionFiles
from populace.storage.streams.frames import read_frames

WRAPPED = re.compile(rb"wrapped\xc4\x3c(.{60})", re.DOTALL)
"""A wrapped data key as msgpack writes it in a ``DataKeyRecord``, wherever in a file its bytes still are."""


class Burglar:
    """Tries each key that is found on each model of the backup. ``loot`` is where adapters are put."""

    def __init__(self, data: Path, backup: Path, key_file: Path, loot: Path) -> None:
        self._data = data
        self._backup = backup
        self._manifest = Manifest.read(backup)
        self._key_file = KeyFile.load(key_file)
        self._loot = RevisionFiles(loot / "revisions")
        loot.mkdir()

    def plain_text(self) -> bytes:
        """Everything of the backup's models that can be read, one after the other."""
        found: list[bytes] = []
        for data_key in set(self._data_keys()):
            for key_id in self._key_ids():
                found += self._open(key_id, data_key)
        return b"\n".join(found)

    def _open(self, key_id: bytes, data_key: bytes) -> list[bytes]:
        """The rows and adapters of one model, if this is its key."""
        found: list[bytes] = []
        for number in range(self._manifest.shards):
            grants: list[AdapterGrant] = []
            reader = ShardReader(
                self._backup,
                shard_file(number),
                self._manifest.salt,
                data_key_of=lambda other: data_key if other == key_id else None,
                take_adapter=grants.append,
            )
            try:
                rows = list(reader.rows())
            except BackupInvalid:
                continue
            if reader.models:
                found += [text for row in rows for text in (*row, *unsealed(row, data_key))]
            for grant in grants:
                restore_adapter(self._backup, self._manifest.salt, grant, self._loot)
                found.append(self._loot.path(grant.digest.hex()).read_bytes())
        return found

    def _data_keys(self) -> Iterator[bytes]:
        """Unwrap whatever looks like a data key, for every model, with every master key."""
        masters = (MasterKey.load(self._data / MASTER_KEY_FILE), self._key_file.master_key)
        wrapped = {data for shard in self._key_file.read_shards() for data in shard.wrapped.values()}
        for file in (*self._data.rglob("*"), *self._backup.rglob("*"), self._key_file.path):
            if file.is_file():
                wrapped.update(WRAPPED.findall(file.read_bytes()))
        for master in masters:
            for key_id in self._key_ids():
                for data in wrapped:
                    try:
                        yield master.unwrap(data, key_id)
                    except RecordInvalid:
                        continue

    def _key_ids(self) -> list[bytes]:
        return [
            frame[1]
            for number in range(self._manifest.shards)
            for frame in read_frames(self._backup / shard_file(number), BackupInvalid)
            if frame[0] == "model" and isinstance(frame[1], bytes)
        ]


def unsealed(row: tuple[bytes, bytes], data_key: bytes) -> list[bytes]:
    """The value of a row that is sealed with this key; nothing for another row."""
    key, value = row
    if not keys.is_sealed(key):
        return []
    return [AESGCM(data_key).decrypt(value[1:13], value[13:], key)]
