"""A machine that cannot be a store node is refused by name before Ray starts there, and nothing is lost."""

import shutil
from pathlib import Path

import pytest

from populace.actors.errors import StartFailed
from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.cluster.doctor.checks import Check
from populace.cluster.doctor.nodes import check_store
from populace.cluster.joining.cluster_note import ClusterNote, own_versions
from populace.cluster.joining.store_directory import store_directory
from populace.settings.settings import Settings
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.description import describe
from populace.storage.journal.errors import BucketRefused, JournalElsewhere
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import MasterKeyRefused, PopulaceError, StoreInUse, StoreInvalid
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import take_turn, turn_of

HEAD = "head:6379"
SHARDS = 2
ADA = ModelId("acme", "ada")


class World:
    """A store that is served elsewhere, its journal, and a machine that is to join with a copy of the key."""

    def __init__(self, root: Path) -> None:
        self.bucket = f"file://{root}/bucket"
        (root / "bucket").mkdir()
        self.store = Store.create_or_open(root / "served", SHARDS)
        describe(open_bucket(self.bucket), self.store)
        self.settings = Settings(data=root / "joining", config=root / "config", cache=root / "cache")
        self.copy_key(root / "joining")

    def copy_key(self, data: Path) -> None:
        data.mkdir(exist_ok=True)
        shutil.copy(self.store.path / MASTER_KEY_FILE, data / MASTER_KEY_FILE)

    def note(self, **changes: str) -> ClusterNote:
        journaled = {"store": self.store.store_id, "journal": self.bucket} | changes
        return ClusterNote(
            "1",
            **own_versions(),
            engine="torch",
            gpus=0,
            base="b",
            fingerprint="f",
            base_directory="/b",
            **journaled,
        )

    async def talk(self, store: Store, operation: str, journal: str | None) -> None:
        """Make a turn of ada in a directory of the store, with or without the journal."""
        options = None if journal is None else JournalOptions(journal, True, 86_400.0)
        host = ModelHost(
            "host", store, range(SHARDS), base=BASE.fingerprint, clock=FakeClock(), journal=options
        )
        if operation == "first":
            await host.create_model(ADA)
        await take_turn(host, turn_of(ADA, operation))
        host.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def doctor(world: World, settings: Settings, **changes: str) -> Check:
    """What the doctor says before a join, for which it changes nothing."""
    before = sorted(world.settings.data.parent.rglob("*"))
    told = check_store(settings, HEAD, world.note(**changes), has_joined=False)
    assert sorted(world.settings.data.parent.rglob("*")) == before
    return told


def check_refused(world: World, error: type[PopulaceError], match: str, **changes: str) -> None:
    """A join is refused, and the doctor says so before in the same words."""
    told = doctor(world, world.settings, **changes)
    with (
        pytest.raises(error, match=match) as refused,
        store_directory(HEAD, world.note(**changes), world.settings),
    ):
        pass
    assert (told.status, told.detail) == ("fail", str(refused.value))


def test_a_directory_is_laid_out_and_held_and_the_same_machine_joins_again(world: World) -> None:
    settings = world.settings
    for _ in range(2):
        assert doctor(world, world.settings).status == "ok"
        with store_directory(HEAD, world.note(), settings):
            assert Store.open(settings.data).store_id == world.store.store_id
            # A `populace serve` does not get it, and hosts share it.
            with pytest.raises(StoreInUse, match=r"populace node join head:6379 --store"):
                DirectoryLock(settings.data, "populace serve")
            check_refused(world, StoreInUse, "populace node join head:6379 --store")
            DirectoryLock(settings.data, "host", is_shared=True).release()
            assert check_store(settings, HEAD, world.note(), has_joined=True).status == "ok"
    DirectoryLock(settings.data, "populace serve").release()


def test_the_doctor_makes_no_directory(world: World) -> None:
    absent, key = world.settings.data / "absent", world.settings.data / MASTER_KEY_FILE
    settings = world.settings.model_copy(update={"data": absent, "master_key": key})

    assert doctor(world, settings).status == "ok"


async def test_an_older_state_of_the_store_joins(world: World) -> None:
    """It catches up when hosts start there."""
    await world.talk(world.store, "first", world.bucket)
    world.settings.data.rename(world.settings.data.with_name("empty"))
    shutil.copytree(world.store.path, world.settings.data)
    await world.talk(world.store, "second", world.bucket)

    assert doctor(world, world.settings).status == "ok"
    with store_directory(HEAD, world.note(), world.settings):
        pass


async def test_a_state_that_left_the_journal_is_refused_and_kept(world: World) -> None:
    await world.talk(world.store, "first", world.bucket)
    shutil.rmtree(world.settings.data)
    shutil.copytree(world.store.path, world.settings.data)
    await world.talk(Store.open(world.settings.data), "alone", None)

    check_refused(world, JournalElsewhere, "was served without it")
    assert len(list((world.settings.data / "shards").iterdir())) == SHARDS


async def test_a_state_of_another_journal_is_refused(world: World, tmp_path: Path) -> None:
    await world.talk(world.store, "first", world.bucket)
    shutil.rmtree(world.settings.data)
    shutil.copytree(world.store.path, world.settings.data)
    (tmp_path / "another").mkdir()
    another = f"file://{tmp_path}/another"
    describe(open_bucket(another), world.store)

    check_refused(world, JournalElsewhere, "follows another one", journal=another)


def test_a_cluster_without_a_journal_takes_no_store_node(world: World) -> None:
    check_refused(world, StartFailed, r"keeps no journal.* POPULACE_JOURNAL", store="", journal="")


def test_a_journal_that_this_machine_does_not_see_is_named(world: World, tmp_path: Path) -> None:
    absent = f"file://{tmp_path}/not-mounted"
    check_refused(world, BucketRefused, "mount its disk", journal=absent)
    (tmp_path / "not-mounted" / ".incoming").mkdir(parents=True)
    check_refused(world, StartFailed, "mounted at the same path", journal=absent)


def test_the_directory_of_another_store_is_refused(world: World) -> None:
    shutil.rmtree(world.settings.data)
    theirs = Store.create_or_open(world.settings.data, SHARDS)

    check_refused(world, StoreInvalid, theirs.store_id)
    assert Store.open(world.settings.data).store_id == theirs.store_id


def test_the_directory_of_another_program_is_refused(world: World) -> None:
    (world.settings.data / "photo").touch()
    check_refused(world, StoreInvalid, "it holds other files, such as 'photo'")


def test_a_directory_that_is_served_is_refused(world: World) -> None:
    with DirectoryLock(world.settings.data, "populace serve at http://127.0.0.1:8000"):
        check_refused(world, StoreInUse, "populace serve at")


@pytest.mark.parametrize("key", [None, b"0" * 32])
def test_a_machine_without_the_key_of_the_store_is_refused(world: World, key: bytes | None) -> None:
    file = world.settings.data / MASTER_KEY_FILE
    file.unlink()
    if key is not None:
        file.write_bytes(key)

    check_refused(world, MasterKeyRefused, str(file))
