"""The compact copy of a shard: written and durable, but not the shard yet."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from populace.storage.records.errors import DiskFull
from populace.storage.records.files import disk_named
from populace.storage.shards import generations
from populace.storage.shards.statistics import ShardStatistics

Environment = TypeVar("Environment")


class LmdbSource(Protocol):
    """The part of LMDB that is used, declared here so that this file does not import it."""

    def copy(self, path: str, compact: bool = ..., /) -> None: ...


def write_copy(
    source: LmdbSource,
    path: Path,
    number: int,
    size: ShardStatistics,
    *,
    open_copy: Callable[[Path], Environment],
) -> tuple[Environment, Path]:
    """Write the rows of one snapshot durably to a new generation; return it open, and its directory.

    Raises ``DiskFull``, before anything is written if the lack of space is evident, and
    ``DiskRefused``. On any error, everything written is removed.
    """
    bytes_needed = size.bytes_used - size.bytes_free
    bytes_free = shutil.disk_usage(path).free
    if bytes_needed > bytes_free:
        raise DiskFull(number, bytes_needed, bytes_free)
    with disk_named(path):
        place = generations.add(path)
    try:
        source.copy(str(place), True)
        generations.sync_generation(place)
        return open_copy(place), place
    except Exception as error:
        generations.discard(place)
        # The code of an OSError, or LMDB's message for it.
        if errno.ENOSPC in (getattr(error, "errno", None), getattr(error, "code", None)):
            raise DiskFull(number, bytes_needed, shutil.disk_usage(path).free) from error
        raise
