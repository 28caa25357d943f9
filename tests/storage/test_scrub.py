"""Reading all of a store names what is damaged and nothing else; an adapter is mended from its other copy."""

from collections.abc import Generator
from pathlib import Path

import pytest

from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.adapters import JournalAdapters
from populace.storage.journal.scrub import Scrubbed, mend_adapters, scrub_journal_adapters, scrub_store
from populace.storage.journal.sealing import JournalSeal
from populace.storage.records import keys
from populace.storage.shards.generations import DATA_FILE
from populace.storage.shards.rows import Writer
from populace.storage.store import Store
from tests.storage.backups import Place, run, stored_rows, take_turn
from tests.storage.faulty_bucket import FaultyBucket
from tests.storage.samples import TENANT

ADA, BEN = f"{TENANT}/ada", f"{TENANT}/ben"


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def people_in(found: Scrubbed) -> list[str]:
    return [damage.what for damage in found.people]


def put_verbatim(store: Store, number: int, key: bytes, value: bytes) -> None:
    """Put a row as it is to be on disk, as bit rot does."""
    shard = store.open_shard(number, "rot")

    def put(writer: Writer) -> None:
        Writer.put(writer, key, value)

    shard.apply(put)
    shard.close()


@pytest.fixture
def store(backed_up: Place) -> Store:
    return backed_up.store


def test_a_whole_store_has_no_damage_and_all_of_it_is_read(store: Store) -> None:
    found = scrub_store(store)

    assert found == Scrubbed(
        2, found.rows, 2, walked=True, shards=(), people=(), damaged_adapters=(), lacking=()
    )
    # Those that ``stored_rows`` leaves out are headers of the two shards.
    assert found.rows > sum(map(len, stored_rows(store)))


def test_a_bit_in_any_row_of_a_person_is_found_and_the_other_is_whole(store: Store) -> None:
    rows = stored_rows(store)[0]
    kinds = dict[str, bytes]()
    for key in rows:
        if any(key.startswith(prefix) for prefix in keys.sealed_prefixes(TENANT, "ada")):
            kinds.setdefault(keys.kind_of(key), key)
    assert len(kinds) >= 4, kinds
    for kind, key in kinds.items():
        whole = rows[key]
        put_verbatim(store, 0, key, whole[:-1] + bytes((whole[-1] ^ 1,)))

        found = scrub_store(store)

        assert people_in(found) == [ADA], kind
        assert "it was changed" in found.people[0].why
        assert (found.shards, found.damaged_adapters, found.models) == ((), (), 2)
        put_verbatim(store, 0, key, whole)
    assert people_in(scrub_store(store)) == []


def test_rows_that_contradict_each_other_are_a_persons_damage(store: Store) -> None:
    gone = keys.interaction(TENANT, "ben", 2)
    shard = store.open_shard(1, "rot")
    shard.apply(lambda writer: writer.delete(gone))
    shard.close()

    found = scrub_store(store)

    assert people_in(found) == [BEN]
    assert "gap at 2" in found.people[0].why


def test_a_shard_without_its_pages_is_named_and_the_others_are_read(store: Store) -> None:
    [data] = store.shard_path(0).rglob(DATA_FILE)
    with data.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096 * 6)

    found = scrub_store(store)

    assert [damage.what for damage in found.shards] == ["shard 0"]
    assert (found.models, people_in(found)) == (1, [])


def test_a_store_that_is_served_is_read_without_its_pages_and_serves_on(store: Store) -> None:
    with DirectoryLock(store.path, "a server"):
        found = scrub_store(store)
    run(store, 0, take_turn(7))

    assert (found.walked, found.shards, found.models) == (False, (), 2)


def test_a_damaged_and_an_absent_adapter_are_named(store: Store) -> None:
    digest, other = store.revisions.digests()
    damaged, absent = (digest, other) if store.revisions.path(digest).is_file() else (other, digest)
    flip(store.revisions.path(damaged))
    store.revisions.remove(absent)

    found = scrub_store(store)

    assert [damage.what for damage in found.damaged_adapters] == [damaged]
    assert found.lacking == (absent,)
    assert (found.people, found.shards) == ((), ())


@pytest.fixture
def bucket(store: Store) -> Generator[FaultyBucket]:
    """A bucket that has the adapters of the store."""
    bucket = FaultyBucket()
    seal = JournalSeal(store.sealing.master_key, store.store_id)
    adapters = JournalAdapters(bucket, seal, store.store_id, store.revisions)
    for digest in store.revisions.digests():
        adapters.keep(digest)
    yield bucket
    assert scrub_journal_adapters(bucket, store) == []


def test_an_adapter_is_mended_from_the_journal_and_the_journals_from_here(
    store: Store, bucket: FaultyBucket
) -> None:
    packed = next(one for one in store.revisions.digests() if store.revisions.path(one).is_file())
    [other] = {*store.revisions.digests()} - {packed}
    flip(store.revisions.path(packed))
    name = next(found.name for found in bucket.names(f"{store.store_id}/adapters/{other}"))
    content = bytearray(bucket.read(name) or b"")
    content[-1] ^= 1
    bucket.replace(name, bytes(content))

    here = [damage.what for damage in scrub_store(store).damaged_adapters]
    there = [damage.what for damage in scrub_journal_adapters(bucket, store)]
    assert (here, there) == ([packed], [other])
    assert mend_adapters(bucket, store, here=here, there=there) == [packed, other]
    assert scrub_store(store).damaged_adapters == ()


def test_what_is_damaged_in_both_is_not_mended_and_nothing_is_lost(
    store: Store, bucket: FaultyBucket
) -> None:
    packed = next(one for one in store.revisions.digests() if store.revisions.path(one).is_file())
    [name] = [found.name for found in bucket.names(f"{store.store_id}/adapters/{packed}")]
    whole = bucket.read(name) or b""
    flip(store.revisions.path(packed))
    bucket.replace(name, whole[:-1] + bytes((whole[-1] ^ 1,)))

    assert mend_adapters(bucket, store, here=[packed], there=[packed]) == []

    assert store.revisions.has(packed)
    assert len(bucket.read(name) or b"") == len(whole)
    bucket.replace(name, whole)
