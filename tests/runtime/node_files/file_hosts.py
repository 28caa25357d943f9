"""Hosts that share files in this process, as an actor does, and fail as a test wants."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from populace.hosting.shared_files import SharedFiles, SharedPaths
from populace.node_files.fetching import HostAway
from populace.node_files.pieces import SharedFile, Wanted
from populace.storage.revisions import RevisionFiles

BASE = "b" * 64
MODULE = "c" * 64


def shared(
    revisions: Path, base_directory: Path | None = None, *, base: str = BASE, module: Path | None = None
) -> SharedFiles:
    """What a host shares that has these adapters, this base and this module."""
    adapters = RevisionFiles(revisions)

    async def host() -> FindingHost:
        return FindingHost(adapters)

    return SharedFiles(lambda: SharedPaths(base, base_directory, MODULE, module), host)


class FindingHost:
    """A host that only finds adapters."""

    def __init__(self, adapters: RevisionFiles) -> None:
        self.find_adapter = adapters.find


class LocalFileHost:
    """A host in this process. ``fails`` is called before each answer, ``changes`` makes it another one."""

    def __init__(
        self,
        files: SharedFiles,
        *,
        fails: Callable[["LocalFileHost"], None] | None = None,
        changes: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._files = files
        self._fails = fails
        self._changes = changes
        self.lists = 0
        self.pieces = 0

    def files(self, wanted: Wanted) -> tuple[SharedFile, ...] | None:
        self.lists += 1
        self._fail()
        return asyncio.run(self._files.files(wanted))

    def piece(self, wanted: Wanted, name: str, offset: int, key: bytes) -> bytes | None:
        self.pieces += 1
        self._fail()
        piece = asyncio.run(self._files.piece(wanted, name, offset, key))
        return piece if piece is None or self._changes is None else self._changes(piece)

    def _fail(self) -> None:
        if self._fails is not None:
            self._fails(self)


def away(_: LocalFileHost) -> None:
    """Fail as a host that restarts, for as long as it is asked."""
    raise HostAway("populace-host-0 is restarting")


def away_until(asked: int) -> Callable[[LocalFileHost], None]:
    """Fail until the host was asked so many times."""

    def fail(host: LocalFileHost) -> None:
        if host.lists + host.pieces < asked:
            away(host)

    return fail


def away_after(pieces: int) -> Callable[[LocalFileHost], None]:
    """Fail from the piece after so many on, as a host that was killed in the middle."""

    def fail(host: LocalFileHost) -> None:
        if host.pieces > pieces:
            away(host)

    return fail
