"""What a tenant does one at a time, it does so at all gateways of a machine together."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from populace.actors.errors import Refused
from populace.gateway.http.file_work import WORK_AT_ONCE_MAX, FileWork
from populace.gateway.http.machine_locks import LOOK_SECONDS, MachineLocks
from tests.limits import HANG_SECONDS

HOLDER = """
import sys
from pathlib import Path
from populace.gateway.http.machine_locks import MachineLocks
assert MachineLocks(Path(sys.argv[1])).take("one") is not None
print("taken", flush=True)
sys.stdin.read()
"""


async def test_a_lock_is_free_again_when_the_process_that_had_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "locks"
    locks = MachineLocks(path)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    async with asyncio.timeout(HANG_SECONDS):
        assert await holder.stdout.readline() == b"taken\n"
        assert locks.take("one") is None
        other = locks.take("two")
        assert other is not None
        with pytest.raises(TimeoutError):
            await locks.one_of(("one", "two"), 0.0)
        waiting = asyncio.create_task(locks.one_of(("one", "two")))
        await asyncio.sleep(0)
        holder.kill()
        let_go = await waiting
        await holder.wait()
    other()

    assert locks.take("one") is None, "also within one process"
    let_go()
    again = locks.take("one")
    assert again is not None
    again()


async def test_a_tenant_works_on_one_file_at_all_gateways_together(tmp_path: Path) -> None:
    one, other = (FileWork(MachineLocks(tmp_path / "locks"), bytes_max=1) for _ in range(2))

    held = one.hold("acme")
    with pytest.raises(Refused):
        other.hold("acme")
    other.hold("globex").close()
    held.close()
    other.hold("acme").close()


async def test_all_gateways_of_a_machine_together_work_on_a_few_files_at_once(tmp_path: Path) -> None:
    gateways = [FileWork(MachineLocks(tmp_path / "locks"), bytes_max=1) for _ in range(3)]
    count, most, guard = 0, 0, threading.Lock()
    full, go_on = threading.Event(), threading.Event()

    def work() -> None:
        nonlocal count, most
        with guard:
            count += 1
            most = max(most, count)
            if count == WORK_AT_ONCE_MAX:
                full.set()
        assert go_on.wait(HANG_SECONDS)
        with guard:
            count -= 1

    working = [
        asyncio.create_task(gateway.alone(work, f"tenant-{number}"))
        for number, gateway in enumerate(gateways * 2)
    ]
    assert await asyncio.to_thread(full.wait, HANG_SECONDS)
    await asyncio.sleep(5 * LOOK_SECONDS)  # the others look for a place meanwhile
    go_on.set()
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*working)

    assert (most, count) == (WORK_AT_ONCE_MAX, 0)
