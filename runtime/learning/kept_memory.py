# pyright: reportUnknownMemberType=false
# Functions of the C library are untyped.
"""Keeps the memory that a training frees in the process, for its next operation.

glibc gives what is freed above some size back to the system, and gets it again, zeroed page by page, with the
next operation of the same size: half of the time of a normalisation of 1,000 tokens went into that.
"""

import ctypes
import platform
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""The numbers of these parameters of ``mallopt`` in glibc's ``malloc.h``."""

KEPT_BYTES = 2**30
"""Larger blocks are mapped each by itself, also while memory is kept."""

USUAL_BYTES = 32 * 2**20
"""The highest value that glibc's own adjustment reaches; setting a threshold ends the adjustment."""


@contextmanager
def keeping_freed_memory() -> Generator[None]:
    """Keep what this process frees in the block, and give it all back at the end.

    The process is as large as its largest step until then. Nothing changes with another C library than glibc.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_THRESHOLD, KEPT_BYTES)
    library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(MMAP_THRESHOLD, USUAL_BYTES)
        library.mallopt(TRIM_THRESHOLD, 2 * USUAL_BYTES)
        library.malloc_trim(0)


@cache
def _glibc() -> Any | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
