"""Objects of a journal are cut, changed or lost: its owner has all on its disk, goes on, and mends it.

What it cannot know to have is refused by name, and nothing is written over.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from populace.storage.journal.damage import find_damage
from populace.storage.journal.directory_bucket import DirectoryBucket
from populace.storage.journal.errors import JournalDamaged, JournalElsewhere
from populace.storage.records import keys
from tests.storage.faulty_bucket import FaultyBucket
from tests.storage.samples import TENANT
from tests.storage.test_journal import World, create, numbers_in, world

__all__ = ["world"]

FOLDER = "store/shard-0000"
DAMAGES = ("absent", "cut", "changed", "empty")


@pytest.fixture(autouse=True, params=["memory", "directory"])
def in_a_bucket(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> None:
    if request.param == "directory":
        (tmp_path / "bucket").mkdir()
        world.bucket.bucket = DirectoryBucket.open(f"file://{tmp_path}/bucket")  # type: ignore[assignment]


def damage(world: World, name: str, kind: str) -> str:
    content = world.bucket.read(name) or b""
    assert content
    if kind == "absent":
        world.bucket.remove([name])
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        world.bucket.replace(name, {"cut": content[:middle], "changed": changed, "empty": b""}[kind])
    return name


def names(world: World, kind: str) -> list[str]:
    return [found.name for found in world.journal().listed(kind)]


def check_whole(world: World, numbers: Sequence[int]) -> None:
    """Another machine takes over with all of it, and so does a restore."""
    assert find_damage(world.journal()) is None
    assert numbers_in(world.restored()) == set(numbers)
    assert world.own("another").numbers() == set(numbers)


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("is_sync", [True, False])
@pytest.mark.parametrize("commits", [0, 3])
def test_a_damaged_first_segment_is_needed_no_more(
    world: World, kind: str, is_sync: bool, commits: int, caplog: pytest.LogCaptureFixture
) -> None:
    one = world.own("one", is_sync=is_sync)
    one.put(*range(commits))
    one.shipping.ship()
    one.shard.close()
    first = damage(world, f"{FOLDER}/j/{1:020}", kind)

    with caplog.at_level(logging.WARNING):
        again = world.own("one", is_sync=is_sync)
    assert first in caplog.text
    again.put(100)
    again.shipping.ship()
    again.shard.close()

    check_whole(world, [*range(commits), 100])


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_journal_of_an_earlier_release_is_known_by_where_its_owner_is(world: World, kind: str) -> None:
    """It has no note of what its first segment was."""
    one = world.own("one")
    one.put(1, 2)
    one.shard.close()
    world.bucket.remove([f"{FOLDER}/origin"])
    first = damage(world, f"{FOLDER}/j/{1:020}", kind)
    with pytest.raises(JournalDamaged, match=first):
        world.own("other")
    world.opened[-1].close()

    world.own("one").put(3)

    check_whole(world, [1, 2, 3])


def test_a_journal_that_nothing_shows_to_be_its_own_is_left_alone(world: World) -> None:
    one = world.own("one")
    one.put(1, 2)
    one.shard.close()
    for name in names(world, "j"):
        damage(world, name, "cut")
    damage(world, f"{FOLDER}/origin", "cut")
    before = world.bucket.names("store")

    with pytest.raises(JournalDamaged, match=f"{FOLDER}/j/{1:020}"):
        world.own("one")

    assert world.bucket.names("store") == before
    assert numbers_in(world.opened[-1]) == {1, 2}


def test_a_journal_of_another_directory_is_not_mended(world: World, tmp_path: Path) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    first, world.bucket.bucket = world.bucket.bucket, FaultyBucket().bucket
    theirs = world.own("theirs")
    theirs.put(7)
    theirs.shard.close()
    for kind in ("s", "j"):
        for name in names(world, kind)[1 if kind == "j" else 0 :]:
            damage(world, name, "absent")
    before = world.bucket.names("store")

    with pytest.raises(JournalElsewhere, match="another one"):
        world.own("one")
    world.opened[-1].close()
    damage(world, f"{FOLDER}/j/{1:020}", "absent")
    with pytest.raises(JournalElsewhere, match="another one"):
        world.own("one")

    assert len(world.bucket.names("store")) == len(before) - 1
    world.opened[-1].close()
    world.bucket.bucket = first
    assert world.own("one").numbers() == {1}


@pytest.mark.parametrize("is_sync", [True, False])
@pytest.mark.parametrize("collects", [True, False])
def test_a_journal_without_snapshots_gets_one_of_its_owners_disk(
    world: World, is_sync: bool, collects: bool, caplog: pytest.LogCaptureFixture
) -> None:
    one = world.own("one", is_sync=is_sync)
    one.run(lambda txn: create(txn, "ada"))
    one.put(1, 2)
    one.snapshot(collects=collects)
    one.put(3)
    one.shipping.ship()
    one.put(4)
    one.shard.close()
    for name in names(world, "s"):
        damage(world, name, "absent")
    with pytest.raises(JournalDamaged, match=f"{FOLDER}/s"):
        world.own("other")
    world.opened[-1].close()

    with caplog.at_level(logging.WARNING):
        again = world.own("one", is_sync=is_sync)

    assert f"{FOLDER}/s" in caplog.text
    again.put(5)
    again.shipping.ship()
    with world.restored().read() as txn:
        assert txn.get(keys.memory("acme", "ada")) is not None
    again.shard.close()
    check_whole(world, [1, 2, 3, 4, 5])


def test_a_journal_without_snapshots_on_which_another_owner_went_on_is_refused(world: World) -> None:
    one = world.own("one")
    one.put(1)
    one.shard.close()
    other = world.own("other")
    other.put(2)
    other.shard.close()
    for name in names(world, "s"):
        damage(world, name, "absent")

    with pytest.raises(JournalDamaged, match=f"{FOLDER}/s"):
        world.own("one")
    assert numbers_in(world.opened[-1]) == {1}
    world.opened[-1].close()
    world.own("other").shard.close()

    assert world.own("one").numbers() == {1, 2}


@pytest.mark.parametrize("what", ["snapshots", "first", "position", "all segments"])
def test_a_shard_that_was_served_alone_comes_back_to_a_journal_that_is_damaged(
    world: World, what: str
) -> None:
    """It was begun by another owner just now, the log said without an end."""
    one = world.own("one")
    one.put(1, 2)
    one.shard.close()
    world.serve_alone("one", 3)
    all_segments = names(world, "j")
    for name in {
        "snapshots": names(world, "s"),
        "first": all_segments[:1],
        "position": all_segments[-1:],
        "all segments": all_segments,
    }[what]:
        damage(world, name, "absent")

    again = world.own("one")
    again.put(4)
    again.shard.close()

    check_whole(world, [1, 2, 3, 4])


@pytest.mark.parametrize("kind", ["cut", "changed", "empty"])
@pytest.mark.parametrize("places", [(-1,), (-2,), (-3,), (-3, -2, -1)])
@pytest.mark.parametrize("alone", [False, True])
def test_an_older_copy_of_the_owners_disk_hides_nothing_that_was_acknowledged_since(
    world: World, tmp_path: Path, kind: str, places: Sequence[int], alone: bool
) -> None:
    """Both are of one claim, so that only the segments tell that the copy lacks some."""
    one = world.own("one")
    one.put(1)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    one.put(2, 3, 4)
    one.shard.close()
    damaged = [damage(world, names(world, "j")[place], kind) for place in places]
    if alone:
        world.serve_alone("copy", 9)
    before = world.bucket.names("store")

    with pytest.raises((JournalDamaged, JournalElsewhere), match="|".join(["went on", *damaged])):
        world.own("copy")

    assert [found for found in world.bucket.names("store") if found not in before] == []
    assert numbers_in(world.opened[-1]) >= {1}
    world.opened[-1].close()
    again = world.own("one")
    # As its host does that finds it.
    again.snapshot()
    again.shard.close()
    check_whole(world, [1, 2, 3, 4])


def cut_newest_snapshot(world: World) -> None:
    damage(world, names(world, "s")[-1], "cut")


def lose_last_segment(world: World) -> None:
    damage(world, names(world, "j")[-1], "absent")


def cut_last_segment(world: World) -> None:
    damage(world, names(world, "j")[-1], "cut")


def lose_segment_between(world: World) -> None:
    damage(world, names(world, "j")[-2], "absent")


@pytest.mark.parametrize(
    "hurt", [cut_newest_snapshot, lose_last_segment, cut_last_segment, lose_segment_between]
)
def test_what_a_successor_would_need_is_found_damaged_by_name(
    world: World, hurt: Callable[[World], None]
) -> None:
    one = world.own("one")
    one.put(1)
    one.snapshot()
    one.put(2, 3)
    assert find_damage(one.journal, until=one.journal.end.segment) is None
    assert find_damage(one.journal, until=one.journal.end.segment, reads=False) is None
    before = {found.name: found.size for found in world.bucket.names(FOLDER)}

    hurt(world)

    after = {found.name: found.size for found in world.bucket.names(FOLDER)}
    [name] = [name for name in before if before[name] != after.get(name)]
    cheap = find_damage(one.journal, until=one.journal.end.segment, reads=False)
    found = find_damage(one.journal, until=one.journal.end.segment)
    assert found is not None
    assert found.name == name
    assert hurt is cut_newest_snapshot or (cheap is not None and cheap.name == name)


@pytest.mark.parametrize("is_sync", [True, False])
@pytest.mark.parametrize("content", [b"x", b"x" * 4096])
def test_what_is_no_segment_takes_the_journal_from_nobody(
    world: World, content: bytes, is_sync: bool
) -> None:
    """Who writes to the bucket without the store's key keeps the owner from writing while it is there."""
    one = world.own("one", is_sync=is_sync)
    one.put(1)
    one.shipping.ship()
    name = one.journal.name_of("j", one.journal.end.segment + 1)
    world.bucket.create(name, content)

    if is_sync:
        with pytest.raises(JournalDamaged, match=name):
            one.put(2)
    else:
        one.put(2)
        with pytest.raises(JournalDamaged, match=name):
            one.shipping.ship()
    assert one.numbers() == ({1} if is_sync else {1, 2}), "what is here is read"

    world.bucket.remove([name])
    one.put(3)
    one.shipping.ship()
    one.shard.close()
    check_whole(world, [1, 3] if is_sync else [1, 2, 3])


def test_an_owner_whose_data_keys_are_damaged_too_goes_on_from_its_disk(world: World) -> None:
    """It has the newest keys by their name, and all that the damaged segment had."""
    one = world.own("one")
    one.run(lambda txn: create(txn, "ada"))
    one.put(1)
    one.shard.close()
    [written] = world.bucket.names(f"{FOLDER}/keys")
    damage(world, written.name, "changed")
    damage(world, names(world, "j")[-1], "changed")

    again = world.own("one")
    again.put(2)
    again.shard.close()

    check_whole(world, [1, 2])


@pytest.mark.parametrize("number", [2, 10**19])
def test_what_are_no_data_keys_stand_for_no_owner_and_remove_no_keys(world: World, number: int) -> None:
    one = world.own("one", run=1)
    one.run(lambda txn: create(txn, "ada"))
    there = f"{FOLDER}/keys/{one.journal.end.epoch + number:020}/{1:020}"
    world.bucket.create(there, b"x")

    one.run(lambda txn: create(txn, "bob"))
    one.snapshot(collects=True)
    one.journal.refuse_later_run()

    assert one.journal.is_newest_owner(one.journal.end.epoch)
    assert find_damage(world.journal()) is None
    with world.restored().read() as txn:
        assert all(txn.get(keys.memory(TENANT, name)) for name in ("ada", "bob"))
    one.shard.close()
    with world.own("another", run=1).shard.read() as txn:
        assert all(txn.get(keys.memory(TENANT, name)) for name in ("ada", "bob"))
