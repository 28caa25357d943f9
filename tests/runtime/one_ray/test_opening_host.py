"""A host whose store cannot be opened is there, says so, and serves once it can be."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from populace.actors.errors import HostUnavailable
from populace.actors.turn import ModelId
from populace.hosting import opening_host
from populace.hosting.host_actor import HostActor
from populace.policies.placement import shard_of
from populace.storage.records.errors import ShardUnavailable
from populace.storage.store import Store
from tests.actors.populations import SHARDS, host_options, ray_directory, ray_hosts
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS

NAMES = tuple(f"ada-{number}" for number in range(8 * SHARDS))


async def test_an_actor_whose_store_is_away_says_so_and_serves_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_host, "WAIT_SECONDS_MAX", 0.05)
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    header = store.path / "store.json"
    away = header.rename(tmp_path / "away.json")

    actor = HostActor(host_options(store))
    try:
        assert (await actor.describe()).shards == SHARDS
        with pytest.raises(
            HostUnavailable, match=r"it is starting|its store cannot be opened \(store_invalid\)"
        ):
            await actor.call("list_models", "acme")

        away.rename(header)
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                try:
                    page = await actor.call("list_models", "acme")
                    break
                except HostUnavailable:
                    continue
        assert page.models == ()
    finally:
        await actor.close()


async def test_an_actor_whose_store_is_away_can_be_closed(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    (store.path / "store.json").unlink()

    async with asyncio.timeout(HANG_SECONDS):
        await HostActor(host_options(store)).close()


@pytest.mark.ray
@pytest.mark.usefixtures("one_ray")
async def test_a_host_that_is_killed_with_a_damaged_shard_comes_back_and_serves_the_others(
    tmp_path: Path,
) -> None:
    with ray_hosts(tmp_path / "store", hosts=1) as (store, [handle]):
        directory = ray_directory([handle], store)
        model_of = {shard_of("acme", name, SHARDS): ModelId("acme", name) for name in NAMES}
        for model in model_of.values():
            await directory.create_model(model)
            await take_turn(directory, turn_of(model), "kept")
        damaged, *others = sorted(model_of)
        [data] = store.shard_path(damaged).rglob("data.mdb")
        process = await process_of(handle)

        sound = data.read_bytes()[:4096]
        overwrite(data, bytes(4096))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        successor = await process_of(handle)

        assert successor.pid != process.pid
        for number in others:
            assert [turn.reply for turn in await directory.read_log(model_of[number])] == ["kept"]
        with pytest.raises(ShardUnavailable, match=f"Shard {damaged} cannot be opened"):
            await directory.read_log(model_of[damaged])

        overwrite(data, sound)
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                try:
                    log = await directory.read_log(model_of[damaged])
                    break
                except ShardUnavailable:
                    await asyncio.sleep(0.1)
        assert [turn.reply for turn in log] == ["kept"]
        await asyncio.to_thread(ray.get, handle.check_integrity.remote())


def overwrite(data: Path, page: bytes) -> None:
    """Replace the first page in place: the file may be mapped."""
    with data.open("r+b") as file:
        file.write(page)


async def process_of(handle: Any) -> psutil.Process:
    """The host's process; waits for one that restarts."""
    return psutil.Process(await handle.process_id.options(max_task_retries=-1).remote())
