# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Starts a Ray of this process's own, and tells whether it still runs.

Ray restarts what runs in it, and never itself: its raylet ends when one of its agents does, and takes all
actors along. What started it has to end then, so that whoever supervises it starts it again.
"""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray._private import worker

STARTS_MAX = 2
TIMED_OUT = "timed out during startup"
END_SECONDS_MAX = 20.0
LOOK_SECONDS = 0.5
NEEDED = ("gcs_server", "raylet")
"""The processes of Ray without which no actor runs. Its dashboard, its monitors of logs and load may end."""


def start_ray(**options: Any) -> None:
    """Call ``ray.init`` for a Ray on this machine, and once more if its node did not start in time.

    Ray waits 30 s for its node and has no setting for that; a busy machine takes longer, and less the second
    time, as it has read the files. The files of its processes, their logs among them, are this user's alone.
    Raises what ``ray.init`` raises; no process of that Ray is left then.
    """
    for attempt in range(1, STARTS_MAX + 1):
        before = _processes()
        try:
            with _private_files():
                ray.init(address="local", **options)
        except Exception as error:
            _end(_processes() - before)
            if attempt == STARTS_MAX or TIMED_OUT not in str(error):
                raise
        else:
            return


@contextmanager
def _private_files() -> Generator[None]:
    """Let files that are made in the block, and by processes that begin in it, be this user's alone."""
    former = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(former)


def _processes() -> set[psutil.Process]:
    """The processes of Ray that this one started."""
    return {
        process
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and "/ray/" in " ".join(_words(process))
    }


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []  # it has ended meanwhile


def _end(processes: set[psutil.Process]) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=END_SECONDS_MAX)


def ended_process() -> str | None:
    """Return which of the needed processes has ended; None if they run, or another Ray was joined."""
    node: Any = worker._global_node
    ended = set() if node is None else {kind for kind, _ in node.dead_processes()}
    return next((kind for kind in NEEDED if kind in ended), None)


def wait_until_ended() -> str:
    """Wait, for ever if another Ray was joined, until a needed process has ended, and return which one."""
    while (kind := ended_process()) is None:
        time.sleep(LOOK_SECONDS)
    return kind
