"""The uploaded files of one store.

On disk a file ``file-<24 hex>`` of the tenant acme is two files::

    uploads/acme/file-<24 hex>.content   frames of sealed chunks, see ``storage/streams/sealed_stream.py``
    uploads/acme/file-<24 hex>.info      its record with the content's key, wrapped by the master key

The content is durable before the record is written, so a file is whole or absent. Removing the record first
makes the content unreadable, also if the process dies before it removes that too.
"""

import contextlib
import hashlib
import logging
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from populace.storage.records.errors import DiskRefused, RecordInvalid
from populace.storage.records.files import disk_named, replaced_durably, sync_directory, write_durably
from populace.storage.records.keys import name_problem
from populace.storage.records.master_key import KEY_BYTES, MASTER_KEY_FILE, MasterKey
from populace.storage.records.named import Named
from populace.storage.records.records import UploadRecord
from populace.storage.streams.frames import FrameWriter, read_frames
from populace.storage.streams.sealed_stream import SealBroken, read_sealed, write_sealed
from populace.storage.uploads.errors import UploadNotFound, UploadsFull

logger = logging.getLogger(__name__)

DIRECTORY = "uploads"
INFO, CONTENT = ".info", ".content"

FILES_MAX = 1000
"""The number of files that a tenant may have: listing them reads each one's record, some 30 µs."""

_ID = re.compile(r"file-[0-9a-f]{24}")


class Upload(NamedTuple):
    """A file of a tenant. ``sha256`` is the digest of its content, in hexadecimal, ``size`` in bytes."""

    file_id: str
    filename: str
    purpose: str
    size: int
    sha256: str
    created_ms: int
    expires_ms: int | None


class UploadFiles:
    """The files of all tenants. Methods block; one upload of a tenant at a time keeps its limits exact."""

    def __init__(self, root: Path, master_key: MasterKey) -> None:
        """``root`` is created when it is needed."""
        self.root = root
        self._master_key = master_key

    @classmethod
    def of_store(cls, path: Path, master_key: Path | None = None) -> Self:
        """``master_key`` is the file of the store's master key; None is the one in the store.

        Raises ``MasterKeyRefused``.
        """
        return cls(path / DIRECTORY, MasterKey.load(master_key or path / MASTER_KEY_FILE))

    def add(
        self,
        tenant: str,
        pieces: Iterable[bytes],
        *,
        filename: str,
        purpose: str,
        now_ms: int,
        seconds_kept: int | None = None,
        bytes_max: int,
    ) -> Upload:
        """Seal the pieces as a new file, which is durable on return.

        ``bytes_max`` bounds all files of the tenant together. Raises ``UploadsFull`` and ``DiskRefused``,
        and leaves nothing then.
        """
        others = self.of_tenant(tenant, now_ms)
        if len(others) >= FILES_MAX:
            raise UploadsFull(f"{FILES_MAX:,}")
        room = bytes_max - sum(upload.size for upload in others)
        counted = _Counted(pieces, room, f"{bytes_max:,} bytes")
        file_id, key = f"file-{secrets.token_hex(12)}", secrets.token_bytes(KEY_BYTES)
        directory = self.root / tenant
        with disk_named(directory):
            if not directory.is_dir():
                directory.mkdir(parents=True, exist_ok=True)
                for parent in (self.root, self.root.parent):
                    sync_directory(parent)
            with replaced_durably(directory / f"{file_id}{CONTENT}") as file:
                write_sealed(FrameWriter(file), key, counted)
        try:
            record = UploadRecord(
                filename=filename,
                purpose=purpose,
                size=counted.size,
                sha256=counted.digest.digest(),
                created_ms=now_ms,
                expires_ms=None if seconds_kept is None else now_ms + 1000 * seconds_kept,
                key=key,
            )
            wrapped = self._master_key.wrap(record.pack(), _name(tenant, file_id))
            with disk_named(directory):
                write_durably(directory / f"{file_id}{INFO}", wrapped, mode=0o600)
        except BaseException:
            # A content without a record counts towards no limit. The record is there if its sync failed.
            for suffix in (INFO, CONTENT):
                with contextlib.suppress(OSError):
                    (directory / f"{file_id}{suffix}").unlink(missing_ok=True)
            raise
        return _upload(file_id, record)

    def of_tenant(self, tenant: str, now_ms: int) -> list[Upload]:
        """List the tenant's files, newest first, and remove those that have expired."""
        found: list[Upload] = []
        for path in (self.root / tenant).glob(f"*{INFO}") if name_problem(tenant) is None else ():
            try:
                found.append(self.find(tenant, path.stem, now_ms))
            except UploadNotFound:
                continue
            except RecordInvalid as error:
                # One damaged record must not keep the tenant from all other files.
                logger.warning("the file %s of %s is not listed: %s", path.stem, Named(tenant), error)
        return sorted(found, key=lambda upload: (-upload.created_ms, upload.file_id))

    def find(self, tenant: str, file_id: str, now_ms: int) -> Upload:
        """Return a file of the tenant. Raises ``UploadNotFound``, also for one that has expired."""
        upload = _upload(file_id, self._record(tenant, file_id))
        if upload.expires_ms is not None and upload.expires_ms <= now_ms:
            self.remove(tenant, file_id)
            raise UploadNotFound(file_id)
        return upload

    def read(self, tenant: str, file_id: str, now_ms: int) -> Iterator[bytes]:
        """Return the content in pieces of up to a mebibyte.

        Raises ``UploadNotFound``, also for one that has expired, ``RecordInvalid`` and ``DiskRefused``. All
        may come with the first piece, and the last two after pieces.
        """
        self.find(tenant, file_id, now_ms)
        key, path = self._record(tenant, file_id).key, self._path(tenant, file_id, CONTENT)

        def content() -> Iterator[bytes]:
            try:
                yield from _content(path, key)
            except RecordInvalid as error:
                if path.exists():
                    raise
                raise UploadNotFound(file_id) from error

        return content()

    def remove(self, tenant: str, file_id: str) -> None:
        """Remove a file of the tenant for good. Raises ``UploadNotFound`` and ``DiskRefused``."""
        info = self._path(tenant, file_id, INFO)
        with disk_named(info):
            try:
                info.unlink()
            except FileNotFoundError:
                raise UploadNotFound(file_id) from None
            sync_directory(info.parent)
            self._path(tenant, file_id, CONTENT).unlink(missing_ok=True)

    def sweep(self, now_ms: int, *, older_than_ms: int) -> int:
        """Remove what has expired, and contents without a record that were last written before then.

        The latter are left where a process died within an upload or a removal. Returns how many they are.
        """
        for directory in self.root.glob("*"):
            # What the disk refuses is told to the tenant that needs it, and keeps no other from uploading.
            with contextlib.suppress(DiskRefused):
                self.of_tenant(directory.name, now_ms)
        removed = 0
        for path in self.root.glob("*/*"):
            has_record = path.suffix == INFO or path.with_suffix(INFO).exists()
            with contextlib.suppress(FileNotFoundError):
                if not has_record and path.stat().st_mtime * 1000 < older_than_ms:
                    path.unlink()
                    removed += 1
        return removed

    def _record(self, tenant: str, file_id: str) -> UploadRecord:
        path = self._path(tenant, file_id, INFO)
        with disk_named(path):
            try:
                wrapped = path.read_bytes()
            except FileNotFoundError:
                raise UploadNotFound(file_id) from None
        return UploadRecord.unpack(self._master_key.unwrap(wrapped, _name(tenant, file_id)))

    def _path(self, tenant: str, file_id: str, suffix: str) -> Path:
        """Return a path of a file; raises ``UploadNotFound`` for what is no id, such as one with a slash."""
        if name_problem(tenant) is not None or _ID.fullmatch(file_id) is None:
            raise UploadNotFound(file_id[:128])
        return self.root / tenant / f"{file_id}{suffix}"


class _Counted:
    """Passes pieces on, counts and digests them, and raises ``UploadsFull`` above ``most`` bytes."""

    def __init__(self, pieces: Iterable[bytes], most: int, allowed: str) -> None:
        self._pieces = pieces
        self._most = most
        self._allowed = allowed
        self.size = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            if self.size > self._most:
                raise UploadsFull(self._allowed)
            self.digest.update(piece)
            yield piece


def _content(path: Path, key: bytes) -> Iterator[bytes]:
    try:
        yield from read_sealed(read_frames(path, lambda _, reason: RecordInvalid("upload", reason)), key)
    except SealBroken as error:
        raise RecordInvalid("upload", str(error)) from error


def _name(tenant: str, file_id: str) -> bytes:
    return f"upload {tenant}/{file_id}".encode()


def _upload(file_id: str, record: UploadRecord) -> Upload:
    return Upload(
        file_id,
        record.filename,
        record.purpose,
        record.size,
        record.sha256.hex(),
        record.created_ms,
        record.expires_ms,
    )
