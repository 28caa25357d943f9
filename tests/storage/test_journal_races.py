"""What happens to a journal between two requests: others begin, claim and collect, and answers come late."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from populace.storage.journal import attaching, replaying
from populace.storage.journal.attaching import attach, leave
from populace.storage.journal.errors import (
    BucketUnreachable,
    JournalDamaged,
    JournalElsewhere,
    JournalNeeded,
    JournalUnsettled,
    SegmentsGone,
)
from populace.storage.journal.restoring import restore_shard
from populace.storage.journal.sealing import JournalSeal
from populace.storage.journal.shard_journal import ShardJournal
from populace.storage.journal.shipping import JournalRow, put_row
from populace.storage.records import erasures, keys
from populace.storage.records.errors import Fenced
from populace.storage.shards.shard import Shard
from tests.storage.faulty_bucket import Fault
from tests.storage.samples import SEALING, TENANT, open_shard
from tests.storage.test_journal import NoAdapters, World, create, numbers_in, world

__all__ = ["world"]


class Paused:
    """A bucket before whose first request of a kind, or before each one, something happens."""

    def __init__(
        self,
        world: World,
        operation: str,
        part: str,
        happens: Callable[[], object],
        *,
        is_each: bool = False,
    ) -> None:
        self._inner: Any = world.bucket
        self._operation = operation
        self._part = part
        self._happens: Callable[[], object] | None = happens
        self._is_each = is_each

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self._inner, operation)
        if operation != self._operation:
            return found

        def call(name: str, *arguments: Any, **options: Any) -> Any:
            happens = self._happens
            if happens is not None and self._part in name:
                self._happens = happens if self._is_each else None
                happens()
            return found(name, *arguments, **options)

        return call


def attach_paused(
    world: World,
    machine: str,
    operation: str,
    part: str,
    happens: Callable[[], object],
    *,
    is_each: bool = False,
) -> Shard:
    bucket: Any = Paused(world, operation, part, happens, is_each=is_each)
    shard = open_shard(world.root / machine)
    world.opened.append(shard)
    seal = JournalSeal(SEALING.master_key, "store")
    journal = ShardJournal(bucket, seal, "store/shard-0000", 0, owner=machine, now_ms=world.now_ms)
    attach(shard, journal, NoAdapters(), is_sync=True)
    return shard


def test_a_journal_that_another_owner_begins_meanwhile_is_not_begun_again(world: World) -> None:
    shard = attach_paused(world, "one", "names", "/j", lambda: world.own("other").put(7))

    assert numbers_in(shard) == numbers_in(world.restored()) == {7}


def test_a_claimant_that_sleeps_for_longer_than_what_is_kept_has_claimed_nothing(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))

    def much_happens() -> None:
        one.put(*range(10, 30))
        one.run(lambda txn: create(txn, "bob"))
        one.snapshot()
        one.put(30)
        one.snapshot(collects=True)
        one.put(31)

    with pytest.raises(SegmentsGone):
        attach_paused(world, "sleeper", "create", "/j/", much_happens)
    one.put(32)

    restored = world.restored()
    assert numbers_in(restored) == {*range(10, 33)}
    with restored.read() as txn:
        assert txn.get(keys.memory(TENANT, "bob")) is not None
    # It goes on from what is kept at the next attempt.
    world.opened[-2].close()
    again = world.own("sleeper")
    assert again.numbers() == {*range(10, 33)}
    with pytest.raises(Fenced):
        one.put(33)


@pytest.mark.parametrize(
    "faults", [[Fault.LOST], [Fault.UNANSWERED], [None, Fault.LOST], [None, None, Fault.LOST]]
)
def test_a_return_that_fails_half_way_goes_on_the_next_time(world: World, faults: list[Fault | None]) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    world.serve_alone("one", 2)
    world.bucket.faults[:] = faults
    with pytest.raises((BucketUnreachable, JournalUnsettled)):
        world.own("one")
    world.bucket.faults.clear()
    world.opened[-1].close()

    assert world.own("one").numbers() == numbers_in(world.restored()) == {1, 2}


def test_what_was_committed_without_the_journal_is_not_passed_over_by_an_older_directory(
    world: World,
) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    other = world.own("other")
    other.put(2)
    other.shard.close()
    one = world.own("one")
    one.put(3)
    one.shard.close()
    world.serve_alone("one", 4)
    world.own("one").shard.close()

    other = world.own("other")
    other.snapshot()

    assert other.numbers() == numbers_in(world.restored()) == {1, 2, 3, 4}


def test_a_restored_directory_that_was_served_alone_does_not_take_over(world: World) -> None:
    one = world.own("one")
    one.put(1)
    drill = open_shard(world.root / "drill")
    journal = world.journal()
    position, _ = restore_shard(drill, journal, at_ms=None)
    row = JournalRow(position, position.commit, journal.origin())
    drill.apply(lambda writer: put_row(writer, row))
    drill.close()
    world.serve_alone("drill", 99)
    one.put(2, 3)

    with pytest.raises(JournalElsewhere):
        world.own("drill")

    one.put(4)
    assert numbers_in(world.restored()) == {1, 2, 3, 4}


@pytest.mark.parametrize("part", ["put_snapshot", "take_keys"])
def test_a_shard_that_is_not_whole_is_not_served_without_its_journal(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    other = world.own("other")
    other.put(2)
    other.snapshot()
    other.put(3)
    other.snapshot(collects=part == "put_snapshot")

    def fail(*arguments: object, **options: object) -> None:
        raise BucketUnreachable("a test says so")

    monkeypatch.setattr(attaching, part, fail)
    with pytest.raises(BucketUnreachable):
        world.own("one")
    world.opened[-1].close()
    monkeypatch.undo()
    alone = open_shard(world.root / "one")
    with pytest.raises(JournalNeeded):
        leave(alone)
    alone.close()

    assert world.own("one").numbers() == {1, 2, 3}


@pytest.mark.parametrize("later", ["created", "erased"])
def test_data_keys_that_arrive_late_stand_in_no_ones_place(world: World, later: str) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    world.bucket.faults[:] = [Fault.LATE]
    with pytest.raises(BucketUnreachable):
        one.run(lambda txn: create(txn, "bob"))
    if later == "created":
        one.run(lambda txn: create(txn, "eve"))
    else:
        one.run(lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))

    world.bucket.arrive()

    there = {"ada", "eve"} if later == "created" else set[str]()
    assert world.journal().read_keys().keys() == {keys.data_key(TENANT, name) for name in there}
    with world.restored().read() as txn:
        assert {name for name in ("ada", "bob", "eve") if txn.get(keys.memory(TENANT, name))} == there


def test_data_keys_that_are_replaced_while_they_are_read_are_read_again(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))

    def write_once_more() -> None:
        # The keys come before the segment, which finds its number taken.
        with pytest.raises(Fenced):
            one.run(lambda txn: create(txn, "bob"))

    shard = attach_paused(world, "other", "read", "/keys/", write_once_more)

    with shard.read() as txn:
        assert txn.get(keys.memory(TENANT, "ada")) is not None


def test_a_journal_without_data_keys_erases_no_one(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    one.shard.close()
    found = world.bucket.names("store/shard-0000/keys")
    kept = {one.name: world.bucket.read(one.name) or b"" for one in found}
    world.bucket.remove([one.name for one in found])
    with pytest.raises(JournalDamaged, match="data keys"):
        world.restored()
    world.opened[-1].apply(replaying._clear)
    for name, content in kept.items():
        world.bucket.create(name, content)

    with world.restored().read() as txn:
        assert txn.get(keys.memory(TENANT, "ada")) is not None


def test_a_name_that_was_erased_and_is_used_again_spoils_no_restore(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    one.run(lambda txn: create(txn, "bob"))
    one.snapshot()
    before_ms = world.now_ms()
    one.run(lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))
    one.run(lambda txn: create(txn, "ada"))

    with world.restored(at_ms=before_ms).read() as txn:
        assert txn.get(keys.memory(TENANT, "bob")) is not None
        assert txn.get(keys.identity(TENANT, "ada")) is None
    with world.restored().read() as txn:
        assert txn.get(keys.memory(TENANT, "ada")) is not None


def test_an_erasure_by_another_machine_is_followed_by_a_compaction(world: World) -> None:
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    one.shard.close()
    other = world.own("other")
    other.run(lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))
    other.shard.close()

    assert world.own("one").shard.statistics().erased is not None


def test_shipping_ends_although_commits_keep_coming(world: World) -> None:
    """Other shards wait for their turn."""
    one = world.own("one", is_sync=False)
    one.put(1)
    create_object = world.bucket.create

    def create_and_commit(name: str, content: bytes) -> bool:
        one.put(2)
        return create_object(name, content)

    world.bucket.create = create_and_commit  # type: ignore[method-assign]
    one.shipping.ship()

    assert one.shipping.behind_bytes >= 0
    assert numbers_in(world.restored()) == {1}


BUSY_WRITES_MAX = 3000
"""Far more than an owner writes until it makes a pause."""

IDLE_SECONDS = 0.3
"""An owner that has written nothing for this time makes a pause, which is longer by far."""


def test_an_owner_that_writes_without_a_pause_does_not_keep_another_one_from_claiming(world: World) -> None:
    one = world.own("one")
    has_written = threading.Condition()
    written = 0

    def write() -> None:
        nonlocal written
        for number in range(BUSY_WRITES_MAX):
            one.put(number)
            with has_written:
                written += 1
                has_written.notify()

    def come_too_late() -> None:
        """What was read is not the end any more when it is claimed, unless the owner writes nothing."""
        with has_written:
            before = written
            has_written.wait_for(lambda: written > before, timeout=IDLE_SECONDS)

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        shard = attach_paused(world, "other", "create", "/j/", come_too_late, is_each=True)
        with pytest.raises(Fenced):
            writing.result()

    assert numbers_in(shard) == numbers_in(world.restored()) == set(range(written))
    assert not world.bucket.has("store/shard-0000/waiting")
