"""What a process maps of a file is not its own memory; what it writes to is."""

import mmap
from pathlib import Path

import psutil

from scripts.bench.private_memory import Memory

BYTES = 64 * 2**20


def test_a_mapped_file_that_was_read_is_not_private_memory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * BYTES)
    process = psutil.Process()

    before = Memory.of(process)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:: mmap.PAGESIZE].count(b"x") == BYTES // mmap.PAGESIZE
        while_mapped = Memory.of(process)

    assert while_mapped.rss_bytes - before.rss_bytes > BYTES / 2
    assert while_mapped.private_bytes - before.private_bytes < BYTES / 2


def test_written_pages_are_private_memory() -> None:
    # Pages of its own: an allocator may answer with what an earlier test gave back.
    process = psutil.Process()

    before = Memory.of(process)
    with mmap.mmap(-1, BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        pages.write(b"x" * BYTES)
        after = Memory.of(process)

    assert after.private_bytes - before.private_bytes > BYTES / 2
