"""Records which adapters are requested, so that `populace bench residency-policy` can replay it."""

import logging
import os
import time
from pathlib import Path

from populace.actors.errors import EngineUnavailable

logger = logging.getLogger(__name__)

RECORD_BYTES_MAX = 256 * 1024**2
"""A record ends at this size, after some five million uses."""

KEY_DIGITS = 16
"""Digits of a digest that are recorded: enough for millions of adapters, in half of the space."""


class ResidencyRecorder:
    """Appends a line ``seconds,key,bytes`` for each use, to a file of this process. Not durable."""

    def __init__(self, directory: Path, *, bytes_max: int = RECORD_BYTES_MAX) -> None:
        """Create the file; raises ``EngineUnavailable`` if that is impossible."""
        self.path = directory / f"residency-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.csv"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("x", encoding="ascii")
        except OSError as error:
            raise EngineUnavailable(f"it cannot record which adapters are asked for ({error})") from error
        self._bytes_left = bytes_max
        self._began = time.monotonic()

    def record(self, digest: str, size: int) -> None:
        """Record a use of the adapter with this many bytes. Never fails: a full disk ends the record."""
        if self._bytes_left <= 0:
            return
        line = f"{time.monotonic() - self._began:.3f},{digest[:KEY_DIGITS]},{size}\n"
        self._bytes_left -= len(line)
        try:
            self._file.write(line)
        except OSError as error:
            logger.warning("The record of adapters in use ends here: %s", error)
            self._bytes_left = 0

    def close(self) -> None:
        """Write what is left to the file."""
        try:
            self._file.close()
        except OSError as error:
            logger.warning("The end of the record of adapters in use is lost: %s", error)
