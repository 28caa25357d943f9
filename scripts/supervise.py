"""Run a command and leave no process of it behind.

    python scripts/supervise.py COMMAND [ARGUMENT ...]

Ray's and vLLM's processes outlive a parent that dies, in sessions of their own. As the subreaper of
everything below it, this process becomes their parent and ends exactly those, by process id.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 10.0


def main() -> int:
    """Run the command; return its exit status once all its descendants are gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    status = 1
    try:
        status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, check=False).returncode
    finally:
        end_descendants()
    return status if status >= 0 else 128 - status


def stop(number: int, frame: object) -> None:
    """Leave through ``finally`` when asked to stop."""
    sys.exit(128 + number)


def end_descendants() -> None:
    """Ask every descendant to stop, then kill those that have not after the grace time."""
    deadline = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while left := descendants(os.getpid()):
        late = time.monotonic() > deadline
        for process in left:
            if late or process not in asked:
                signal_process(process, signal.SIGKILL if late else signal.SIGTERM)
                asked.add(process)
        reap()
        time.sleep(0.1)


def descendants(ancestor: int) -> list[int]:
    """List the living processes below ``ancestor``; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command name is in parentheses and may itself hold spaces and parentheses.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def signal_process(process: int, number: int) -> None:
    """Send a signal to a process that may be gone already."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def reap() -> None:
    """Collect the children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    sys.exit(main())
