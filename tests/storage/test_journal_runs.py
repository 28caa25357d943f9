"""A shard belongs to the newest run of `populace serve`; what is left of former ones takes nothing back."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from populace.storage.journal.errors import JournalTakenOver
from populace.storage.journal.runs import begin_run
from populace.storage.journal.shard_journal import newest_epoch_of_all
from tests.storage.test_journal import World, numbers_in, world

__all__ = ["world"]  # a fixture


def test_what_is_left_of_a_former_run_takes_no_shard_back(world: World) -> None:
    """Ray starts a host of a former `populace serve` again, and it would fence the one that serves."""
    one = world.own("one", run=1)
    one.put(1)
    one.shard.close()
    second = world.own("other", run=2)
    second.put(2)

    with pytest.raises(JournalTakenOver):
        world.own("one", run=1)

    assert numbers_in(world.opened[-1]) == {1}, "what is here was replaced in vain"
    world.opened[-1].close()
    second.put(3)
    assert world.own("third", run=2).numbers() == {1, 2, 3}
    assert world.own("one", run=3).numbers() == {1, 2, 3}


def test_a_claim_of_a_former_run_is_refused_also_if_it_looked_before_the_later_one_began(
    world: World,
) -> None:
    first = world.own("one", run=1)
    late = world.journal("one", run=1)
    late.refuse_later_run()
    late.seek(first.journal.end)
    second = world.own("other", run=2)
    list(late.follow())

    with pytest.raises(JournalTakenOver):
        late.claim()
    second.put(1)


def test_a_journal_without_runs_goes_on_in_one(world: World) -> None:
    world.own("one").put(1)
    assert world.own("other", run=1).numbers() == {1}
    assert world.own("third").numbers() == {1}
    with pytest.raises(JournalTakenOver):
        world.own("fourth", run=0)


def test_each_serve_begins_a_run_of_its_own(world: World) -> None:
    begin = partial(begin_run, newest_epoch=lambda: 0)
    assert [begin(world.bucket, "store") for _ in range(3)] == [1, 2, 3]
    assert len(world.bucket.names("store/runs")) == 1
    with ThreadPoolExecutor(8) as threads:
        begun = list(threads.map(begin, [world.bucket] * 8, ["store"] * 8))
    assert len(set(begun)) == 8
    assert begin(world.bucket, "store") > max(begun)


def test_a_store_whose_runs_were_lost_goes_on_behind_those_that_claimed_its_shards(world: World) -> None:
    world.own("first", run=7)
    lost = partial(begin_run, newest_epoch=lambda: newest_epoch_of_all(world.bucket, "store", 1))

    run = lost(world.bucket, "store")

    assert run == 8
    world.own("second", run=run)
    world.bucket.remove([found.name for found in world.bucket.names("store/runs")])
    assert lost(world.bucket, "store") == 9
