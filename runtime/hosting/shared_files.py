"""Reads files of the store's machine for nodes that lack them.

Adapters and the memory module are asked for by digest, the base by its fingerprint, and a file of them by a
name that this side listed: no path that a caller sent is ever opened. Nodes of engines do not read the
journal's bucket themselves, because it is sealed with the master key, which opens everything that people
said: that key stays on the machines of the store.
"""

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from populace.base.files import needed_files
from populace.node_files.pieces import PACKED, PieceSeal, SharedFile, Wanted
from populace.storage.records import keys
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE

T = TypeVar("T")

THREADS = 8


class AdapterHost(Protocol):
    """What finds adapters on the store's machine: a ``ModelHost``."""

    def find_adapter(self, digest: str) -> Path | None:
        """Return the packed file or the directory of the adapter, None if there is none. Blocks."""
        ...


class SharedPaths(NamedTuple):
    """The base and the memory module that a host shares, by what names them."""

    base: str
    base_directory: Path | None
    module: str | None = None
    module_file: Path | None = None

    def lack(self, wanted: Wanted) -> bool:
        """Return whether what is wanted should be there, and is not."""
        path = self.base_directory if wanted.kind == "base" else self.module_file
        return path is not None and not path.exists()


class SharedFiles:
    """Lists and reads the files, on threads of its own. For one event loop at a time."""

    def __init__(self, paths: Callable[[], SharedPaths], host: Callable[[], Awaitable[AdapterHost]]) -> None:
        """``paths`` looks for the base and the module on this node, on a thread, when they are asked for.

        ``host`` waits for the host to be open, or raises that it is not.
        """
        self._look = paths
        self._paths: SharedPaths | None = None
        self._host = host
        # Not the loop's threads: an adapter that is fetched waits for a sweep, which needs those.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="populace-share")
        # A base is read whole for its list, for which all nodes that start wait: no turn waits behind them.
        self._of_base = ThreadPoolExecutor(THREADS, thread_name_prefix="populace-share-base")
        self._hashing = threading.Lock()
        self._hashes: dict[tuple[Path, int, int], str] = {}

    async def files(self, wanted: Wanted) -> tuple[SharedFile, ...] | None:
        """List the files of what is wanted; None if it is not here."""
        found = await self._find(wanted)
        return None if found is None else await self._on_thread(wanted, partial(self._listed, wanted, found))

    async def piece(self, wanted: Wanted, name: str, offset: int, key: bytes) -> bytes | None:
        """Read the piece of a file that begins at ``offset``, sealed with ``key``; None if it is not here."""
        path = (await self._find(wanted) or {}).get(name)
        if path is None:
            return None
        return await self._on_thread(wanted, partial(_read, path, wanted, name, offset, key))

    def close(self) -> None:
        for threads in (self._threads, self._of_base):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _on_thread(self, wanted: Wanted, work: Callable[[], T]) -> T:
        threads = self._threads if wanted.kind == "adapter" else self._of_base
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    async def _find(self, wanted: Wanted) -> dict[str, Path] | None:
        """Return the paths of the files of what is wanted, by the names that they are asked for by."""
        if wanted.kind == "adapter":
            if not keys.is_digest(wanted.digest):
                return None
            host = await self._host()
            return await self._on_thread(wanted, partial(_adapter_files, host, wanted.digest))
        paths = self._paths
        # What this node lacks may be brought to it later, as its log says.
        if paths is None or paths.lack(wanted):
            paths = self._paths = await self._on_thread(wanted, self._look)
        if wanted.kind == "base":
            if wanted.digest != paths.base or paths.base_directory is None:
                return None
            files = await self._on_thread(wanted, partial(needed_files, paths.base_directory))
            return {file.name: file for file in files} or None
        has_it = wanted.digest == paths.module and paths.module_file is not None
        return {PACKED: paths.module_file} if has_it and paths.module_file is not None else None

    def _listed(self, wanted: Wanted, found: dict[str, Path]) -> tuple[SharedFile, ...] | None:
        try:
            return tuple(
                SharedFile(name, path.stat().st_size, self._hash(path) if wanted.kind == "base" else None)
                for name, path in found.items()
            )
        except FileNotFoundError:
            return None

    def _hash(self, path: Path) -> str:
        """Return the SHA-256 of a base's file, which is read once, whatever number of nodes ask for it."""
        with self._hashing:
            state = path.stat()
            key = (path, state.st_size, state.st_mtime_ns)
            if key not in self._hashes:
                with path.open("rb") as file:
                    self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._hashes[key]


def _adapter_files(host: AdapterHost, digest: str) -> dict[str, Path] | None:
    path = host.find_adapter(digest)
    if path is None:
        return None
    return {name: path / name for name in (CONFIG_FILE, TENSORS_FILE)} if path.is_dir() else {PACKED: path}


def _read(path: Path, wanted: Wanted, name: str, offset: int, key: bytes) -> bytes | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(offset)
            piece = file.read(SharedFile(name, size).piece_bytes(offset))
    except FileNotFoundError:
        return None
    return PieceSeal(key).seal(wanted, name, offset, piece)
