"""Fetches files from the hosts, piece by piece, from whichever of them has the file and answers."""

import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from populace.actors.errors import EngineUnavailable
from populace.node_files.pieces import PieceSeal, SharedFile, Wanted

T = TypeVar("T")

ROUNDS_MAX = 14
"""How often all hosts are asked while one of them does not answer: for 20 s, in which a host restarts."""

WAIT_SECONDS_MIN = 0.1
WAIT_SECONDS_MAX = 2.0

Noted = Callable[[int], None]
"""Called with the number of bytes that came."""


class FileHost(Protocol):
    """A host as a node asks it for files. Both methods block, and raise ``HostAway``."""

    def files(self, wanted: Wanted) -> tuple[SharedFile, ...] | None:
        """List the files of what is wanted; None if this host does not have it."""
        ...

    def piece(self, wanted: Wanted, name: str, offset: int, key: bytes) -> bytes | None:
        """Read a piece, sealed with ``key``; None if this host does not have the file."""
        ...


class HostAway(Exception):
    """A host does not answer now, or not with what it was asked for. It may later; the text says why."""


class FileGone(Exception):
    """No host has the file any more, although one had it when its transfer began."""


class Fetching:
    """Asks hosts for files. Safe from many threads; each call blocks."""

    def __init__(self, hosts: Iterable[FileHost], *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._hosts = list(hosts)
        self._sleep = sleep
        self._preferred = 0

    def files(self, wanted: Wanted) -> tuple[SharedFile, ...] | None:
        """List the files of what is wanted; None if no host has it.

        Raises ``EngineUnavailable`` if a host that may have it does not answer within 20 s.
        """
        return self._ask(wanted, lambda host: host.files(wanted))

    def save(self, wanted: Wanted, file: SharedFile, to: Path, note: Noted | None = None) -> bool:
        """Write a file of what is wanted; return whether its SHA-256 is that of the list, if that has one.

        A host that is gone in the middle is replaced by another one, or by its successor. Raises
        ``EngineUnavailable`` as ``files`` does, ``FileGone``, and ``OSError`` of the disk.
        """
        with to.open("wb") as target:
            found = self._copy(wanted, file, target, note)
        return file.sha256 in (None, found)

    def _copy(self, wanted: Wanted, file: SharedFile, target: BinaryIO, note: Noted | None) -> str:
        """Copy the file and return its SHA-256, which means nothing if the list has none."""
        seal, digest, offset = PieceSeal.new(), hashlib.sha256(), 0
        while offset < file.bytes:
            piece = self._piece(wanted, file, offset, seal)
            target.write(piece)
            if file.sha256 is not None:
                digest.update(piece)
            offset += len(piece)
            if note is not None:
                note(len(piece))
        return digest.hexdigest()

    def _piece(self, wanted: Wanted, file: SharedFile, offset: int, seal: PieceSeal) -> bytes:
        def read(host: FileHost) -> bytes | None:
            sealed = host.piece(wanted, file.name, offset, seal.key)
            if sealed is None:
                return None
            piece = seal.open(wanted, file.name, offset, sealed)
            if piece is None or len(piece) != file.piece_bytes(offset):
                raise HostAway("what it sent was cut off or changed on the way")
            return piece

        piece = self._ask(wanted, read)
        if piece is None:
            raise FileGone(file.name)
        return piece

    def _ask(self, wanted: Wanted, question: Callable[[FileHost], T | None]) -> T | None:
        rounds = Retrying(
            retry=retry_if_exception_type(HostAway),
            wait=wait_exponential(WAIT_SECONDS_MIN, max=WAIT_SECONDS_MAX),
            stop=stop_after_attempt(ROUNDS_MAX),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return rounds(lambda: self._ask_all(question))
        except HostAway as away:
            raise EngineUnavailable(f"{wanted} is not on this node, and {away}") from away

    def _ask_all(self, question: Callable[[FileHost], T | None]) -> T | None:
        """Ask one host after the other, first the one that answered last; None if all say that they lack it.

        Raises ``HostAway`` if none has it and one does not answer: that one may have it.
        """
        away: HostAway | None = None
        for number in range(self._preferred, self._preferred + len(self._hosts)):
            try:
                answer = question(self._hosts[number % len(self._hosts)])
            except HostAway as error:
                away = error
                continue
            if answer is not None:
                self._preferred = number % len(self._hosts)
                return answer
        if away is not None:
            raise away
        return None
