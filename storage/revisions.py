"""Adapter files, content-addressed: ``<root>/<digest>/`` in PEFT's layout, written once.

The digest is SHA-256 over a tag and the SHA-256 of each of the two files, so equal content has
one directory and a directory never changes. A directory appears by ``rename`` after its files
are on disk; ``.incoming-*`` are what a crash left of unfinished ones.

Whoever adds an adapter keeps ``.lock`` shared until a model has it, and whoever removes those that
no model has keeps it alone, so that none is removed under who is just about to use it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from populace.storage import keys
from populace.storage.errors import StoreInvalid
from populace.storage.files import sync_directory

CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "adapter_model.safetensors"

_TAG = b"populace-revision-1\0"
_CHUNK_BYTES = 1 << 20


class RevisionFiles:
    """The adapters of all personal models. Safe from many threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, config: bytes, tensors: bytes | Path) -> tuple[str, int]:
        """Store the two files durably; answers their digest and size in bytes together.

        ``tensors`` may name a file, which is copied in pieces and must not change meanwhile.
        Content that is stored already is left as it is.
        """
        with self.incoming() as incoming:
            (incoming / CONFIG_FILE).write_bytes(config)
            if isinstance(tensors, bytes):
                (incoming / TENSORS_FILE).write_bytes(tensors)
            else:
                shutil.copyfile(tensors, incoming / TENSORS_FILE)
            # Digest what was written and not what was read: the name vouches for this copy.
            digest, size = adapter_digest(incoming)
            if not self.has(digest):
                self._publish(incoming, digest)
            # Also for content that was here: its writer may not have come so far, or never will.
            sync_directory(self.root)
            sync_directory(self.root.parent)
        return digest, size

    @contextlib.contextmanager
    def incoming(self) -> Generator[Path]:
        """Make a directory for what is not an adapter yet; it goes with the block, or in a later sweep."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def adding(self) -> Generator[None]:
        """Keep every adapter where it is for the time of the block, in which a model gets what is added."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def alone(self) -> Generator[bool]:
        """Keep everybody from adding for the time of the block; tells whether nobody is adding just now."""
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    def remove(self, digest: str) -> None:
        """Remove the adapter durably if it is there. Only ``alone``, and if no model has it."""
        path = self.path(digest)
        if path.is_dir():
            # Whole or not at all, for who reads meanwhile and after a crash.
            doomed = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
            path.rename(doomed / digest)
            sync_directory(self.root)
            shutil.rmtree(doomed)

    def sweep(self) -> int:
        """Remove what crashes left of unfinished adapters; answers how many. Only ``alone``."""
        left = list(self.root.glob(".incoming-*"))
        for directory in left:
            shutil.rmtree(directory, ignore_errors=True)
        return len(left)

    def path(self, digest: str) -> Path:
        """Return the directory of the digest, whether or not it exists.

        Raises ``StoreInvalid`` for anything but 64 hex digits, so that no name leaves the root.
        """
        if not keys.is_digest(digest):
            raise StoreInvalid(str(self.root), f"{digest[:80]!r} is not a revision digest")
        return self.root / digest

    def has(self, digest: str) -> bool:
        return keys.is_digest(digest) and (self.root / digest).is_dir()

    def verify(self, digest: str) -> None:
        """Read the files again. Raises ``StoreInvalid`` if they are missing or not what was stored."""
        path = self.path(digest)
        try:
            found, _ = adapter_digest(path)
        except OSError as error:
            raise StoreInvalid(str(path), f"the adapter cannot be read: {error}") from error
        if found != digest:
            raise StoreInvalid(str(path), f"the adapter is damaged: its digest is {found}")

    @contextlib.contextmanager
    def _locked(self, how: int) -> Generator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _publish(self, incoming: Path, digest: str) -> None:
        # mkdtemp makes the directory private to this user; the engines may run as another.
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


def adapter_digest(directory: Path) -> tuple[str, int]:
    """Return the digest of the two files there, and their size in bytes together."""
    whole, size = hashlib.sha256(_TAG), 0
    for name in (CONFIG_FILE, TENSORS_FILE):
        with (directory / name).open("rb") as file:
            part, part_bytes = _file_digest(file)
        whole.update(part)
        size += part_bytes
    return whole.hexdigest(), size


def _file_digest(file: BinaryIO) -> tuple[bytes, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.digest(), size
