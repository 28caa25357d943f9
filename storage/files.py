"""Files that survive power loss: what is needed beside ``write`` and ``rename``."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make the directory's entries durable: a rename is not before its parent is synced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file's content as a whole: after a crash it is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)
