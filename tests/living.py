"""Whether a process that should have ended has."""

import psutil


def is_alive(process: psutil.Process) -> bool:
    """A zombie is not: it only waits for whoever inherited it, which in a container may never reap it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
