"""Processes that tests stop, kill and talk to, one line at a time."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

Process = subprocess.Popen[bytes]


@contextmanager
def running(code: str, *arguments: object, prefix: Sequence[str] = ()) -> Generator[Process]:
    """Run Python code in a process that is dead when the block ends, however it was stopped."""
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    root = Path(__file__).parents[2]
    # Unbuffered: ``communicate`` does not return what a buffered ``readline`` read ahead.
    with subprocess.Popen(
        command, bufsize=0, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    process.stdin.flush()


def wait_stopped(process: Process) -> None:
    """Return when every thread of the process, which got a SIGSTOP, stands still."""
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert found is not None
    assert found.si_code == os.CLD_STOPPED
