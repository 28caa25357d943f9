"""The disk fails at the nth call, for every n: named errors, nothing lost, nothing half done."""

import multiprocessing
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from populace.storage.records.errors import StorageError
from populace.storage.rows import ledger
from populace.storage.store import Store
from tests.limits import HANG_SECONDS
from tests.storage.faulty_writer import OPERATIONS, Report, serve
from tests.storage.samples import TENANT

# The last two are called differently on other processors, so they are patterns.
CALLS = ("pwrite64", "writev", "write", "fdatasync", "fsync", "ftruncate", "/^rename", "/^mkdir")
CALLS_MAX = 100

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.storage.faulty_writer"])


@pytest.mark.parametrize("error", ["ENOSPC", pytest.param("EIO", marks=pytest.mark.fault)])
@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_fails_at_any_call_loses_nothing_and_halves_nothing(
    tmp_path: Path, call: str, error: str
) -> None:
    for nth in range(1, CALLS_MAX):
        path = tmp_path / str(nth)
        with writing(path) as (pid, writer):
            with failing(pid, call, error, nth):
                writer.send("work")
                first: Report = writer.recv()
            assert first.error is None or isinstance(first.error, StorageError), (nth, first.error)
            writer.send("the disk is well")
            found = writer.recv()
            # The one that failed may have taken effect or not.
            assert found in (OPERATIONS[: len(first.acknowledged)], OPERATIONS[: len(first.acknowledged) + 1])
            assert writer.recv() == Report(OPERATIONS, None)
        check_whole(path)
        if first.error is None:
            assert nth > 1, f"{call} was never called"
            return
    pytest.fail(f"{CALLS_MAX} calls of {call} were not enough")


@contextmanager
def writing(path: Path) -> Generator[tuple[int, Connection]]:
    """Start a writer; when the block ends it must end well."""
    ours, its = PROCESSES.Pipe()
    process = PROCESSES.Process(target=serve, args=(path, its))
    process.start()
    its.close()
    try:
        assert process.pid is not None
        yield process.pid, ours
        process.join(HANG_SECONDS)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        ours.close()


@contextmanager
def failing(pid: int, call: str, error: str, nth: int) -> Generator[None]:
    """Let the nth such call of each thread of the process fail, until the block ends."""
    assert shutil.which("strace"), "this test makes calls fail with strace: install it"
    inject = f"inject={call}:error={error}:when={nth}"
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        assert "attached" in attached, f"strace may not trace here: {attached}"
        try:
            yield
        finally:
            tracer.terminate()


def check_whole(path: Path) -> None:
    shard = Store.open(path).open_shard(0, "the test")
    shard.check_integrity()
    with shard.read() as txn:
        assert tuple(made.operation for made in ledger.read_log(txn, TENANT, "ada")) == OPERATIONS
    shard.close()
