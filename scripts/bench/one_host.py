# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""One host actor on Ray with a store of its own, for benches that call it as every client does.

Calls that are made in the same turn of the event loop share a message.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray

from populace.actors.engine import BaseInfo
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory
from populace.hosting.host_actor import start_hosts
from populace.hosting.host_client import RayHostClient
from populace.hosting.messages import NAMESPACE, host_name
from populace.storage.store import Store
from scripts.bench.engineless import engineless_host
from scripts.bench.private_memory import Memory

RESIDENT_BYTES_MAX = 64 * 1024 * 1024
"""The host's budget for active models. It is small, so that a bench sees passivations."""

CONCURRENCY = 256

Report = Callable[[str, float], None]


@contextmanager
def running_ray() -> Generator[None]:
    """Start a local Ray cluster for the bench, and stop it after the block."""
    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        object_store_memory=128 * 1024 * 1024,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


class OneHost:
    """A store and its only host actor. Needs a running Ray."""

    def __init__(self, path: Path, base: BaseInfo) -> None:
        self.path = path
        store = Store.create_or_open(path, shards=8)
        options = engineless_host(store, base, limits=HostLimits(resident_bytes_max=RESIDENT_BYTES_MAX))
        self.handle: Any = start_hosts([options], environment={"OMP_NUM_THREADS": "1"})[0]
        self._shards = store.shards

    def directory(self) -> Directory:
        """Return a new client of the host."""
        return Directory.over([RayHostClient(self.handle, host_name(0))], shard_count=self._shards)

    async def restart(self) -> float:
        """Kill the host; return the seconds from the start of its next process to its first answer."""
        before = self.process()
        os.kill(before.pid, signal.SIGKILL)
        await asyncio.to_thread(before.wait, 30)
        await self.directory().show_model(model(0))
        return time.time() - self.process().create_time()

    def process(self) -> psutil.Process:
        """Return the host's current process."""
        return psutil.Process(ray.get(self.handle.process_id.remote()))

    def private_bytes(self) -> int:
        """Return the private memory of the host's process."""
        return Memory.of(self.process()).private_bytes

    def stop(self) -> None:
        """Close the store and end the actor."""
        ray.get(self.handle.close.remote())
        ray.kill(self.handle)


def disk_bytes(path: Path) -> int:
    """Return the space that all files under the path take on the disk, in bytes."""
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def model(index: int) -> ModelId:
    """Return the id of the bench's personal model number ``index``."""
    return ModelId("bench", f"person-{index}")


async def many(
    count: int,
    call: Callable[[int], Awaitable[object]],
    step: str,
    report: Report,
    *,
    concurrency: int = CONCURRENCY,
) -> list[float]:
    """Make ``count`` calls, ``concurrency`` at a time; return the seconds that each took, as they end."""
    times: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            await call(number)
            times.append(time.perf_counter() - started)
            if number % 1000 == 0:
                report(step.capitalize(), number / count)

    await asyncio.gather(*(worker() for _ in range(min(concurrency, count))))
    return times
