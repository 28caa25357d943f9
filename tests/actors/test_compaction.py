"""A host gives freed disk back while it serves, and loses a shard that it may not compact any more."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ModelId
from populace.policies.placement import shard_of
from populace.storage.records.errors import Fenced
from populace.storage.shards.environments import MAP_BYTES
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.populations import SHARDS
from tests.actors.test_succession import replace_owner
from tests.actors.turns import take_turn, turn_of
from tests.storage.test_compaction import copies_of, leave_free

BEN = ModelId("acme", "ben")
ADA = next(
    ModelId("acme", f"ada-{number}")
    for number in range(1000)
    if shard_of("acme", f"ada-{number}", SHARDS) == shard_of(*BEN, SHARDS)
)
"""In Ben's shard."""


def bytes_of(store: Store) -> int:
    """Measure the shards' files, also while one is replaced by another."""
    total = 0
    for directory, _, names in os.walk(store.path):
        with suppress(FileNotFoundError):
            total += sum((Path(directory) / name).stat().st_size for name in names if name == "data.mdb")
    return total


@pytest.fixture
async def eager(make_host: MakeHost) -> ModelHost:
    """A host that finds every free page worth it, with free pages."""
    host = make_host(limits=replace(HostLimits(), shard_free_bytes_min=1))
    for model in (ADA, BEN):
        await host.create_model(model)
    await take_turn(host, turn_of(ADA, "op-1"), text="kept")
    for number in range(4):
        await take_turn(host, turn_of(BEN, f"op-{number}"), text="deleted" * 20_000)
    await host.erase_model(BEN)
    return host


async def test_a_host_compacts_what_is_mostly_free_and_goes_on(eager: ModelHost, store: Store) -> None:
    before = bytes_of(store)

    assert await eager.compact_shards() >= 1

    assert bytes_of(store) < before / 2
    assert [made.reply for made in await eager.read_log(ADA)] == ["kept"]
    assert (await take_turn(eager, turn_of(ADA, "op-2"))).position == 1
    assert [host.active for host in await eager.statistics()] == [1]


async def test_a_host_leaves_a_file_alone_that_is_not_worth_it(host: ModelHost, store: Store) -> None:
    await host.create_model(ADA)
    files = set(store.path.rglob("data.mdb"))

    assert await host.compact_shards() == 0

    assert set(store.path.rglob("data.mdb")) == files


async def test_a_host_on_a_full_disk_goes_on_with_the_file_that_it_has(
    eager: ModelHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    leave_free(monkeypatch, 0)

    assert await eager.compact_shards() == 0

    assert "0 are free" in caplog.text
    assert (await take_turn(eager, turn_of(ADA, "op-2"))).position == 1


async def test_a_fenced_host_compacts_nothing_and_loses_the_shard(eager: ModelHost, store: Store) -> None:
    replace_owner(store)

    assert await eager.compact_shards() == 0

    assert [host.active for host in await eager.statistics()] == [0]
    with pytest.raises(Fenced):
        await eager.begin_turn(turn_of(ADA, "op-2"))


async def test_a_shard_is_compacted_for_whom_it_erased_however_small_it_is(
    host: ModelHost, store: Store, clock: FakeClock
) -> None:
    for model in (ADA, BEN):
        await host.create_model(model)
        await take_turn(host, turn_of(model, "op"), text="said")
    name = b"ben\0"
    assert copies_of(name, store.path) > 0
    await host.erase_model(BEN)
    assert copies_of(name, store.path) > 0

    # At least as long as such a small shard gathers erasures.
    clock.advance(1)
    assert await host.compact_shards() == 1

    assert copies_of(name, store.path) == 0
    assert [made.reply for made in await host.read_log(ADA)] == ["said"]
    assert await host.compact_shards() == 0


async def test_statistics_show_what_a_compaction_gives_back(eager: ModelHost, store: Store) -> None:
    (before,) = await eager.statistics()
    await eager.compact_shards()
    (after,) = await eager.statistics()

    assert before.store.free_bytes > before.store.file_bytes / 2
    assert after.store.free_bytes < before.store.free_bytes / 10
    live = [one.store.file_bytes - one.store.free_bytes for one in (before, after)]
    assert live[0] == live[1]
    assert after.store.file_bytes == bytes_of(store)
    assert after.store.map_bytes == SHARDS * MAP_BYTES
    assert 0 < after.store.map_share < 1
    assert after.store.reader_slots >= 1
    assert (after.store.long_reads, after.store.full_maps) == (0, 0)
    assert after.store.disk_free_bytes > 0
