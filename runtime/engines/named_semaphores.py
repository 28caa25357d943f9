"""Names the semaphores of an engine's processes by their owner, so that a killed owner's can be removed.

``multiprocessing`` gives them random names in ``/dev/shm`` and leaves their removal to a process that is
often killed together with the others. A name with the process id of its owner tells later whether that lives.
"""

import contextlib
import multiprocessing
import os
import time
from pathlib import Path

import psutil

DIRECTORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps named semaphores
YOUNG_SECONDS = 600.0
"""Younger ones stay: a process that is just starting opens them by name, also in another container, where
its owner's process id means nothing here."""

_NAME = "populace"


def name_semaphores() -> None:
    """Name the semaphores that this process and its later children make by this process, and sweep others."""
    sweep_semaphores()
    # Python has no public setting for it. Children inherit the configuration of their parent.
    configuration = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    configuration["semprefix"] = f"/{_NAME}-{os.getuid()}-{os.getpid()}"


def sweep_semaphores(directory: Path = DIRECTORY) -> int:
    """Remove the semaphores of this user's processes that have ended; return how many."""
    removed = 0
    for file in directory.glob(f"sem.{_NAME}-{os.getuid()}-*"):
        owner = file.name.split("-")[2]
        # Another process may sweep, too, or its owner may remove it just now.
        with contextlib.suppress(FileNotFoundError):
            is_young = time.time() - file.stat().st_mtime < YOUNG_SECONDS
            if owner.isdigit() and not is_young and not psutil.pid_exists(int(owner)):
                file.unlink()
                removed += 1
    return removed
