"""The note that a running Populace writes to its data directory, so that clients find it."""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from populace.actors.errors import ClusterNotFound

FILE_NAME = "running.json"
POLL_SECONDS = 0.1


class Running(NamedTuple):
    """Where a running Populace is: its Ray address, its HTTP address, and the process that serves.

    ``token_file`` has what its Ray asks for; None is a Ray that was there before, with a token of its own.
    """

    ray_address: str
    url: str
    pid: int
    store_id: str
    token_file: str | None = None


def write_running(data: Path, running: Running) -> None:
    path = data / FILE_NAME
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(running._asdict(), indent=2))
    temporary.replace(path)


def remove_running(data: Path) -> None:
    """Remove the note, if this process wrote it."""
    path = data / FILE_NAME
    try:
        if json.loads(path.read_text()).get("pid") == os.getpid():
            path.unlink()
    except (OSError, ValueError):
        return


def read_note(data: Path) -> Running | None:
    """Read the note of the last process that served, which may be gone; None if it stopped as it should."""
    try:
        return Running(**json.loads((data / FILE_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def find_running(data: Path) -> Running:
    """Read the note of a process that still runs; raises ``ClusterNotFound`` if there is none."""
    hint = "Start it with `make serve` or `populace serve`, or name another data directory (POPULACE_DATA)."
    running = read_note(data)
    if running is None:
        raise ClusterNotFound(str(data), hint)
    if not psutil.pid_exists(running.pid):
        raise ClusterNotFound(str(data), f"The process {running.pid} that served it is gone. {hint}")
    return running


def wait_for_running(data: Path, *, seconds_max: float) -> Running:
    """Wait for the note of a Populace that is starting; raises ``ClusterNotFound`` after ``seconds_max``.

    The note is the last step of a start: once it can be read, everything can be used.
    """
    give_up = time.monotonic() + seconds_max
    while True:
        try:
            return find_running(data)
        except ClusterNotFound:
            if time.monotonic() > give_up:
                raise
        time.sleep(POLL_SECONDS)
