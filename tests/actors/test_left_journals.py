"""Nobody who is erased comes back from a journal that the store has left."""

import asyncio
import shutil
from collections.abc import Generator
from contextlib import closing, contextmanager

import pytest

from populace.actors.host.model_host import ModelHost
from populace.cluster.doctor.doctor import check_journal
from populace.policies import placement
from populace.settings.settings import Settings
from populace.storage.journal import journals as journals_module
from populace.storage.journal import leaving
from populace.storage.journal.description import describe
from populace.storage.journal.errors import JournalDamaged, JournalLeft
from populace.storage.journal.former import former_journals, note_whole
from populace.storage.journal.opening import open_bucket
from populace.storage.records.errors import ModelNotFound
from populace.storage.resharding.reshard import reshard
from populace.storage.store import Store
from tests.actors.fakes import BASE
from tests.actors.test_journaled_hosts import ADA, BOB, World, quiet, world
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS

__all__ = ["world"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals_module, "TEND_SECONDS", 0.02)
    monkeypatch.setattr(journals_module, "CHECK_SECONDS", 0.02)


@contextmanager
def alone(world: World, store: Store | None = None) -> Generator[ModelHost]:
    """Serve the store without a journal."""
    served = store or world.store
    host = ModelHost("host", served, range(served.shards), base=BASE.fingerprint, clock=world.clock)
    with closing(host):
        yield host


def begin_another(world: World, name: str, store: Store | None = None) -> None:
    (world.root / name).mkdir(exist_ok=True)
    world.url = f"file://{world.root}/{name}"
    describe(open_bucket(world.url), store or world.store)


async def until_left(world: World) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while former_journals(world.store.path):  # noqa: ASYNC110 - a thread of the host writes the file
            await asyncio.sleep(0.01)


def left_over(world: World) -> set[str]:
    """What the first bucket has but claims, which nobody may write over, and what is of nobody."""
    names = {found.name for found in open_bucket(f"file://{world.root}/bucket").names("")}
    segments = {name for name in names if "/j/" in name}
    assert all((world.root / "bucket" / name).stat().st_size < 400 for name in segments)
    kept = ("/origin", "/store.json")
    return {name for name in names - segments if not name.endswith(kept) and "/keys/" not in name}


async def test_what_is_erased_is_in_no_journal_that_was_left(world: World) -> None:
    first = world.url
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "A secret.")
    with alone(world) as host:
        await take_turn(host, turn_of(ADA, "two"), "Not in the journal.")
        for refused in (host.erase_model(ADA), host.forgetting.forget(ADA, [0], "forget")):
            with pytest.raises(JournalLeft):
                await refused
        assert len(await host.read_log(ADA)) == 3
        assert "nobody can be erased" in check_journal(Settings(data=world.store.path)).detail
    begin_another(world, "other")
    [left] = former_journals(world.store.path)
    assert left.url == first
    with world.host() as host:
        await until_left(world)
        await host.erase_model(ADA)
        await take_turn(host, turn_of(BOB, "three"), "Three.")

    assert left_over(world) == set()
    second, world.url = world.url, first
    with pytest.raises(JournalDamaged, match="went on with another journal"):
        world.restore("from-the-first")
    world.url = second
    store, _ = world.restore("from-the-second")
    with world.host(store) as host:
        with pytest.raises(ModelNotFound):
            await host.show_model(ADA)
        assert (await host.show_model(BOB)).log_position == 2


async def test_a_journal_that_another_machine_goes_on_with_is_left_as_it_is(world: World) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    first = world.url
    other, _ = world.restore("other-machine")
    with world.host(other) as host:
        await take_turn(host, turn_of(ADA, "two"), "Two.")
    with alone(world):
        pass
    begin_another(world, "other")
    with world.host():
        await until_left(world)
    world.url = first
    with world.host(other) as host:
        await take_turn(host, turn_of(ADA, "three"), "Three.")
    again, _ = world.restore("again")
    with world.host(again) as host:
        assert [turn.reply for turn in await host.read_log(ADA)] == ["The first.", "One.", "Two.", "Three."]


@pytest.mark.parametrize("is_copied", [False, True])
async def test_another_name_or_a_copy_of_the_journal_takes_nothing_from_it(
    world: World, is_copied: bool
) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    if is_copied:
        shutil.copytree(world.root / "bucket", world.root / "again")
    else:
        (world.root / "again").symlink_to(world.root / "bucket")
    begin_another(world, "again")
    with world.host() as host:
        await until_left(world)
        await take_turn(host, turn_of(ADA, "two"), "Two.")
    store, _ = world.restore("restored")
    with world.host(store) as host:
        assert [turn.reply for turn in await host.read_log(ADA)] == ["The first.", "One.", "Two."]


@pytest.mark.parametrize("step", ["describe_left", "_empty", "note_former"])
async def test_to_empty_a_journal_goes_on_after_it_was_interrupted(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    with alone(world):
        pass
    begin_another(world, "other")
    original, calls = getattr(leaving, step), iter(range(100))

    def fails(*args: object, **options: object) -> object:
        done = original(*args, **options)
        if next(calls) < 2:
            raise OSError("interrupted")
        return done

    monkeypatch.setattr(leaving, step, fails)
    with world.host() as host:
        await until_left(world)
        await take_turn(host, turn_of(ADA, "two"), "Two.")
    assert left_over(world) == set()
    store, _ = world.restore("restored")
    with world.host(store) as host:
        assert [turn.reply for turn in await host.read_log(ADA)] == ["The first.", "One.", "Two."]


async def test_one_that_cannot_be_reached_is_named_and_emptied_later(world: World) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    with alone(world):
        pass
    (world.root / "bucket").rename(world.root / "away")
    begin_another(world, "other")
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "two"), "Two.")
        await host.erase_model(ADA)
    found = check_journal(Settings(data=world.store.path, journal=world.url))
    assert (found.status, f"{world.root}/bucket" in found.detail) == ("warn", True), found
    (world.root / "away").rename(world.root / "bucket")
    with world.host():
        await until_left(world)
    assert left_over(world) == set()
    assert check_journal(Settings(data=world.store.path, journal=world.url)).status == "ok"


async def test_the_journal_from_before_resharding_is_emptied_too(world: World) -> None:
    with world.host() as host:
        await take_turn(host, turn_of(ADA, "one"), "One.")
    note_whole(world.store.path)
    reshard(world.store.path, 4, placement=placement, report=quiet)
    world.store = Store.open(world.store.path)
    with alone(world) as host, pytest.raises(JournalLeft):
        await host.erase_model(ADA)
    begin_another(world, "other")
    with world.host() as host:
        await until_left(world)
        await host.erase_model(ADA)
        assert (await host.show_model(BOB)).log_position == 1
    assert left_over(world) == set()
