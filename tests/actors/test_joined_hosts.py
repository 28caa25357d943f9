"""A store goes on from its journal in another directory: laid out empty, or an old one that comes back."""

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from populace.actors.keepers.adapter_files import FETCHES_MAX
from populace.actors.turn import TurnGrant
from populace.settings.environment import process_environment
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.errors import JournalDamaged, JournalOfOthers, StoreNotNamed
from populace.storage.journal.joining import join_store, refuse_others
from populace.storage.journal.journaled_files import JournaledFiles
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import Fenced, MasterKeyRefused, PopulaceError, StoreInUse, StoreInvalid
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import Store
from tests.actors.conftest import clock
from tests.actors.test_journaled_hosts import ADA, BOB, DAY_SECONDS, World, revision_of, world
from tests.actors.turns import reply, take_turn, turn_of
from tests.storage.adapters import packed

__all__ = ["clock", "world"]  # fixtures


def joined(world: World, name: str = "second") -> Store:
    return join_store(
        open_bucket(world.url),
        world.root / name,
        store_id=world.store.store_id,
        shards=2,
        master_key=world.key,
    )


def adapters_in(store: Store) -> set[str]:
    return {file.name.removesuffix(".adapter") for file in (store.path / "revisions").glob("*.adapter")}


async def test_an_empty_directory_becomes_the_store_and_fences_the_first_one(world: World) -> None:
    with world.host() as host:
        made = await take_turn(host, turn_of(ADA, "one"), "One.")

        second = joined(world)
        with world.host(second) as other:
            again = await other.begin_turn(turn_of(ADA, "one"))
            assert not isinstance(again, TurnGrant)
            assert (again.position, again.reply, again.replayed) == (made.position, "One.", True)
            await take_turn(other, turn_of(BOB, "two"), "Two.")

            for model in (ADA, BOB):
                with pytest.raises(Fenced):
                    await take_turn(host, turn_of(model, "late"), "Late.")


async def test_a_turn_is_granted_once_its_adapter_is_here(world: World) -> None:
    with world.host():
        pass
    [shared] = adapters_in(world.store)
    second = joined(world)
    with world.host(second) as host:
        assert adapters_in(second) == set()

        grant = await host.begin_turn(turn_of(ADA, "one"))

        assert isinstance(grant, TurnGrant)
        assert grant.adapter is not None
        assert grant.adapter.digest == shared
        second.revisions.verify(shared)
        await host.finish_turn(grant, reply("One."))


async def test_no_turn_is_granted_while_its_adapter_cannot_be_fetched(world: World) -> None:
    with world.host():
        pass
    second = joined(world)
    folder = world.root / "bucket" / world.store.store_id / "adapters"
    with world.host(second) as host:
        folder.rename(world.root / "adapters")
        folder.write_text("a file is in its place")

        with pytest.raises(PopulaceError, match="object store"):
            await host.begin_turn(turn_of(ADA, "one"))
        with pytest.raises(PopulaceError, match="object store"):
            await host.begin_peek(turn_of(ADA, "peek"))

        folder.unlink()
        (world.root / "adapters").rename(folder)
        assert (await take_turn(host, turn_of(ADA, "one"), "One.")).position == 1


async def test_an_adapter_that_is_damaged_on_this_disk_comes_from_the_journal_anew(world: World) -> None:
    [shared] = adapters_in(world.store)
    file = world.store.path / "revisions" / f"{shared}.adapter"
    whole = file.read_bytes()
    damaged = whole[:-1] + bytes((whole[-1] ^ 1,))
    with world.host():
        pass
    file.write_bytes(damaged)

    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
        assert file.read_bytes() == whole

    file.write_bytes(damaged)
    for found in open_bucket(world.url).names(f"{world.store.store_id}/adapters"):
        open_bucket(world.url).remove([found.name])
    with world.host() as host, pytest.raises(StoreInvalid, match="damaged"):
        await host.begin_turn(turn_of(ADA, "two"))


async def test_the_other_adapters_are_fetched_in_the_background_once(world: World) -> None:
    digest, size = world.store.revisions.add(packed("older"))
    with world.host() as host:
        await host.publish_revision(ADA, revision_of(digest, size), "canary")
    second = joined(world)
    with world.host(second) as host:
        assert await host._adapter_files.fetch_absent() == 2
        assert adapters_in(second) == adapters_in(world.store)
        assert await host._adapter_files.fetch_absent() == 0


async def test_a_damaged_adapter_does_not_keep_the_others_from_being_fetched(world: World) -> None:
    with world.host() as host:
        for number in range(2 * FETCHES_MAX):
            digest, size = world.store.revisions.add(packed(f"more-{number}"))
            await host.publish_revision(ADA, revision_of(digest, size), f"alias-{number}")
    second = joined(world)
    first, *others = sorted(adapters_in(world.store))
    [damaged] = (world.root / "bucket" / world.store.store_id / "adapters" / first).iterdir()
    damaged.write_bytes(b"damaged")
    with world.host(second) as host:
        assert await host._adapter_files.fetch_absent() == len(others)
        assert adapters_in(second) == set(others)
        with pytest.raises(JournalDamaged):
            await host._adapter_files.fetch(first)
        assert await host._adapter_files.fetch_absent() == 0


async def test_what_a_killed_download_leaves_goes_with_an_erasure(world: World) -> None:
    """It is a person's adapter in plain: it must be nowhere where no erasure looks."""
    (world.root / "temporary").mkdir()
    with world.host():
        pass
    second = joined(world)
    [digest] = adapters_in(world.store)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from populace.storage.journal.journaled_files import JournaledFiles\n"
        "from populace.storage.journal.options import JournalOptions\n"
        "from populace.storage.revisions import RevisionFiles\n"
        "RevisionFiles.add = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "options = JournalOptions(sys.argv[3], is_sync=True, keep_seconds=1.0)\n"
        "JournaledFiles(Path(sys.argv[1]), sys.argv[2], options, Path(sys.argv[4])).here(sys.argv[5])\n"
    )
    arguments = [str(second.path), second.store_id, world.url, str(world.key), digest]
    environment = process_environment(TMPDIR=str(world.root / "temporary"))
    command = [sys.executable, "-c", code, *arguments]
    killed = await asyncio.to_thread(subprocess.run, command, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not list((world.root / "temporary").iterdir())
    assert [path.stat().st_size > 0 for path in second.revisions.root.glob(".incoming-*/*")] == [True]

    with world.host(second) as host:
        await host.erase_model(BOB)
        await host.sweep_adapters()
    assert not list(second.revisions.root.glob(".incoming-*"))


async def test_a_directory_that_comes_back_catches_up_and_can_take_over_again(world: World) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    second = joined(world)
    with world.host(second) as host:
        await take_turn(host, turn_of(ADA, "two"), "Two.")
        await host.erase_model(BOB)

    only_bobs = world.store.revisions.add(packed("of-bob-and-gone"))[0]
    assert joined(world, "data").path == world.store.path
    with world.host(world.store) as host:
        assert await host.sweep_adapters() == 1
        assert only_bobs not in adapters_in(world.store)
        assert [turn.reply for turn in await host.read_log(ADA)] == ["The first.", "One.", "Two."]
        with pytest.raises(PopulaceError, match="bob"):
            await host.show_model(BOB)
    with world.host(second) as host:
        assert (await take_turn(host, turn_of(ADA, "three"), "Three.")).position == 3


async def test_an_adapter_that_is_added_on_another_machine_is_fetched_by_the_host(world: World) -> None:
    """The gateway may be on one store node and a model's host on another."""
    options = JournalOptions(world.url, is_sync=True, keep_seconds=DAY_SECONDS)
    elsewhere = JournaledFiles(world.root / "gateway", world.store.store_id, options, world.key)
    with world.host() as host:
        digest, size = elsewhere.add(packed("elsewhere"))
        await host.publish_revision(ADA, revision_of(digest, size))
        grant = await host.begin_turn(turn_of(ADA, "one"))
        assert isinstance(grant, TurnGrant)
        assert grant.adapter is not None
        assert grant.adapter.digest == digest
        world.store.revisions.verify(digest)
        await host.abandon_turn(grant, "seen")

    [shared] = adapters_in(world.store) - {digest}
    assert not elsewhere.has(shared)
    elsewhere.verify(shared)


async def test_a_stray_on_this_disk_is_not_removed_from_the_journal(world: World) -> None:
    """Another machine may have just brought it there, for a model that is about to have it."""
    options = JournalOptions(world.url, is_sync=True, keep_seconds=DAY_SECONDS)
    elsewhere = JournaledFiles(world.root / "gateway", world.store.store_id, options, world.key)
    digest, size = world.store.revisions.add(packed("elsewhere"))
    elsewhere.add(packed("elsewhere"))
    with world.host() as host:
        assert await host.sweep_adapters() == 1
        assert digest not in adapters_in(world.store)

        await host.publish_revision(ADA, revision_of(digest, size))
        grant = await host.begin_turn(turn_of(ADA, "one"))

        assert isinstance(grant, TurnGrant)
        world.store.revisions.verify(digest)
        await host.abandon_turn(grant, "seen")


async def test_what_is_not_this_stores_directory_is_refused_with_what_to_do(world: World) -> None:
    with world.host():
        pass
    bucket, store_id = open_bucket(world.url), world.store.store_id
    other = Store.create_or_open(world.root / "other", 2)
    with pytest.raises(StoreInvalid, match=r"that of the store .* empty directory with POPULACE_DATA"):
        joined(world, "other")
    with pytest.raises(StoreInvalid, match="has 2 shards in its journal, and 3 are asked for"):
        join_store(bucket, world.root / "new", store_id=store_id, shards=3, master_key=world.key)
    assert not (world.root / "new").exists()
    with pytest.raises(StoreInvalid, match="it has 2 shards, and the store has 3"):
        Store.join(
            world.store.path, store_id=store_id, shards=3, key_id=world.store.sealing.master_key.key_id
        )
    (world.root / "foreign").mkdir()
    (world.root / "foreign" / "letter").touch()
    with pytest.raises(StoreInvalid, match="other files"):
        joined(world, "foreign")
    with pytest.raises(MasterKeyRefused, match=r"cannot be read"):
        join_store(bucket, world.root / "second", store_id=store_id)
    assert not (world.root / "second").exists()
    (world.root / "second").mkdir()
    shutil.copy(other.path / MASTER_KEY_FILE, world.root / "second" / MASTER_KEY_FILE)
    with pytest.raises(MasterKeyRefused, match="another store"):
        join_store(bucket, world.root / "second", store_id=store_id)
    with pytest.raises(StoreNotNamed, match=store_id):
        join_store(bucket, world.root / "second", store_id=other.store_id)
    with pytest.raises(JournalOfOthers, match=f"take-over.*{store_id}|{store_id}.*--take-over"):
        refuse_others(bucket, world.root / "new")


def test_hosts_of_one_node_share_a_directory_and_no_other_populace_takes_it(tmp_path: Path) -> None:
    first, second = (DirectoryLock(tmp_path, f"host {number}", is_shared=True) for number in range(2))
    with first, second, pytest.raises(StoreInUse, match="host 1"):
        DirectoryLock(tmp_path, "populace serve")
    with DirectoryLock(tmp_path, "populace serve"), pytest.raises(StoreInUse, match="populace serve"):
        DirectoryLock(tmp_path, "host 0", is_shared=True)
