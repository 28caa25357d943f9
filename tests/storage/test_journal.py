"""A shard and its journal, case by case: takeovers, zombies, other histories, going back, and damage."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from populace.storage.journal import shard_journal
from populace.storage.journal.attaching import attach, leave, take_snapshot
from populace.storage.journal.errors import (
    BucketUnreachable,
    JournalBehind,
    JournalDamaged,
    JournalElsewhere,
    NothingThen,
)
from populace.storage.journal.journals import collect
from populace.storage.journal.restoring import restore_shard
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.shipping import Async, Shipping
from populace.storage.records import erasures, keys
from populace.storage.records.errors import Fenced, ShardStopped, UnknownOutcome
from populace.storage.records.records import MemoryRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.shards.shard import Shard
from tests.storage.faulty_bucket import Fault, FaultyBucket
from tests.storage.samples import SEALING, TENANT, create_model, identity, open_shard

HOUR_MS = 3_600_000


class NoAdapters:
    """The models of these tests have none."""

    def keep(self, digest: str) -> None:
        raise AssertionError(digest)


@dataclass
class Owner:
    """A shard that is open, with its journal."""

    shard: Shard
    journal: ShardJournal
    shipping: Shipping
    bucket: FaultyBucket

    def put(self, *numbers: int) -> None:
        for number in numbers:
            write_alone(self.shard, number)

    def run(self, operation: Callable[[WriteTransaction], object]) -> None:
        [outcome] = self.shard.write([operation])
        assert not isinstance(outcome, Exception), outcome

    def snapshot(self, *, collects: bool = False) -> None:
        take_snapshot(self.journal, self.shipping)
        if collects:
            collect(self.journal, kept_from_ms=self.journal.now_ms())

    def numbers(self) -> set[int]:
        return numbers_in(self.shard)


@dataclass
class World:
    """A bucket, and machines with directories."""

    root: Path
    bucket: FaultyBucket = field(default_factory=FaultyBucket)
    times: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1000))
    opened: list[Shard] = field(default_factory=list[Shard])

    def own(self, machine: str, *, is_sync: bool = True, run: int | None = None, ahead_ms: int = 0) -> Owner:
        """``ahead_ms`` is how far the clock of the machine is ahead of the others'."""
        shard = open_shard(self.root / machine)
        self.opened.append(shard)
        journal = self.journal(machine, run)
        journal.now_ms = lambda: self.now_ms() + ahead_ms
        return Owner(shard, journal, attach(shard, journal, NoAdapters(), is_sync=is_sync), self.bucket)

    def serve_alone(self, machine: str, *numbers: int) -> None:
        """Serve the shard of a machine once without its journal."""
        alone = open_shard(self.root / machine)
        leave(alone)
        for number in numbers:
            write_alone(alone, number)
        alone.close()

    def journal(self, owner: str = "a reader", run: int | None = None) -> ShardJournal:
        seal = JournalSeal(SEALING.master_key, "store")
        return ShardJournal(
            self.bucket, seal, "store/shard-0000", 0, owner=owner, now_ms=self.now_ms, run=run
        )

    def now_ms(self) -> int:
        return next(self.times)

    def restored(self, at_ms: int | None = None) -> Shard:
        shard = open_shard(self.root / f"restored-{next(self.times)}")
        self.opened.append(shard)
        restore_shard(shard, self.journal(), at_ms=at_ms)
        shard.check_integrity()
        return shard


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for shard in world.opened:
        shard.close()


def put_number(txn: WriteTransaction, number: int) -> None:
    txn.put(keys.api_key(str(number)), str(number).encode())


def write_alone(shard: Shard, number: int) -> None:
    [outcome] = shard.write([partial(put_number, number=number)])
    assert outcome is None, outcome


def numbers_in(shard: Shard) -> set[int]:
    with shard.read() as txn:
        return {int(value) for _, value in txn.scan(keys.api_keys())}


def create(txn: WriteTransaction, name: str) -> None:
    create_model(txn, identity(name))
    txn.put(keys.memory(TENANT, name), MemoryRecord(version=0, payload=name.encode()).pack())


@pytest.mark.parametrize("is_sync", [True, False])
def test_another_machine_goes_on_with_all_that_was_shipped(world: World, is_sync: bool) -> None:
    one = world.own("one", is_sync=is_sync)
    one.run(lambda txn: create(txn, "ada"))
    one.put(1, 2)
    one.shipping.ship()

    other = world.own("other", is_sync=is_sync)

    assert other.numbers() == {1, 2}
    with other.shard.read() as txn:
        assert MemoryRecord.unpack(txn.get(keys.memory(TENANT, "ada")) or b"").payload == b"ada"
    other.put(3)
    other.shipping.ship()
    assert numbers_in(world.restored()) == {1, 2, 3}


def test_a_former_owner_writes_nothing_more(world: World) -> None:
    one = world.own("one")
    one.put(1)
    other = world.own("other")

    with pytest.raises(Fenced):
        one.put(2)
    with pytest.raises(Fenced):
        one.numbers()
    other.put(3)

    assert other.numbers() == numbers_in(world.restored()) == {1, 3}


def test_a_former_owner_that_ships_late_is_fenced_and_its_commits_are_dropped(world: World) -> None:
    one = world.own("one", is_sync=False)
    one.put(1)
    one.shipping.ship()
    one.put(2)
    other = world.own("other", is_sync=False)
    other.put(3)
    other.shipping.ship()

    one.shipping.ship()

    with pytest.raises(Fenced):
        one.put(4)
    one.shard.close()
    assert world.own("one", is_sync=False).numbers() == {1, 3}


def test_a_former_owner_of_long_ago_finds_the_claim_after_all_else_was_removed(world: World) -> None:
    """Were the claim's number free again, the former owner would acknowledge what no one reads."""
    one = world.own("one")
    one.put(1)
    other = world.own("other")
    other.put(*range(10, 20))
    other.snapshot()
    other.put(20)
    other.snapshot(collects=True)
    assert len(world.journal().listed("j")) < 12

    with pytest.raises(Fenced):
        one.put(2)

    assert 2 not in numbers_in(world.restored())


def test_a_snapshot_of_a_former_owner_is_not_gone_back_to(world: World) -> None:
    one = world.own("one")
    one.put(1)
    other = world.own("other")
    other.put(*range(10, 20))
    other.snapshot(collects=True)

    one.snapshot()

    assert numbers_in(world.restored()) == {1, *range(10, 20)}
    one.shard.close()
    assert world.own("one").numbers() == {1, *range(10, 20)}


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED, Fault.LATE])
def test_a_lost_answer_is_settled_by_opening_again(world: World, fault: Fault) -> None:
    one = world.own("one")
    one.put(1)
    world.bucket.faults[:] = [fault]

    with pytest.raises(UnknownOutcome):
        one.put(2)
    with pytest.raises(ShardStopped):
        one.put(3)
    one.shard.close()
    again = world.own("one")
    world.bucket.arrive()
    again.put(4)

    assert again.numbers() == {1, 4} | ({2} if fault is Fault.UNANSWERED else set())
    assert numbers_in(world.restored()) == again.numbers()


def test_a_commit_that_is_in_the_journal_and_not_on_the_disk_is_replayed_with_its_key(
    world: World, tmp_path: Path
) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    shutil.copytree(tmp_path / "one", tmp_path / "before")
    again = world.own("one")
    again.run(lambda txn: create(txn, "ada"))
    again.shard.close()
    shutil.rmtree(tmp_path / "one")
    # As a kill between the two leaves it.
    shutil.copytree(tmp_path / "before", tmp_path / "one")

    recovered = world.own("one")

    recovered.shard.check_integrity()
    with recovered.shard.read() as txn:
        assert txn.get(keys.memory(TENANT, "ada")) is not None


def test_an_unreachable_bucket_refuses_writes_that_need_a_key_and_loses_no_one(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    world.bucket.faults[:] = [Fault.UNANSWERED]

    with pytest.raises(BucketUnreachable):
        one.run(lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))
    # The object of the keys has no key of hers now, and she is still there.
    one.run(lambda txn: txn.put(keys.memory(TENANT, "ada"), MemoryRecord(version=0, payload=b"new").pack()))

    with world.restored().read() as txn:
        assert MemoryRecord.unpack(txn.get(keys.memory(TENANT, "ada")) or b"").payload == b"new"


def test_what_waits_is_kept_over_a_restart_and_shipped_then(world: World) -> None:
    one = world.own("one", is_sync=False)
    one.put(1, 2)
    one.shard.close()
    assert numbers_in(world.restored()) == set()

    again = world.own("one", is_sync=False)
    again.put(3)
    again.shipping.ship()

    assert numbers_in(world.restored()) == {1, 2, 3}


def test_what_waited_is_shipped_before_commits_wait_for_it(world: World) -> None:
    world.own("one", is_sync=False).put(1, 2)
    world.opened[-1].close()

    world.own("one", is_sync=True)

    assert numbers_in(world.restored()) == {1, 2}


def test_too_much_that_waits_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world.own("one", is_sync=False)
    monkeypatch.setattr("populace.storage.journal.shipping.BEHIND_BYTES_MAX", 100)
    world.bucket.is_down = True
    with pytest.raises(JournalBehind):
        one.put(*range(100))
    with pytest.raises(BucketUnreachable):
        one.shipping.ship()
    held = one.numbers()

    world.bucket.is_down = False
    one.shipping.ship()
    one.put(1000)

    assert one.shipping.behind_bytes > 0
    one.shipping.ship()
    assert one.shipping.behind_bytes == 0
    assert numbers_in(world.restored()) == {*held, 1000}


def test_an_erased_model_is_in_no_restore_however_far_it_goes_back(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    one.run(lambda txn: create(txn, "bob"))
    one.snapshot()
    before_ms = next(world.times)
    one.run(lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))

    with world.restored(at_ms=before_ms).read() as txn:
        assert txn.get(keys.identity(TENANT, "ada")) is None
        assert txn.get(keys.memory(TENANT, "bob")) is not None


def test_a_restore_goes_back_to_any_time_that_is_kept(world: World) -> None:
    one = world.own("one")
    times: list[int] = []
    for number in range(1, 7):
        one.put(number)
        times.append(next(world.times))
        if number == 3:
            one.snapshot()

    for number, time in enumerate(times, 1):
        assert numbers_in(world.restored(at_ms=time)) == set(range(1, number + 1))
    one.snapshot(collects=True)
    with pytest.raises(NothingThen):
        world.restored(at_ms=times[0])


def test_a_shard_that_was_served_without_its_journal_goes_on_if_no_one_else_did(world: World) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    world.serve_alone("one", 2)

    again = world.own("one")

    assert again.numbers() == numbers_in(world.restored()) == {1, 2}
    again.shard.close()
    world.serve_alone("one", 3)
    world.own("other").put(9)
    with pytest.raises(JournalElsewhere):
        world.own("one")
    world.opened[-1].close()


def test_a_directory_that_never_had_this_journal_is_refused(world: World) -> None:
    world.own("one").put(1)
    stranger = open_shard(world.root / "stranger")
    write_alone(stranger, 2)
    stranger.close()

    with pytest.raises(JournalElsewhere):
        world.own("stranger")


def test_another_journal_is_begun_only_after_the_shard_left_its_own(world: World) -> None:
    """An empty bucket may be a disk that is not mounted, or a mistake in the URL."""
    one = world.own("one", is_sync=False)
    one.put(1, 2)
    one.shard.close()
    first, world.bucket.bucket = world.bucket.bucket, FaultyBucket().bucket
    with pytest.raises(JournalElsewhere, match="there was one"):
        world.own("one", is_sync=False)
    world.opened[-1].close()
    world.serve_alone("one")

    again = world.own("one", is_sync=False)
    again.put(3)
    again.shipping.ship()

    assert numbers_in(world.restored()) == {1, 2, 3}
    again.shard.close()
    world.bucket.bucket = first
    with pytest.raises(JournalElsewhere, match="another one"):
        world.own("one", is_sync=False)


def test_an_old_directory_that_comes_back_is_built_anew(world: World, tmp_path: Path) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    shutil.copytree(tmp_path / "one", tmp_path / "old")
    again = world.own("one")
    again.put(2)
    again.snapshot()
    again.put(3)
    again.snapshot(collects=True)
    again.put(4)

    assert world.own("old").numbers() == {1, 2, 3, 4}


@pytest.mark.parametrize("is_sync", [True, False])
def test_clocks_that_are_an_hour_apart_lose_nothing(world: World, is_sync: bool) -> None:
    kept: set[int] = set()
    for number, ahead_ms in enumerate((0, HOUR_MS, -HOUR_MS, HOUR_MS, 0)):
        owner = world.own("one" if ahead_ms else "two", is_sync=is_sync, ahead_ms=ahead_ms)
        assert owner.numbers() == kept
        owner.put(2 * number, 2 * number + 1)
        owner.snapshot(collects=True)
        owner.put(100 + number)
        owner.shipping.ship()
        kept |= {2 * number, 2 * number + 1, 100 + number}
        assert numbers_in(world.restored()) == kept
        owner.shard.close()


@pytest.mark.parametrize("damage", ["cut", "changed", "absent", "of another key"])
def test_a_damaged_segment_stops_a_restore_by_name(world: World, damage: str) -> None:
    one = world.own("one")
    one.put(1, 2, 3)
    name = world.journal().listed("j")[2].name
    content = world.bucket.read(name) or b""
    if damage == "absent":
        world.bucket.remove([name])
    else:
        other = JournalSeal(SEALING.master_key, "other")
        damaged = {
            "cut": content[:-1],
            "changed": content[:40] + bytes([content[40] ^ 1]) + content[41:],
            "of another key": other.seal(name, b"x"),
        }[damage]
        world.bucket.replace(name, damaged)

    with pytest.raises(JournalDamaged, match=name):
        world.restored()


def damage_segment(world: World, place: int, damage: str) -> None:
    name = world.journal().listed("j")[place].name
    content = world.bucket.read(name) or b""
    if damage == "absent":
        world.bucket.remove([name])
    else:
        world.bucket.replace(name, content[:40] + bytes([content[40] ^ 1]) + content[41:])


@pytest.mark.parametrize("damage", ["changed", "absent"])
@pytest.mark.parametrize("place", [-1, -2])
@pytest.mark.parametrize("is_sync", [True, False])
def test_the_newest_owner_goes_on_from_its_disk_if_its_journal_is_damaged_and_mends_it(
    world: World, damage: str, place: int, is_sync: bool
) -> None:
    one = world.own("one", is_sync=is_sync)
    one.run(lambda txn: create(txn, "ada"))
    for number in (1, 2, 3):
        one.put(number)
        one.shipping.ship()
    one.put(4)
    one.shard.close()
    damage_segment(world, place, damage)
    if place == -2:
        damage_segment(world, -1, "changed")

    again = world.own("one", is_sync=is_sync)
    assert again.numbers() == {1, 2, 3, 4}
    again.put(5)
    again.shipping.ship()

    other = world.own("other")
    assert other.numbers() == numbers_in(world.restored()) == {1, 2, 3, 4, 5}
    again.shard.close()
    assert world.own("one").numbers() == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("place", "damage"), [(-1, "changed"), (-2, "changed"), (-2, "absent")])
def test_a_damaged_journal_of_another_owner_takes_nothing_from_the_disk(
    world: World, place: int, damage: str
) -> None:
    one = world.own("one")
    one.put(1, 2)
    other = world.own("other")
    other.put(3, 4)
    one.shard.close()
    damage_segment(world, place, damage)

    with pytest.raises(JournalDamaged):
        world.own("one")
    assert numbers_in(world.opened[-1]) >= {1, 2}
    world.opened[-1].close()

    other.snapshot()
    assert world.own("one").numbers() == {1, 2, 3, 4}


def test_a_damaged_snapshot_is_passed_over_for_an_older_one(world: World) -> None:
    one = world.own("one")
    one.put(1)
    one.snapshot()
    one.put(2)
    newest = world.journal().listed("s")[-1].name
    world.bucket.replace(newest, (world.bucket.read(newest) or b"")[:-1])

    assert world.own("other").numbers() == {1, 2}


def test_segments_are_shipped_in_bounded_pieces_and_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("populace.storage.journal.shipping.SEGMENT_BYTES_MAX", 60)
    monkeypatch.setattr(shard_journal, "READS_AT_ONCE", 2)
    one = world.own("one", is_sync=False)
    one.put(*range(20))
    assert isinstance(one.shipping, Async)

    one.shipping.ship()

    assert len(world.journal().listed("j")) > 5
    assert numbers_in(world.restored()) == set(range(20))
