"""Whether a process that should have ended has."""

import time
from collections.abc import Iterable

import psutil

from tests.limits import HANG_SECONDS


def is_alive(process: psutil.Process) -> bool:
    """A zombie is not: it only waits for whoever inherited it, which in a container may never reap it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_ended(
    processes: Iterable[psutil.Process], seconds_max: float = HANG_SECONDS
) -> list[psutil.Process]:
    """Wait until none is alive; answer those that still are. psutil's own would wait for the zombies."""
    give_up = time.monotonic() + seconds_max
    while (alive := [one for one in processes if is_alive(one)]) and time.monotonic() < give_up:
        time.sleep(0.05)
    return alive
