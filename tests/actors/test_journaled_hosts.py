"""A host with a journal: its machine is lost, comes back as another one, and everyone is there."""

import json
import shutil
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from populace.policies.placement import shard_of
from populace.policies.reopening import SECONDS_AWAY_MAX
from populace.storage.journal.bucket import Listed
from populace.storage.journal.description import describe
from populace.storage.journal.directory_bucket import DirectoryBucket
from populace.storage.journal.errors import BucketUnreachable
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.journal.restoring import RestoredStore, restore_store
from populace.storage.records import journal_keys
from populace.storage.records.errors import Fenced, ModelNotFound, PopulaceError, ShardAway, ShardUnavailable
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import Store
from tests.actors.backup_command import populace
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS
from tests.storage.adapters import packed
from tests.storage.backups import stored_rows
from tests.storage.samples import TENANT

ADA, BOB = ModelId(TENANT, "ada"), ModelId(TENANT, "bob")
DAY_SECONDS = 86_400.0


def quiet(step: str, share: float) -> None:
    assert 0 <= share <= 1, step


def of_models(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in rows.items() if not journal_keys.is_of_shard(key)}


def revision_of(digest: str, size: int) -> Revision:
    return Revision(digest, BASE.fingerprint, "import", None, 8, size, 1)


class World:
    """A store with two people, a bucket, and the master key that is kept elsewhere."""

    def __init__(self, root: Path, clock: FakeClock) -> None:
        self.root = root
        self.clock = clock
        self.store = Store.create_or_open(root / "data", 2)
        self.key = root / MASTER_KEY_FILE
        shutil.copy(root / "data" / MASTER_KEY_FILE, self.key)
        (root / "bucket").mkdir()
        self.url = f"file://{root}/bucket"
        describe(open_bucket(self.url), self.store)

    async def fill(self) -> None:
        """Two people with turns and an adapter that both have, from before there was a journal."""
        digest, size = self.store.revisions.add(packed("shared"))
        shared = revision_of(digest, size)
        host = ModelHost("host", self.store, range(2), base=BASE.fingerprint, clock=self.clock)
        for model in (ADA, BOB):
            await host.create_model(model, shared)
            await take_turn(host, turn_of(model, "first"), "The first.")
        host.close()

    @contextmanager
    def host(self, store: Store | None = None, *, is_sync: bool = True) -> Generator[ModelHost]:
        served = store or self.store
        host = ModelHost(
            "host",
            served,
            range(served.shards),
            base=BASE.fingerprint,
            clock=self.clock,
            journal=JournalOptions(self.url, is_sync, DAY_SECONDS),
        )
        try:
            yield host
            host.check_integrity()
        finally:
            host.close()

    def restore(self, name: str, at_ms: int | None = None) -> tuple[Store, RestoredStore]:
        restored = restore_store(open_bucket(self.url), self.root / name, self.key, report=quiet, at_ms=at_ms)
        return Store.open(self.root / name), restored


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> World:
    world = World(tmp_path, clock)
    await world.fill()
    return world


@pytest.mark.parametrize("is_sync", [True, False])
async def test_a_lost_machine_loses_no_one(world: World, is_sync: bool) -> None:
    with world.host(is_sync=is_sync) as host:
        made = await take_turn(host, turn_of(ADA, "new"), "This is new.")
        digest, size = world.store.revisions.add(packed("new"))
        new = revision_of(digest, size)
        await host.publish_revision(ADA, new)
    before = stored_rows(world.store)
    adapters = {file.name for file in (world.store.path / "revisions").glob("*.adapter")}
    assert len(adapters) == 2
    shutil.rmtree(world.root / "data")

    store, restored = world.restore("new")

    assert (restored.models, restored.lacking) == (2, 0)
    assert {file.name for file in (store.path / "revisions").glob("*.adapter")} == adapters
    assert [of_models(rows) for rows in stored_rows(store)] == [of_models(rows) for rows in before]
    for adapter in adapters:
        store.revisions.verify(adapter.removesuffix(".adapter"))
    with world.host(store, is_sync=is_sync) as host:
        [interaction] = await host.read_log(ADA, start=made.position, limit=1)
        assert interaction.reply == "This is new."
        again = await host.begin_turn(turn_of(ADA, "new"))
        assert again == replace(made, replayed=True), "a retry finds its turn"


@pytest.mark.slow
async def test_a_damaged_adapter_of_the_journal_is_named_and_all_else_is_restored(world: World) -> None:
    """The command says what is left out and up to when it came, and does not end as if all were well."""
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "new"), "This is new.")
        digest, size = world.store.revisions.add(packed("new"))
        await host.publish_revision(ADA, revision_of(digest, size))
    [file] = (world.root / "bucket").rglob(f"adapters/{digest}/*")
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    asked = (world.url, "--master-key", world.key, "--data", world.root / "new", "--json")
    done = populace("restore", *asked)

    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["models"], told["damaged"], told["lacking"]) == (2, [digest], 0)
    assert [shard["number"] for shard in told["shards"]] == [0, 1]
    assert max(shard["commit"] for shard in told["shards"]) > 0
    store = Store.open(world.root / "new")
    with world.host(store) as host:
        assert [turn.reply for turn in await host.read_log(ADA)] == ["The first.", "This is new."]


@pytest.mark.slow
@pytest.mark.parametrize(("expected", "status"), [("1969-01-01", 0), ("2999-01-01T00:00", 1), ("soon", 1)])
async def test_a_check_says_whether_the_journal_has_what_is_expected_and_keeps_nothing(
    world: World, expected: str, status: int
) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "new"), "This is new.")
    before = set(world.root.iterdir())
    asked = (world.url, "--master-key", world.key, "--data", world.root / "new")

    done = populace("restore", *asked, "--check", "--expect", expected)

    assert done.returncode == status, done.stderr
    assert (expected in done.stderr) == bool(status)
    assert set(world.root.iterdir()) == before


async def test_the_former_machine_writes_nothing_more_and_its_people_are_elsewhere(world: World) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
        store, _ = world.restore("new")
        with world.host(store) as other:
            await take_turn(other, turn_of(ADA, "two"), "Two.")

            with pytest.raises(Fenced):
                await take_turn(host, turn_of(ADA, "three"), "Three.")

            assert (await take_turn(other, turn_of(ADA, "four"), "Four.")).position == 3


async def test_an_adapter_that_is_in_the_bucket_alone_is_found_for_other_machines(world: World) -> None:
    with world.host() as host:
        [file] = (world.store.path / "revisions").glob("*.adapter")
        digest, content = file.stem, file.read_bytes()
        file.unlink()

        assert host.find_adapter(digest) == file
        assert file.read_bytes() == content
        assert host.find_adapter("d" * 64) is None

        file.unlink()
        with ThreadPoolExecutor(1) as pool, world.store.revisions.alone():
            found = pool.submit(host.find_adapter, digest)
            assert not file.exists(), "it came back while adapters are removed"
            for name in open_bucket(world.url).names(f"{world.store.store_id}/adapters"):
                open_bucket(world.url).remove([name.name])
            assert not found.done(), "it did not wait for the removal"
        assert found.result(HANG_SECONDS) is None


async def test_an_erased_model_is_in_no_restore(world: World) -> None:
    with world.host() as host:
        before_ms = world.clock.epoch_ms()
        world.clock.advance(10)
        await host.erase_model(ADA)
        await host.sweep_adapters()

    for name, at_ms in (("now", None), ("then", before_ms)):
        store, restored = world.restore(name, at_ms)
        assert restored.models == 1
        host = ModelHost("host", store, range(2), base=BASE.fingerprint, clock=world.clock)
        with pytest.raises(ModelNotFound):
            await host.show_model(ADA)
        assert (await host.show_model(BOB)).model == BOB
        host.close()


async def test_an_adapter_that_no_one_has_leaves_the_bucket(world: World) -> None:
    with world.host() as host:
        bucket = open_bucket(world.url)
        folder = f"{world.store.store_id}/adapters"
        assert len(bucket.names(folder)) == 1
        for model in (ADA, BOB):
            await host.erase_model(model)

        await host.sweep_adapters()

        assert bucket.names(folder) == []


class WatchedBucket(DirectoryBucket):
    """Notes which threads write adapters to it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.writers: list[str] = []

    def replace(self, name: str, content: bytes | Iterable[bytes]) -> None:
        if "/adapters/" in name:
            self.writers.append(threading.current_thread().name)
        super().replace(name, content)


async def test_no_commit_waits_for_a_new_adapter_to_be_uploaded(world: World) -> None:
    """The other commits of its group would wait for it too."""
    with world.host() as host:
        journals = host._adapter_files._journals
        assert journals is not None
        watched = journals.adapters._bucket = WatchedBucket(world.root / "bucket")
        digest, size = world.store.revisions.add(packed("new"))

        await host.publish_revision(ADA, revision_of(digest, size))

        [writer] = watched.writers
        assert not writer.startswith("populace-commit")
        assert open_bucket(world.url).names(f"{world.store.store_id}/adapters/{digest}")


async def test_a_store_of_an_earlier_time_is_another_one(world: World) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
        world.clock.advance(60)
        then_ms = world.clock.epoch_ms()
        world.clock.advance(60)
        last = await take_turn(host, turn_of(ADA, "two"), "Two.")

    store, restored = world.restore("then", then_ms)

    assert restored.store_id != world.store.store_id
    describe(open_bucket(world.url), store)
    with world.host(store) as then, world.host() as now:
        assert (await then.show_model(ADA)).log_position == last.position
        await take_turn(then, turn_of(ADA, "other"), "Other.")
        await take_turn(now, turn_of(ADA, "three"), "Three.")


async def test_a_bucket_that_is_away_keeps_shards_from_being_served_until_it_is_back(world: World) -> None:
    with world.host():
        pass
    bucket = world.root / "bucket"
    bucket.rename(world.root / "away")
    bucket.write_text("a file is in its place")
    with pytest.raises(PopulaceError, match="bucket"), world.host():
        pass
    bucket.unlink()
    (world.root / "away").rename(bucket)
    of_ada = bucket / world.store.store_id / f"shard-{shard_of(*ADA, 2):04d}"
    of_ada.rename(world.root / "shard")
    of_ada.write_text("a file")

    with world.host() as host:
        with pytest.raises(ShardUnavailable):
            await host.show_model(ADA)
        assert (await host.show_model(BOB)).model == BOB
        of_ada.unlink()
        (world.root / "shard").rename(of_ada)
        for _ in range(3):
            world.clock.advance(120)
            host.open_shards()
            host._owned._absent.wait(HANG_SECONDS)
        assert (await host.show_model(ADA)).model == ADA


async def test_a_shard_serves_soon_after_its_bucket_answers_however_long_that_was_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmounted(bucket: DirectoryBucket, prefix: str, *, after: str = "") -> list[Listed]:
        raise BucketUnreachable(f"{bucket.url}: Stale file handle")

    with monkeypatch.context() as away:
        away.setattr(DirectoryBucket, "names", unmounted)
        with world.host() as host:
            for _ in range(24):
                with pytest.raises(ShardAway) as refused:
                    await host.show_model(ADA)
                assert refused.value.retry_after_s == SECONDS_AWAY_MAX
                look_again(world, host)
            away.undo()

            # The first look may only be told what came of the last attempt.
            look_again(world, host)
            look_again(world, host)
            assert (await host.show_model(ADA)).model == ADA


def look_again(world: World, host: ModelHost) -> None:
    world.clock.advance(SECONDS_AWAY_MAX)
    host.open_shards()
    host._owned._absent.wait(HANG_SECONDS)


async def test_statistics_say_how_far_a_journal_is_behind(world: World) -> None:
    with world.host(is_sync=False) as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
        journal = (await host.statistics())[0].store.journal
        assert journal is not None
        assert (journal.shards, journal.failures) == (2, 0)
