# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""A `populace serve` on a node without the store finds the one that has it, and opens it there."""

import asyncio
from pathlib import Path

import pytest

from populace.actors.errors import StartFailed
from populace.cluster.joining.store_directory import store_directory
from populace.cluster.other_store import OtherStore, Place, check_one_store, reached_at, store_place
from populace.hosting.store_node import STORE_LABELS
from populace.settings.errors import SettingsError
from populace.settings.running import Running, find_running
from populace.settings.settings import Settings
from populace.storage.directory_lock import DirectoryLock
from populace.storage.records.errors import StoreInUse
from populace.storage.store import Store
from scripts.bench.ports import free_port
from tests.actors.ray_nodes import ray_nodes
from tests.runtime.cluster.test_store_directory import HEAD, World
from tests.small_base import make_small_base

pytestmark = pytest.mark.ray

SHARDS = 2


def place(node: str, store_id: str | None) -> Place:
    return Place(node, f"machine-{node}", "10.0.0.1", f"/data/{node}", store_id)


def test_copies_of_a_store_are_one_store_with_a_journal_only() -> None:
    check_one_store([place("a", "1")], has_journal=False)
    check_one_store([place("a", "1"), place("b", "1")], has_journal=True)

    with pytest.raises(StartFailed, match=r"a copy of the store: machine-a .*; machine-b .*POPULACE_JOURNAL"):
        check_one_store([place("a", "1"), place("b", "1")], has_journal=False)
    for has_journal in (True, False):
        with pytest.raises(
            StartFailed, match=r"stores of their own: machine-a .* has 1 .*machine-b .* has 2"
        ):
            check_one_store([place("a", "1"), place("b", "2")], has_journal=has_journal)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("0.0.0.0", "http://10.0.0.7:8000"),
        ("10.0.0.9", "http://10.0.0.9:8000"),
        ("box.example.org", "http://box.example.org:8000"),
        ("::", "http://10.0.0.7:8000"),
        ("127.0.0.1", None),
        ("::1", None),
    ],
)
def test_a_gateway_on_another_node_needs_an_address_that_others_reach(
    host: str, expected: str | None
) -> None:
    settings = Settings(host=host)
    if expected is None:
        with pytest.raises(SettingsError, match=r"POPULACE_HOST .* name 10\.0\.0\.7 or 0\.0\.0\.0"):
            reached_at(settings, "10.0.0.7")
    else:
        assert reached_at(settings, "10.0.0.7") == expected


@pytest.mark.engine
def test_the_store_is_found_and_opened_and_held_on_its_own_node(
    tmp_path: Path, base_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    base = make_small_base(tmp_path / "base", base_directory)
    first, second, here = tmp_path / "first", tmp_path / "second", tmp_path / "here"
    variables = [{}, *({"POPULACE_DATA": str(data), "POPULACE_BASE": str(base)} for data in (first, second))]
    monkeypatch.delenv("POPULACE_DATA", raising=False)
    port = free_port()
    settings = Settings(
        data=here,
        ray_address="auto",
        cache=tmp_path / "cache",
        host="0.0.0.0",
        port=port,
        shards=SHARDS,
        encoder="none",
        memory_module="none",
    )
    told: list[str] = []
    with ray_nodes([{}, STORE_LABELS, STORE_LABELS], variables=variables):
        store = Store.create_or_open(first, SHARDS)
        found = store_place(settings, told.append)
        assert found is not None
        assert (found.data, found.store_id) == (str(first), store.store_id)
        assert str(first) in told[-1]

        with OtherStore(found, settings) as keeper:
            side = keeper.open("torch")
            assert (side.store_id, side.shards, side.node) == (store.store_id, SHARDS, found.node)
            assert (side.settings.data, side.base.directory) == (first, base)
            assert side.url == f"http://{found.address}:{port}"
            DirectoryLock(first, "what it serves is ended first").release()
            keeper.take()
            with pytest.raises(StoreInUse, match="populace serve"):
                DirectoryLock(first, "another")
            keeper.note(Running("ray", side.url, 1, side.store_id))
            assert find_running(first).url == side.url

            with OtherStore(found, settings) as other, pytest.raises(StoreInUse, match="populace serve"):
                other.open("torch")
        DirectoryLock(first, "another").release()
        assert not here.exists()

        # A machine with the label and nothing does not begin a store beside it; one with another is named.
        theirs = Store.create_or_open(second, SHARDS)
        with pytest.raises(
            StartFailed,
            match=rf"{store.store_id} in {first}.*{theirs.store_id} in {second}|"
            rf"{theirs.store_id} in {second}.*{store.store_id} in {first}",
        ):
            store_place(settings, told.append)


@pytest.mark.release("cluster")
async def test_of_several_copies_of_a_store_the_one_that_was_served_last_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    first, second = world.store.path, world.settings.data
    monkeypatch.delenv("POPULACE_DATA", raising=False)
    settings = Settings(data=tmp_path / "here", ray_address="auto", journal=world.bucket)
    variables = [{}, {"POPULACE_DATA": str(first)}, {"POPULACE_DATA": str(second)}]
    with ray_nodes([{}, STORE_LABELS, STORE_LABELS], variables=variables):

        async def chosen() -> Path:
            place = await asyncio.to_thread(store_place, settings, print)
            assert place is not None
            return Path(place.data)

        await world.talk(world.store, "first", world.bucket)
        with store_directory(HEAD, world.note(), world.settings):
            assert await chosen() == first, "the other one has only joined"
        await world.talk(Store.open(second), "second", world.bucket)
        assert await chosen() == second
        await world.talk(Store.open(first), "third", world.bucket)
        assert await chosen() == first
