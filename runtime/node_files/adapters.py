"""Adapters as an engine opens them: from this node where it has them, else fetched while they are read.

What was fetched is removed once it was read. The warm tier, which is bounded by bytes and erased with a
model, keeps what an engine made of it; so an erased model's adapter has no second place to be erased from.
"""

import errno
import shutil
import tempfile
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid, EngineUnavailable
from populace.node_files.fetching import Fetching, FileGone
from populace.node_files.pieces import PACKED, SharedFile, Wanted
from populace.storage.packed.envelope import BYTES_MAX
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.revisions import CONFIG_FILE, SUFFIX, TENSORS_FILE, adapter_digest
from populace.storage.warm_files import WarmFiles

_ABSENT = (
    "no host of this Populace has its file: the model that had it was erased, or the file was lost; "
    "`populace restore` brings back what a backup has"
)


@dataclass(slots=True, eq=False)
class _Fetch:
    """An adapter that is fetched, or is there, for as many users."""

    users: int = 0
    path: Future[Path] = field(default_factory=Future[Path])


class NodeAdapters:
    """Answers ``AdapterFiles`` on a node that may lack the store. Safe from many threads."""

    def __init__(self, fetching: Fetching, files: WarmFiles) -> None:
        """Files that were fetched lie in ``files``: what a killed process left there goes with its images."""
        self._fetching = fetching
        self._files = files
        self._lock = threading.Lock()
        self._fetches: dict[str, _Fetch] = {}

    @property
    def scratch(self) -> Path:
        return self._files.scratch

    @contextmanager
    def opened(self, adapter: AdapterRef) -> Generator[Path]:
        """Yield the adapter's file or directory here, which may be gone after the block.

        Those that ask at once share one transfer. What is on this node is not compared with the digest, as
        whoever reads it does that. Raises ``AdapterInvalid`` if no host has it or its bytes are not those of
        the digest, ``EngineUnavailable`` if a host does not answer or there is no room.
        """
        path = Path(adapter.path)
        if path.is_absolute() and path.exists():
            yield path
        else:
            with self._fetched(adapter.digest) as fetched:
                yield fetched

    def is_open(self, digest: str) -> bool:
        """Return whether an adapter is being fetched, or read from what was fetched."""
        with self._lock:
            return digest in self._fetches

    def close(self) -> None:
        """Remove what was fetched."""
        self._files.close()

    @contextmanager
    def _fetched(self, digest: str) -> Generator[Path]:
        with self._lock:
            is_mine = digest not in self._fetches
            fetch = self._fetches.setdefault(digest, _Fetch())
            fetch.users += 1
        try:
            if is_mine:
                self._run(fetch, digest)
            yield fetch.path.result()
        finally:
            with self._lock:
                fetch.users -= 1
                is_last = fetch.users == 0
                if is_last:
                    self._forget(digest, fetch)
            if is_last and fetch.path.exception() is None:
                shutil.rmtree(fetch.path.result().parent, ignore_errors=True)

    def _run(self, fetch: _Fetch, digest: str) -> None:
        try:
            fetch.path.set_result(self._fetch(digest))
        except BaseException as error:
            # Who comes from now on tries again.
            with self._lock:
                self._forget(digest, fetch)
            fetch.path.set_exception(error)

    def _forget(self, digest: str, fetch: _Fetch) -> None:
        if self._fetches.get(digest) is fetch:
            del self._fetches[digest]

    def _fetch(self, digest: str) -> Path:
        wanted = Wanted("adapter", digest)
        files = self._fetching.files(wanted)
        if files is None:
            raise AdapterInvalid(_ABSENT)
        folder: Path | None = None
        try:
            # Its name begins with the digest: erasing the adapter from this node's memory finds it.
            folder = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=self._files.scratch))
            return self._save(wanted, files, folder)
        except BaseException as error:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, FileGone):
                raise AdapterInvalid(_ABSENT) from error
            if isinstance(error, OSError):
                reason = "it is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
                raise EngineUnavailable(
                    f"this node's memory takes no adapter that has to be fetched ({reason})"
                ) from error
            raise

    def _save(self, wanted: Wanted, files: tuple[SharedFile, ...], folder: Path) -> Path:
        if sum(file.bytes for file in files) > BYTES_MAX:
            raise AdapterInvalid(f"its files are larger than {BYTES_MAX:,} bytes")
        names = {file.name for file in files}
        path = folder / (f"{wanted.digest}{SUFFIX}" if names == {PACKED} else wanted.digest)
        if names == {PACKED}:
            self._fetching.save(wanted, files[0], path)
        elif names == {CONFIG_FILE, TENSORS_FILE}:
            path.mkdir()
            for file in files:
                self._fetching.save(wanted, file, path / file.name)
        else:
            raise AdapterInvalid(f"a host lists files that no adapter has ({', '.join(sorted(names))[:200]})")
        try:
            found, _ = adapter_digest(path)
        except (PackedAdapterInvalid, PackedAdapterVersionMismatch) as error:
            raise AdapterInvalid(f"what a host sent is not it: {error}") from error
        if found != wanted.digest:
            raise AdapterInvalid(f"what a host sent is not it: its digest is {found}")
        return path
