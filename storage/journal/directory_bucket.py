"""A bucket in a directory: on another disk, or a file system that several machines mount.

Objects are files, written beside and linked or renamed into their places after they are on disk. That a
link is refused where a file exists is what a journal relies on; NFS since version 3 keeps to it.
"""

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from populace.storage.journal.bucket import Listed
from populace.storage.journal.errors import BucketRefused, BucketUnreachable
from populace.storage.records.files import sync_directory

PIECE_BYTES = 2**20

_INCOMING = ".incoming"
"""The folder of unfinished files."""


class DirectoryBucket:
    """Implements ``Bucket``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = f"file://{root}"

    @classmethod
    def open(cls, url: str) -> "DirectoryBucket":
        """Raises ``BucketRefused``, also if the directory is absent: its disk may not be mounted."""
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise BucketRefused(url, "a directory is written with three slashes, as in file:///srv/journal.")
        bucket = cls(Path(unquote(parts.path)))
        if not bucket._root.is_dir():
            raise BucketRefused(url, "there is no such directory; make it, or mount its disk.")
        try:
            (bucket._root / _INCOMING).mkdir(exist_ok=True)
        except OSError as error:
            raise BucketRefused(url, f"{error.strerror}.") from error
        return bucket

    def create(self, name: str, content: bytes) -> bool:
        with self._disk(), self._written([content]) as file:
            try:
                os.link(file, self._made(name))
            except FileExistsError:
                return False
            finally:
                # Also if it existed: its writer may not have synced it yet.
                self._sync_names(name)
        return True

    def replace(self, name: str, content: bytes | Iterable[bytes]) -> None:
        pieces = [content] if isinstance(content, bytes) else content
        with self._disk(), self._written(pieces) as file:
            file.replace(self._made(name))
            self._sync_names(name)

    def read(self, name: str) -> bytes | None:
        with self._disk(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self._root / name).read_bytes()
        return None

    def has(self, name: str) -> bool:
        with self._disk():
            return (self._root / name).exists()

    def stream(self, name: str) -> Iterator[bytes] | None:
        with self._disk():
            try:
                file = (self._root / name).open("rb")
            except FileNotFoundError:
                return None
        return self._pieces(file)

    def names(self, prefix: str, *, after: str = "") -> list[Listed]:
        with self._disk():
            files = [file for file in (self._root / prefix).rglob("*") if file.is_file()]
            listed = [Listed(file.relative_to(self._root).as_posix(), file.stat().st_size) for file in files]
        return sorted(found for found in listed if found.name > after)

    def folders(self) -> list[str]:
        with self._disk():
            return sorted(
                path.name for path in self._root.iterdir() if path.is_dir() and path.name != _INCOMING
            )

    def remove(self, names: Sequence[str]) -> None:
        with self._disk():
            for name in names:
                (self._root / name).unlink(missing_ok=True)
            for folder in {(self._root / name).parent for name in names}:
                if folder.is_dir():
                    sync_directory(folder)

    @contextlib.contextmanager
    def _written(self, pieces: Iterable[bytes]) -> Generator[Path]:
        """Write a file durably, which is removed after the block unless it was renamed."""
        descriptor, path = tempfile.mkstemp(dir=self._root / _INCOMING)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            yield Path(path)
        finally:
            Path(path).unlink(missing_ok=True)

    def _made(self, name: str) -> Path:
        """Return the path of an object, after making its folder."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _sync_names(self, name: str) -> None:
        for folder in (self._root / name).parents:
            sync_directory(folder)
            if folder == self._root:
                return

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        with file, self._disk():
            while piece := file.read(PIECE_BYTES):
                yield piece

    @contextlib.contextmanager
    def _disk(self) -> Generator[None]:
        try:
            yield
        except PermissionError as error:
            raise BucketRefused(self.url, f"{error.strerror}.") from error
        except OSError as error:
            raise BucketUnreachable(f"{self.url}: {error.strerror}") from error
