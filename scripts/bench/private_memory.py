"""Measures the memory of a process without the pages of the files that it maps."""

from typing import NamedTuple

import psutil


class Memory(NamedTuple):
    """The resident set of a process, and the part of it that is not pages of mapped files.

    The kernel may reclaim pages of mapped files at any time. The unique set size (USS) would count those that
    no other process maps, so that it would grow with a store's file.
    """

    rss_bytes: int
    private_bytes: int

    @classmethod
    def of(cls, process: psutil.Process) -> "Memory":
        """Measure a process now; raises ``psutil.Error`` if it is gone."""
        memory = process.memory_info()
        return cls(memory.rss, memory.rss - memory.shared)
