"""A directory with whose store another machine went on is refused by name, as what it is: the past."""

from pathlib import Path

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.cluster.doctor.doctor import check_journal
from populace.cluster.store_opening import open_store
from populace.settings.settings import Settings
from populace.storage.journal.attaching import attach
from populace.storage.journal.errors import (
    BucketRefused,
    BucketUnreachable,
    JournalNeeded,
    JournalTakenOver,
)
from populace.storage.journal.former import noted_journal, refuse_former, refuse_overtaken
from populace.storage.journal.journaled_files import JournaledFiles
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.shard_journal import ShardJournal, newest_epoch, shard_folder
from populace.storage.journal.shipping import State, put_row, stored_row
from populace.storage.store import Store
from tests.actors.backup_command import populace
from tests.actors.conftest import clock
from tests.actors.fakes import BASE
from tests.actors.test_joined_hosts import joined
from tests.actors.test_journaled_hosts import ADA, DAY_SECONDS, World, revision_of, world
from tests.actors.turns import take_turn, turn_of
from tests.storage.adapters import packed
from tests.storage.faulty_bucket import Fault, FaultyBucket

__all__ = ["clock", "world"]  # fixtures


def opened(world: World, path: Path, **changes: object) -> tuple[Store, list[str]]:
    reports: list[str] = []
    settings = Settings(data=path, journal=world.url, master_key=world.key)
    return open_store(settings.model_copy(update=changes), reports.append), reports


async def test_a_directory_that_another_machine_took_over_from_is_refused(world: World) -> None:
    first, second = world.store.path, joined(world)
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    assert noted_journal(first) == world.url
    refuse_former(first)
    with world.host(second) as host:
        await take_turn(host, turn_of(ADA, "two"), "Two.")

    with pytest.raises(JournalTakenOver, match="--take-over"):
        refuse_former(first)
    with pytest.raises(JournalTakenOver):
        opened(world, first)
    with pytest.raises(JournalTakenOver):
        opened(world, first, journal=None)
    assert check_journal(Settings(data=first, journal=world.url)).status == "warn"
    unlooked = check_journal(Settings(data=second.path, journal=world.url))
    assert (unlooked.status, unlooked.remedy) == ("warn", "say where it is with POPULACE_MASTER_KEY")
    settings = Settings(data=second.path, journal=world.url, master_key=world.key)
    assert check_journal(settings).status == "ok"
    unset = check_journal(Settings(data=second.path))
    assert (unset.status, unset.remedy) == ("warn", f"POPULACE_JOURNAL={world.url}")
    refuse_former(second.path)
    assert opened(world, second.path)[0].store_id == world.store.store_id
    assert opened(world, first, take_over=world.store.store_id)[0].path == first
    with world.host() as host:
        assert [turn.reply for turn in await host.read_log(ADA)] == ["The first.", "One.", "Two."]
    refuse_former(first)
    assert opened(world, first)[0].path == first
    with pytest.raises(JournalTakenOver):
        refuse_former(second.path)


async def test_a_restored_directory_is_current_and_the_former_one_is_not(world: World) -> None:
    with world.host():
        pass
    restored, _ = world.restore("new")
    refuse_former(restored.path)
    with world.host(restored):
        pass

    refuse_former(restored.path)
    with pytest.raises(JournalTakenOver):
        refuse_former(world.store.path)


async def test_a_journal_that_cannot_be_asked_is_said_and_keeps_nothing_from_being_served_without_it(
    world: World,
) -> None:
    with world.host():
        pass
    (world.root / "bucket").rename(world.root / "away")

    with pytest.raises(BucketRefused):
        refuse_former(world.store.path)
    _, reports = opened(world, world.store.path, journal=None)

    assert len(reports) == 1
    assert "Whether another machine went on" in reports[0]


async def test_a_store_that_is_served_without_its_journal_is_none_of_the_past(world: World) -> None:
    with world.host():
        pass
    host = ModelHost("alone", world.store, range(2), base=BASE.fingerprint, clock=world.clock)
    await take_turn(host, turn_of(ADA, "alone"), "Alone.")
    host.close()
    with world.host(joined(world)):
        pass

    refuse_former(world.store.path)
    opened(world, world.store.path, journal=None)


async def test_a_shard_that_is_being_made_of_its_journal_is_not_read_as_if_it_were_whole(
    world: World,
) -> None:
    with world.host():
        pass
    shard = world.store.open_shard(1, "a test")
    with shard.read(verbatim=True) as txn:
        row = stored_row(txn)
    assert row is not None
    shard.apply(lambda writer: put_row(writer, row._replace(state=State.REBUILDING)))
    shard.close()

    with pytest.raises(JournalNeeded):
        refuse_former(world.store.path)


def test_a_machine_that_was_stopped_while_it_claimed_is_not_taken_for_a_former_one(tmp_path: Path) -> None:
    store, bucket = Store.create_or_open(tmp_path / "store", 1), FaultyBucket()
    folder = shard_folder(store.store_id, 0)
    seal = JournalSeal(store.sealing.master_key, store.store_id)

    def own(fault: Fault | None) -> None:
        shard = store.open_shard(0, "a test")
        # The claim is answered, and what becomes of the data keys behind it is not known.
        bucket.faults = [None, fault]
        journal = ShardJournal(bucket, seal, folder, 0, owner="a test", now_ms=lambda: 1000)
        try:
            attach(shard, journal, NoAdapters(), is_sync=True)
        finally:
            shard.close()

    own(None)
    former = newest_epoch(bucket, folder)
    with pytest.raises(BucketUnreachable):
        own(Fault.UNANSWERED)

    assert newest_epoch(bucket, folder) > former
    refuse_overtaken(store.path, bucket)


class NoAdapters:
    """The store of these tests has none."""

    def keep(self, digest: str) -> None:
        raise AssertionError(digest)


async def test_commands_refuse_what_was_taken_over_unless_it_is_asked_for(world: World) -> None:
    with world.host():
        pass
    with world.host(joined(world)):
        pass
    backup, keys, first = world.root / "backup", world.root / "keys", world.store.path

    for command in (
        ("backup", backup, "--keys", keys, "--data", first),
        ("backup", "--keys", keys, "--keys-only", "--data", first),
        ("reshard", "3", "--data", first),
    ):
        refused = populace(*command)
        assert refused.returncode == 1
        assert "is not current any more" in " ".join(refused.stderr.split())
    assert not keys.exists()
    made = populace("backup", backup, "--keys", keys, "--data", first, "--stale")
    assert made.returncode == 0, made.stderr
    restore = ("restore", backup, "--keys", keys, "--data", world.root / "new", "--erasures-of", first)
    assert "is not current any more" in " ".join(populace(*restore).stderr.split())
    restored = populace(*restore, "--stale")
    assert restored.returncode == 0, restored.stderr
    assert open_bucket(noted_journal(first) or "").url == world.url


@pytest.mark.parametrize("is_sync", [True, False])
async def test_a_host_that_was_overtaken_removes_no_adapter_that_the_new_owner_has(
    world: World, is_sync: bool
) -> None:
    """It does not know of the new owner yet, and no model of its own directory has the adapter any more."""
    second = joined(world)
    ben, cyd = ModelId("acme", "ben"), ModelId("acme", "cyd")
    digest, size = world.store.revisions.add(packed("planted"))
    with world.host(is_sync=is_sync) as former:
        await former.create_model(ben, revision_of(digest, size))
        await former.erase_model(ben)
        with world.host(second, is_sync=is_sync) as newer:
            second.revisions.add(packed("planted"))
            await newer.create_model(cyd, revision_of(digest, size))

            await former.sweep_adapters()

            assert (await newer.list_revisions(cyd))[0].digest == digest
    options = JournalOptions(world.url, is_sync=True, keep_seconds=DAY_SECONDS)
    JournaledFiles(world.root / "elsewhere", world.store.store_id, options, world.key).verify(digest)
