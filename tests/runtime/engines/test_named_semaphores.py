"""What a killed engine leaves in ``/dev/shm``: semaphores whose names say whose they were."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from populace.engines.vllm_start import DIRECTORY, YOUNG_SECONDS, sweep_semaphores

OWNER = """
import multiprocessing, os, sys
from populace.engines.vllm_start import name_semaphores

name_semaphores()
lock = multiprocessing.get_context("spawn").Lock()
print("made", flush=True)
sys.stdin.read()
"""


def semaphores_of(pid: int) -> list[Path]:
    return list(DIRECTORY.glob(f"sem.populace-{os.getuid()}-{pid}-*"))


def made_old(file: Path) -> None:
    long_ago_s = time.time() - 2 * YOUNG_SECONDS
    os.utime(file, (long_ago_s, long_ago_s))


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() -> None:
    # Of a session of its own: the kill takes the tracker that would have removed the semaphore, too.
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"made\n"
        [semaphore] = semaphores_of(owner.pid)
        made_old(semaphore)
        sweep_semaphores()
        assert semaphore.exists(), "its owner lives"
        os.killpg(owner.pid, signal.SIGKILL)

    assert semaphore.exists(), "nothing removed it at the kill, so that there is something to sweep"
    os.utime(semaphore)
    sweep_semaphores()
    assert semaphore.exists(), "it is young"
    made_old(semaphore)
    assert sweep_semaphores() >= 1
    assert not semaphore.exists()


def test_files_of_others_stay(tmp_path: Path) -> None:
    names = ["sem.mp-abc", "sem.populace-4711000-1-x", "populace-0", f"sem.populace-{os.getuid()}-x-1"]
    for name in names:
        (tmp_path / name).touch()
        made_old(tmp_path / name)
    assert sweep_semaphores(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
