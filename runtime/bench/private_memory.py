"""How much memory a process holds, told apart from the files that it has mapped."""

from typing import NamedTuple

import psutil


class Memory(NamedTuple):
    """``rss_bytes`` of a process, of which only ``private_bytes`` are its own.

    The others are pages of the files that it has mapped: the kernel takes them back when it likes. USS
    would count those that nobody else has mapped, so it would grow with a store's file.
    """

    rss_bytes: int
    private_bytes: int

    @classmethod
    def of(cls, process: psutil.Process) -> "Memory":
        memory = process.memory_info()
        return cls(memory.rss, memory.rss - memory.shared)
