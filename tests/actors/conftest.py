"""Hosts for each test, whose books must balance and whose mailboxes must be empty when it ends."""

import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import Engine
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import Hosts
from populace.actors.keepers.sentence_vectors import SentenceEncoder
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock
from tests.actors.populations import (
    SHARDS,
    local_directory,
    local_hosts,
    ray_directory,
    ray_hosts,
    ray_running,
)
from tests.actors.turns import wait_waiting

FOLDER = Path(__file__).parent

MakeHost = Callable[..., ModelHost]

_tenants = itertools.count()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create_or_open(tmp_path / "store", SHARDS)


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has: on Ray, tests share hosts."""
    return f"tenant-{next(_tenants)}"


class SharedRay(contextlib.ExitStack):
    """Two hosts on one Ray for all tests of this folder; the tests beside it start Rays of their own."""

    hosts: tuple[Store, list[Any]] | None = None

    def start(self, path: Path) -> tuple[Store, list[Any]]:
        """Answer the hosts; the first call starts them."""
        if self.hosts is None:
            self.enter_context(ray_running())
            self.hosts = self.enter_context(ray_hosts(path))
        return self.hosts

    def stop(self) -> None:
        self.hosts = None
        self.close()


_shared_ray = SharedRay()


@pytest.fixture
def two_ray_hosts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Any]]:
    return _shared_ray.start(tmp_path_factory.mktemp("ray") / "store")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None]:
    """Stop the shared Ray with the last test of this folder."""
    yield
    if nextitem is None or FOLDER not in nextitem.path.parents:
        _shared_ray.stop()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
async def hosts(request: pytest.FixtureRequest) -> AsyncGenerator[Hosts]:
    """Two hosts behind a directory, in this process and on Ray, where one test of each verb is enough."""
    if request.param == "ray":
        store, handles = request.getfixturevalue("two_ray_hosts")
        directory = ray_directory(handles, store)
        yield directory
        await wait_waiting(directory, 0)
        for handle in handles:
            await handle.check_integrity.remote()
    else:
        store = request.getfixturevalue("store")
        local = local_hosts(store, request.getfixturevalue("clock"))
        directory = local_directory(local, store)
        yield directory
        await wait_waiting(directory, 0)
        for host in local:
            host.check_integrity()
            host.close()
            host.check_integrity()


@pytest.fixture
async def make_host(store: Store, clock: FakeClock) -> AsyncGenerator[MakeHost]:
    """Start a host over all shards of the store; one that is still open at the end is closed then."""
    made: list[ModelHost] = []

    def make(
        *,
        engine: Engine | None = None,
        limits: HostLimits | None = None,
        home: Store | None = None,
        community: str | None = None,
        encoder: SentenceEncoder | None = None,
    ) -> ModelHost:
        served = home or store
        host = ModelHost(
            f"host-{len(made)}",
            served,
            range(served.shards),
            base=BASE.fingerprint,
            clock=clock,
            engine=engine,
            limits=limits,
            community=community,
            encoder=encoder,
        )
        made.append(host)
        return host

    yield make
    for host in made:
        host.check_integrity()
        host.close()
        host.check_integrity()
    assert clock.timers == 0


@pytest.fixture
def host(make_host: MakeHost) -> ModelHost:
    return make_host()
