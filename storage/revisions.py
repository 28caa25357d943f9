"""Adapters, content-addressed and written once: one packed file each, ``<root>/<digest>.adapter``.

The digest is the one in the file's envelope, which covers all of it (``storage/packed/envelope.py``), so
equal content has one file and a file never changes. It appears by ``rename`` after it is on disk.

Up to schema 3 an adapter was a directory ``<root>/<digest>/`` in PEFT's layout, whose digest is SHA-256 over
a tag and the SHA-256 of each of its two files. Those stay as they are, and so do those that come from an
archive or a backup of that time: their digests are in the logs of the models that were served with them.

``.incoming-*`` are unfinished adapters that a crash left. Adding an adapter holds ``.lock`` shared until a
model has it, and removing unused adapters holds it exclusively, so that none is removed that is about to be
used.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from populace.storage.packed.envelope import file_digest
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.records import keys
from populace.storage.records.errors import StoreInvalid
from populace.storage.records.files import sync_directory, sync_file

SUFFIX = ".adapter"
"""The suffix of packed files."""
CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "adapter_model.safetensors"

_INCOMING = ".incoming-"
_TAG = b"populace-revision-1\0"


class RevisionFiles:
    """The adapters of all personal models. Safe from many threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, adapter: bytes | bytearray | Path, *, replaces: bool = False) -> tuple[str, int]:
        """Store a packed adapter durably; return its digest and its size in bytes.

        A ``Path`` names a file, which is copied in pieces and must not change meanwhile. Content that is
        stored already is left as it is, unless this ``replaces`` it because it was damaged. Only the digest
        is checked; raises ``PackedAdapterInvalid`` and ``PackedAdapterVersionMismatch``.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        # In the same directory: a rename between two is not one change on the disk.
        descriptor, name = tempfile.mkstemp(prefix=_INCOMING, dir=self.root)
        os.close(descriptor)
        file = Path(name)
        try:
            _write(adapter, file)
            # Digest what was written and not what was read: the name has to be right for this copy.
            digest, size = adapter_digest(file)
            if replaces or not self.has(digest):
                # The engines may run as another user than this one.
                file.chmod(0o644)
                sync_file(file)
                # This may replace the file of another writer, which is the same.
                file.replace(self.path(digest))
        finally:
            file.unlink(missing_ok=True)
        self._sync_names()
        return digest, size

    def add_directory(self, config: bytes, tensors: bytes | Path) -> tuple[str, int]:
        """Store the two files of an adapter that has its digest from schema 3 or before, durably.

        Returns their digest and total size in bytes; ``tensors`` and stored content are treated as in
        ``add``.
        """
        with self.incoming() as incoming:
            (incoming / CONFIG_FILE).write_bytes(config)
            _write(tensors, incoming / TENSORS_FILE)
            digest, size = adapter_digest(incoming)
            if not self.has(digest):
                self._publish_directory(incoming, digest)
            self._sync_names()
        return digest, size

    @contextlib.contextmanager
    def incoming(self) -> Generator[Path]:
        """Yield a directory for an unfinished adapter; it is removed with the block, or in a later sweep."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def passing(self, adapter: bytes | bytearray) -> Generator[tuple[str, Path]]:
        """Hold a packed adapter that no model will have; yield its digest and file.

        The file is removed with the block; nothing else is removed meanwhile, and a crash leaves it to a
        later sweep. If the adapter is stored already, that file is used and stays. Raises
        ``PackedAdapterInvalid`` and ``PackedAdapterVersionMismatch``.
        """
        with self.adding(), self.incoming() as folder:
            unnamed = folder / f"passing{SUFFIX}"
            unnamed.write_bytes(adapter)
            digest, _ = adapter_digest(unnamed)
            # By its digest it is found for engines on other nodes, too.
            file = unnamed.rename(folder / f"{digest}{SUFFIX}")
            # The engines may run as another user than this one.
            file.chmod(0o644)
            folder.chmod(0o755)
            yield digest, self.path(digest) if self.has(digest) else file

    @contextlib.contextmanager
    def adding(self) -> Generator[None]:
        """Prevent removals during the block, in which a model gets the added adapter."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def alone(self) -> Generator[bool]:
        """Prevent additions during the block; yield False if one is under way just now."""
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    def remove(self, digest: str) -> None:
        """Remove the adapter durably if it exists. Call only under ``alone``, and if no model has it."""
        path = self.path(digest)
        if not path.is_dir():
            path.unlink(missing_ok=True)
            sync_directory(self.root)
        else:
            # Whole or not at all, for concurrent readers and after a crash.
            doomed = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.root))
            path.rename(doomed / digest)
            sync_directory(self.root)
            shutil.rmtree(doomed)

    def sweep(self) -> int:
        """Remove unfinished adapters that crashes left; return how many. Call only under ``alone``."""
        left = list(self.root.glob(f"{_INCOMING}*"))
        for path in left:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return len(left)

    def path(self, digest: str) -> Path:
        """Return the packed file of the digest, existing or not, or the directory if only that exists.

        Raises ``StoreInvalid`` for anything but 64 hex digits, so that no name leaves the root.
        """
        if not keys.is_digest(digest):
            raise StoreInvalid(str(self.root), f"{digest[:80]!r} is not a revision digest")
        packed, directory = self.root / f"{digest}{SUFFIX}", self.root / digest
        return directory if not packed.exists() and directory.is_dir() else packed

    def here(self, digest: str) -> Path:
        """Return the path of an adapter that is needed now: ``JournaledFiles`` may fetch it first."""
        return self.path(digest)

    def keep(self, digest: str) -> None:
        """See to it that other machines of the store can have an adapter of this one: nothing, by itself."""

    def digests(self) -> list[str]:
        """Return the digests of all adapters that are here."""
        names = (path.name.removesuffix(SUFFIX) for path in self.root.glob("*"))
        return [name for name in names if keys.is_digest(name)]

    def has(self, digest: str) -> bool:
        return keys.is_digest(digest) and self.path(digest).exists()

    def find(self, digest: str) -> Path | None:
        """Return the adapter's packed file or directory, also of one that is just passing; None if absent."""
        if not keys.is_digest(digest):
            return None
        path = self.path(digest)
        if path.exists():
            return path
        return next(self.root.glob(f"{_INCOMING}*/{digest}{SUFFIX}"), None)

    def verify(self, digest: str) -> None:
        """Read the files again. Raises ``StoreInvalid`` if they are missing or not what was stored."""
        path = self.here(digest)
        try:
            found, _ = adapter_digest(path)
        except OSError as error:
            raise StoreInvalid(str(path), f"the adapter cannot be read: {error}") from error
        except (PackedAdapterInvalid, PackedAdapterVersionMismatch) as error:
            raise StoreInvalid(str(path), f"the adapter is damaged: {error}") from error
        if found != digest:
            raise StoreInvalid(str(path), f"the adapter is damaged: its digest is {found}")

    def _sync_names(self) -> None:
        # Also for content that existed: its writer may not have synced it yet, or never will.
        sync_directory(self.root)
        sync_directory(self.root.parent)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Generator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _publish_directory(self, incoming: Path, digest: str) -> None:
        # mkdtemp makes the directory private to this user; the engines may run as another user.
        incoming.chmod(0o755)
        for name in (CONFIG_FILE, TENSORS_FILE):
            with (incoming / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(incoming)
        try:
            incoming.rename(self.root / digest)
        except OSError:
            # Another writer of the same content was first; a directory is never replaced.
            if not self.has(digest):
                raise


def adapter_digest(path: Path) -> tuple[str, int]:
    """Read a packed file or a PEFT directory; return its digest, and its size in bytes.

    Raises ``PackedAdapterInvalid`` and ``PackedAdapterVersionMismatch`` for a file, and ``OSError``.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return file_digest(file)
    whole, size = hashlib.sha256(_TAG), 0
    for name in (CONFIG_FILE, TENSORS_FILE):
        with (path / name).open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
            size += file.tell()
    return whole.hexdigest(), size


def _write(content: bytes | bytearray | Path, to: Path) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, to)
    else:
        to.write_bytes(content)
