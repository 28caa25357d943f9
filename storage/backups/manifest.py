"""The layout of a backup, its manifest, and the proof that nothing in it was changed.

In the backup's directory::

    backup.json       the manifest, see ``Manifest``
    shards/0000       the models of shard 0, see ``storage/backups/shard_stream.py``, and so on
    adapters/<name>   an adapter, see ``storage/backups/adapters.py``
    SHA256SUMS        SHA-256 and name of each of these files, as ``sha256sum`` writes and checks them
    SHA256SUMS.mac    HMAC-SHA256 of the SHA-256 of SHA256SUMS, with a key that is derived from the master key

Anyone can check whether a copy is whole (``sha256sum --check SHA256SUMS``), but only with the key file can
one make a backup that is accepted: API keys and erasures are not sealed.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from populace.storage.backups.errors import BackupInvalid, BackupVersionMismatch
from populace.storage.records import keys
from populace.storage.records.errors import StoreVersionMismatch
from populace.storage.records.files import write_durably
from populace.storage.records.master_key import MasterKey

FORMAT = "populace-backup"
VERSION = 1
MANIFEST_FILE = "backup.json"
SUMS_FILE = "SHA256SUMS"
MAC_FILE = "SHA256SUMS.mac"
SHARDS_DIRECTORY = "shards"
ADAPTERS_DIRECTORY = "adapters"

_SUM_PATTERN = re.compile(r"([0-9a-f]{64})  (backup\.json|shards/[0-9]{4}|adapters/[0-9a-f]{32})\n")
_PURPOSE = b"populace backup 1: sums"

Report = Callable[[str, float], None]
"""Called with what is being done now, and the share of the whole that is done, from 0 to 1."""


class Manifest(BaseModel):
    """The head of a backup. ``backup_id`` is random and makes every key of this backup its own.

    ``damaged`` are adapters that the store has no whole file of, and that are not in the backup. Only who
    makes the backup is told: digests are in none of its files.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: str = FORMAT
    version: int = VERSION
    schema_version: int = Field(default=keys.SCHEMA, alias="schema", ge=1)
    backup_id: str = Field(pattern="^[0-9a-f]{32}$")
    store_id: str = Field(pattern="^[0-9a-f]{32}$")
    master_key: str = Field(pattern="^[0-9a-f]{32}$")
    created_ms: int
    shards: int = Field(ge=1)
    models: int = 0
    adapters: int = 0
    api_keys: int = 0
    erasures: int = 0
    damaged: tuple[str, ...] = Field(default=(), exclude=True)

    @classmethod
    def read(cls, backup: Path) -> Self:
        """Raises ``BackupInvalid``, ``BackupVersionMismatch``, and ``StoreVersionMismatch`` for its rows."""
        try:
            data = (backup / MANIFEST_FILE).read_bytes()
        except OSError as error:
            raise BackupInvalid(str(backup), f"{MANIFEST_FILE} cannot be read: {error.strerror}") from error
        try:
            common = _AnyManifest.model_validate_json(data)
            if common.format != FORMAT:
                raise BackupInvalid(str(backup), f"{MANIFEST_FILE} has the format {common.format[:80]!r}")
            if common.version > VERSION:
                raise BackupVersionMismatch(str(backup), common.version, VERSION)
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            reason = f"{MANIFEST_FILE} is damaged: {error.errors()[0]['msg']}"
            raise BackupInvalid(str(backup), reason) from error
        if manifest.schema_version > keys.SCHEMA:
            raise StoreVersionMismatch(str(backup), manifest.schema_version, keys.SCHEMA)
        return manifest

    def write(self, backup: Path) -> bytes:
        """Write the manifest durably; return the SHA-256 of its file."""
        data = self.model_dump_json(by_alias=True).encode() + b"\n"
        write_durably(backup / MANIFEST_FILE, data)
        return hashlib.sha256(data).digest()

    @property
    def salt(self) -> bytes:
        return bytes.fromhex(self.backup_id)


class _AnyManifest(BaseModel):
    """The fields of every release's manifest: enough to refuse a newer one by its number."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: str
    version: int


def write_mac(backup: Path, manifest: Manifest, master_key: MasterKey) -> None:
    """Authenticate SHA256SUMS as it is now."""
    write_durably(backup / MAC_FILE, _mac(backup, manifest, master_key))


def check_files(backup: Path, manifest: Manifest, master_key: MasterKey, report: Report) -> None:
    """Raise ``BackupInvalid`` unless every file is as the backup wrote it. Reads all of them."""
    try:
        written = (backup / MAC_FILE).read_bytes()
        sums_bytes = (backup / SUMS_FILE).stat().st_size
        if not hmac.compare_digest(written, _mac(backup, manifest, master_key)):
            raise BackupInvalid(str(backup), f"{SUMS_FILE} was changed")
        done, names = 0, set[str]()
        for line, digest, name in _read_sums(backup):
            with (backup / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise BackupInvalid(str(backup), f"{name} was changed or cut")
            if not name.startswith(ADAPTERS_DIRECTORY):
                names.add(name)
            done += len(line)
            report("Checking the files", done / sums_bytes)
    except OSError as error:
        raise BackupInvalid(str(backup), f"{error.filename} cannot be read: {error.strerror}") from error
    needed = {MANIFEST_FILE, *(shard_file(number) for number in range(manifest.shards))}
    if names != needed:
        raise BackupInvalid(str(backup), f"{SUMS_FILE} does not name {sorted(names ^ needed)[0]}")


def shard_file(number: int) -> str:
    return f"{SHARDS_DIRECTORY}/{number:04d}"


def sum_line(digest: bytes, name: str) -> str:
    return f"{digest.hex()}  {name}\n"


def _read_sums(backup: Path) -> Iterator[tuple[str, str, str]]:
    with (backup / SUMS_FILE).open(encoding="ascii", errors="replace", newline="") as file:
        for line in file:
            found = _SUM_PATTERN.fullmatch(line)
            if found is None:
                raise BackupInvalid(str(backup), f"{SUMS_FILE} has a line that is not one of ours")
            yield line, found[1], found[2]


def _mac(backup: Path, manifest: Manifest, master_key: MasterKey) -> bytes:
    """The content of the MAC file: hex digits and a newline."""
    with (backup / SUMS_FILE).open("rb") as file:
        key = master_key.derive(manifest.salt, _PURPOSE)
        mac = hmac.digest(key, hashlib.file_digest(file, "sha256").digest(), "sha256")
    return mac.hex().encode() + b"\n"
