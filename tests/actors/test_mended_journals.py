"""What is damaged in a bucket is found and mended by the host that serves, before others need it."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from populace.actors.host.model_host import ModelHost
from populace.cluster.doctor.doctor import check_journal
from populace.gateway.http.errors import populace_error_body, status_of
from populace.settings.settings import Settings
from populace.storage.journal import journals as journals_module
from populace.storage.journal.damage import damaged_shards
from populace.storage.journal.errors import (
    BucketRefused,
    BucketUnreachable,
    JournalDamaged,
    JournalElsewhere,
    JournalOutcomeUnknown,
)
from populace.storage.journal.joining import check_follows
from populace.storage.journal.opening import open_bucket
from populace.storage.records.errors import PopulaceError
from populace.storage.store import Store
from populace.telemetry.wording import Wording
from tests.actors.fakes import FakeClock
from tests.actors.test_journaled_hosts import ADA, BOB, World, world
from tests.actors.turns import take_turn, turn_of
from tests.limits import HANG_SECONDS

__all__ = ["world"]


def objects(world: World, kind: str) -> list[Path]:
    """The objects of a kind of both shards, oldest first."""
    folder = world.root / "bucket" / world.store.store_id
    return sorted(file for file in folder.glob(f"shard-*/{kind}/**/*") if file.is_file())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def garble(file: Path) -> None:
    file.write_bytes(bytes(len(file.read_bytes())))


def damage(world: World) -> list[JournalDamaged]:
    return damaged_shards(open_bucket(world.url), world.store, range(2))


async def talk(host: ModelHost, operation: str) -> None:
    for model in (ADA, BOB):
        await take_turn(host, turn_of(model, operation), "Yes.")


@pytest.mark.parametrize("hurt", [cut, garble, Path.unlink])
@pytest.mark.parametrize("kind", ["j", "s", "keys"])
async def test_a_host_mends_what_its_successor_would_need(
    world: World, kind: str, hurt: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with world.host() as host:
        await talk(host, "one")
        assert host.journals is not None
        host.journals.mend_all(HANG_SECONDS)
        for file in objects(world, kind):
            hurt(file)
        # Which segments were the last is known to their owner alone.
        assert len(damage(world)) == 2 or (kind, hurt) == ("j", Path.unlink)

        with caplog.at_level(logging.WARNING):
            host.journals.mend_all(HANG_SECONDS)

        assert damage(world) == []
        for number in range(2):
            assert f"/shard-{number:04d}/{kind}" in caplog.text
        await talk(host, "two")

    store, _ = world.restore("other")
    with world.host(store) as other:
        for model in (ADA, BOB):
            assert (await other.show_model(model)).log_position == 3


@pytest.mark.parametrize("is_sync", [True, False])
async def test_a_host_looks_by_itself(world: World, monkeypatch: pytest.MonkeyPatch, is_sync: bool) -> None:
    """Cheaply: it lists the objects, and compares sizes."""
    monkeypatch.setattr(journals_module, "TEND_SECONDS", 0.02)
    monkeypatch.setattr(journals_module, "CHECK_SECONDS", 0.02)
    with world.host(is_sync=is_sync) as host:
        assert host.journals is not None
        await talk(host, "one")
        host.journals.ship_all(HANG_SECONDS)
        for kind, hurt in (("j", cut), ("j", Path.unlink), ("s", Path.unlink)):
            for file in objects(world, kind):
                hurt(file)
            async with asyncio.timeout(HANG_SECONDS):
                while damage(world):  # noqa: ASYNC110 - it is another thread that mends it
                    await asyncio.sleep(0.02)
    assert damage(world) == []


async def test_a_host_starts_and_mends_a_newest_snapshot_that_is_cut(world: World) -> None:
    with world.host() as host:
        await talk(host, "one")
    for file in objects(world, "s"):
        cut(file)

    with world.host() as host:
        await talk(host, "two")
        assert host.journals is not None
        host.journals.mend_all(HANG_SECONDS)

    assert damage(world) == []


async def test_a_standby_is_told_which_object_keeps_it_from_joining(world: World) -> None:
    with world.host() as host:
        await talk(host, "one")
    shutil.copytree(world.store.path, world.root / "standby")
    standby = Store.open(world.root / "standby")
    with world.host() as host:
        await talk(host, "two")
        first = objects(world, "j")[0]
        first.unlink()
        bucket = open_bucket(world.url)
        check_follows(bucket, standby)
        (first.parent.parent / "origin").unlink()
        for file in objects(world, "j"):
            garble(file)

        with pytest.raises(JournalDamaged, match=f"j/{1:020}.* is absent.* Try again in ten minutes"):
            check_follows(bucket, standby)

        assert host.journals is not None
        host.journals.mend_all(HANG_SECONDS)
        check_follows(bucket, standby)


async def test_the_doctor_names_what_is_damaged(world: World, clock: FakeClock) -> None:
    settings = Settings(data=world.store.path, journal=world.url)
    with world.host() as host:
        await talk(host, "one")
    assert check_journal(settings).status == "ok"
    damaged = objects(world, "j")[-1]
    cut(damaged)

    found = check_journal(settings)

    assert found.status == "fail"
    assert str(damaged.relative_to(world.root / "bucket")) in found.detail


async def test_a_description_that_is_lost_is_named_and_written_anew(world: World, clock: FakeClock) -> None:
    settings = Settings(data=world.store.path, journal=world.url)
    description = world.root / "bucket" / world.store.store_id / "store.json"
    with world.host() as host:
        await talk(host, "one")
    content = description.read_bytes()
    description.unlink()
    assert "store.json" in check_journal(settings).detail
    with world.host() as host:
        assert host.journals is not None
        host.journals.mend_all(HANG_SECONDS)
    assert description.read_bytes() == content
    assert check_journal(settings).status == "ok"


async def test_the_doctor_does_not_call_a_journal_damaged_that_is_not_there(
    world: World, clock: FakeClock
) -> None:
    with world.host() as host:
        await talk(host, "one")
    (world.root / "bucket").rename(world.root / "away")
    (world.root / "bucket").mkdir()

    found = check_journal(Settings(data=world.store.path, journal=world.url))

    assert (found.status, "mount its disk" in found.remedy) == ("fail", True)


@pytest.mark.parametrize(
    "error",
    [
        BucketRefused("s3://secret-place/x", "secret-place says no"),
        BucketUnreachable("secret-place"),
        JournalDamaged("secret-place/shard-0001/j/7", "it was cut"),
        JournalElsewhere(1, "secret-place"),
        JournalOutcomeUnknown(1, "secret-place"),
    ],
)
def test_a_tenant_is_not_told_where_the_journal_is_and_the_log_is(error: PopulaceError) -> None:
    body = populace_error_body(error)

    assert body["error"]["code"] == error.code
    assert status_of(type(error)) in (500, 503)
    assert "secret-place" not in str(body)
    if isinstance(error, JournalDamaged):
        assert "secret-place/shard-0001/j/7" in Wording(b"key", names_plain=False).error(error)
