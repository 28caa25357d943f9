"""A bucket in a directory: on another disk, or a file system that several machines mount.

Objects are files, written beside and linked or renamed into their places after they are on disk. That a
link is refused where a file exists is what a journal relies on; NFS since version 3 keeps to it.

What a killed writer left unfinished is removed with whatever else is, once it is old: it may hold the data
keys of people who were erased since.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from populace.storage.journal.bucket import Listed
from populace.storage.journal.errors import BucketRefused, BucketUnreachable
from populace.storage.records.files import sync_directory

PIECE_BYTES = 2**20

UNFINISHED_SECONDS_MAX = 3600.0
"""How long after its last write an unfinished file is taken for that of a writer that was killed."""

_INCOMING = ".incoming"
"""The folder of unfinished files."""


class DirectoryBucket:
    """Implements ``Bucket``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = f"file://{root}"
        # The folders in which this process has read or written an object.
        self._seen: set[Path] = set()

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
            path = self._made(name)
            try:
                os.link(file, path)
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
            content = (self._root / name).read_bytes()
            self._seen.add((self._root / name).parent)
            return content
        return None

    def has(self, name: str) -> bool:
        with self._disk():
            return (self._root / name).exists()

    def stream(self, name: str) -> Generator[bytes] | None:
        with self._disk():
            try:
                descriptor = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        return self._pieces(descriptor)

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
            self._remove_unfinished()
            for folder in {(self._root / name).parent for name in names}:
                if folder.is_dir():
                    sync_directory(folder)

    def _remove_unfinished(self) -> None:
        unfinished = [entry for entry in os.scandir(self._root / _INCOMING) if entry.is_file()]
        if not unfinished:
            return
        # Of the same clock as the others' times, which may be another machine's.
        with tempfile.NamedTemporaryFile(dir=self._root / _INCOMING) as newest:
            now_s = Path(newest.name).stat().st_mtime
        for entry in unfinished:
            with contextlib.suppress(FileNotFoundError):
                if now_s - entry.stat().st_mtime > UNFINISHED_SECONDS_MAX:
                    Path(entry).unlink()

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
        """Return the path of an object, after making its folder, if that is new.

        A folder that was there and is gone is not made again: its disk was unmounted, or it was moved, and
        what is written in its place would be missed where the others are.
        """
        path = self._root / name
        if path.parent not in self._seen:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._seen.add(path.parent)
        elif not path.parent.is_dir():
            raise OSError(errno.ENOENT, f"the folder {path.parent.name} is gone; mount its disk again")
        return path

    def _sync_names(self, name: str) -> None:
        for folder in (self._root / name).parents:
            sync_directory(folder)
            if folder == self._root:
                return

    def _pieces(self, descriptor: int) -> Generator[bytes]:
        # No file object: one that is dropped half read, with an error that refers to it, may be collected
        # before this generator, and warns then.
        try:
            with self._disk():
                while piece := os.read(descriptor, PIECE_BYTES):
                    yield piece
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _disk(self) -> Generator[None]:
        try:
            yield
        except PermissionError as error:
            raise BucketRefused(self.url, f"{error.strerror}.") from error
        except OSError as error:
            raise BucketUnreachable(f"{self.url}: {error.strerror}") from error
