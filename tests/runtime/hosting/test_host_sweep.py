"""The sweep goes on for as long as its host does."""

import asyncio
import shutil
from contextlib import suppress
from dataclasses import replace

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.hosting import host_sweep
from populace.hosting.host_sweep import sweep
from populace.storage.shards.ownership import stored_served_ms
from populace.storage.store import Store
from tests.actors.conftest import MakeHost, clock, make_host, store
from tests.actors.fakes import BASE, FakeClock
from tests.actors.populations import SHARDS
from tests.actors.test_compaction import ADA, BEN, bytes_of
from tests.actors.test_journaled_hosts import revision_of
from tests.actors.turns import take_turn, turn_of, wait_until
from tests.limits import HANG_SECONDS
from tests.storage.adapters import packed

__all__ = ["clock", "make_host", "store"]  # fixtures


@pytest.fixture
async def eager(make_host: MakeHost) -> ModelHost:
    host = make_host(limits=replace(HostLimits(), shard_free_bytes_min=1))
    for model in (ADA, BEN):
        await host.create_model(model)
    await take_turn(host, turn_of(BEN), text="deleted" * 40_000)
    await host.erase_model(BEN)
    return host


async def test_a_sweep_that_fails_is_logged_and_the_next_one_tries_again(
    eager: ModelHost, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = bytes_of(store)

    def fail(path: object) -> object:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(shutil, "disk_usage", fail)
    sweeping = asyncio.create_task(sweep(eager, seconds=0.001))
    async with asyncio.timeout(HANG_SECONDS):
        while bytes_of(store) > before / 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping

    assert caplog.text.count("a sweep of") == 1


async def test_a_sweep_says_if_the_books_do_not_balance_and_goes_on(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host_sweep, "COMPACTION_SWEEPS", 1)
    host = make_host()
    sweeping = asyncio.create_task(sweep(host, seconds=0.001))

    def said() -> int:
        return caplog.text.count("the books of host-0 do not balance")

    async def is_time_recorded() -> bool:
        return all(served_ms(host, number) is not None for number in range(SHARDS))

    async def is_said_twice() -> bool:
        return said() >= 2

    await wait_until(is_time_recorded)
    assert said() == 0
    host._active.resident_bytes += 1
    await wait_until(is_said_twice)
    host._active.resident_bytes -= 1
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


async def test_a_node_that_does_not_answer_holds_up_nothing_else(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_sweep, "COMPACTION_SWEEPS", 1)
    is_asked = asyncio.Event()

    async def erase_from_nodes(_: frozenset[str]) -> None:
        is_asked.set()
        await asyncio.Event().wait()

    async def is_passive() -> bool:
        return not list(host._active)

    host = ModelHost(
        "host",
        store,
        range(store.shards),
        base=BASE.fingerprint,
        clock=clock,
        erase_from_nodes=erase_from_nodes,
    )
    digest, size = store.revisions.add(packed("bens"))
    await host.create_model(BEN, revision_of(digest, size))
    await host.erase_model(BEN)
    sweeping = asyncio.create_task(sweep(host, seconds=0.001))
    await asyncio.wait_for(is_asked.wait(), HANG_SECONDS)

    await host.create_model(ADA)
    await take_turn(host, turn_of(ADA))
    assert list(host._active)
    clock.advance(HostLimits().idle_seconds_max + 1)
    await wait_until(is_passive)

    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping
    await asyncio.sleep(0)
    host.close()


def served_ms(host: ModelHost, number: int) -> int | None:
    with host._owned.read(number) as transaction:
        return stored_served_ms(transaction)
