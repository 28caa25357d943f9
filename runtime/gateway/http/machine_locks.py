"""Locks that hold among all gateways of a machine, and end with the process that has them.

They are locks on single bytes of one file, so that no file is left behind for each name, and the file tells
no name. Linux ties them to an open file, and not to the process, so they hold within one process too.
"""

import asyncio
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from populace.storage.records.files import disk_named

LOOK_SECONDS = 0.02
"""How often a lock that is taken is looked at: the kernel wakes only a thread that waits for one."""

_FLOCK = "hhqqi4x"
"""C's ``struct flock``: kind, what the start counts from, start, length, process."""


class MachineLocks:
    """The locks in one file, which is made with the first of them, and so is its directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, name: str) -> Callable[[], None] | None:
        """Take the lock of a name, or return None if it is taken; what is returned lets go of it, once.

        Raises ``DiskRefused``.
        """
        digest = hashlib.sha256(name.encode()).digest()
        place = int.from_bytes(digest[:8]) >> 2
        with disk_named(self._path):
            # Logs have no directory before the first line.
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                lock = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
            except (BlockingIOError, PermissionError):
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
        return partial(os.close, descriptor)

    async def one_of(self, names: Sequence[str], seconds_max: float | None = None) -> Callable[[], None]:
        """Wait for the first of these locks that is free, and take it, as ``take`` does.

        Raises ``TimeoutError`` if all are taken for ``seconds_max``.
        """
        give_up = None if seconds_max is None else time.monotonic() + seconds_max
        while True:
            for name in names:
                if (let_go := self.take(name)) is not None:
                    return let_go
            if give_up is not None and time.monotonic() >= give_up:
                raise TimeoutError
            await asyncio.sleep(LOOK_SECONDS)
