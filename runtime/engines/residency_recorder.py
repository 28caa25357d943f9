"""Records which adapters are asked for, so that `populace bench residency-policy` can play it again."""

import logging
import os
import time
from pathlib import Path

from populace.actors.errors import EngineUnavailable

logger = logging.getLogger(__name__)

RECORD_BYTES_MAX = 256 * 1024**2
"""Some five million uses; what comes after is not recorded."""

KEY_DIGITS = 16
"""Of a digest: enough to tell millions apart, and the half of a file."""


class ResidencyRecorder:
    """Appends a line ``seconds,key,bytes`` for each use, to a file of this process. Not durable."""

    def __init__(self, directory: Path, *, bytes_max: int = RECORD_BYTES_MAX) -> None:
        """Raises ``EngineUnavailable`` if no file can be made there."""
        self.path = directory / f"residency-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.csv"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("x", encoding="ascii")
        except OSError as error:
            raise EngineUnavailable(f"it cannot record which adapters are asked for ({error})") from error
        self._bytes_left = bytes_max
        self._began = time.monotonic()

    def record(self, digest: str, size: int) -> None:
        """Note a use of the adapter of so many bytes. Never fails: a full disk ends the record."""
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
