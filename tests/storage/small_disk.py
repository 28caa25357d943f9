"""A real file system that is small: mounted by a child process, seen by nobody else, gone when it ends."""

import shutil
import subprocess
from pathlib import Path

OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
"""What a command is prefixed with, so that it may mount and its mounts are its own."""


def mount(path: Path, size_bytes: int) -> None:
    """Mount an empty file system in memory; for processes that run under ``OWN_MOUNTS``."""
    subprocess.run(mounting(path, size_bytes), check=True)


def mounting(path: Path, size_bytes: int) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(path)]


def may_mount(path: Path) -> bool:
    """Whether this user may: some systems forbid it."""
    if shutil.which(OWN_MOUNTS[0]) is None:
        return False
    tried = subprocess.run([*OWN_MOUNTS, *mounting(path, 1 << 20)], stderr=subprocess.DEVNULL)
    return tried.returncode == 0
