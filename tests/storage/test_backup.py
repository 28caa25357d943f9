"""What a backup took comes back bit for bit, and what is wrong with one is named before anything is made."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from populace.storage.backups.backup import write_backup, write_keys
from populace.storage.backups.errors import DirectoryRefused, KeyFileRefused
from populace.storage.backups.key_file import KeyFile
from populace.storage.backups.restore import Restored, restore_backup
from populace.storage.records import erasures
from populace.storage.records.errors import (
    DiskRefused,
    MasterKeyRefused,
    RecordInvalid,
    ShardStopped,
    StorageError,
    StoreInUse,
    StoreInvalid,
)
from populace.storage.records.master_key import MasterKey
from populace.storage.store import Store
from tests.storage.backups import (
    SHARDS,
    TURNS,
    Place,
    adapter_files,
    create,
    key_id_of,
    plain_rows,
    quiet,
    run,
    stored_rows,
    take_turn,
)
from tests.storage.samples import TENANT


def erase(store: Store, number: int, name: str) -> None:
    run(store, number, lambda txn: erasures.erase_model(txn, TENANT, name, now_ms=9))


def test_a_restored_store_has_every_row_and_adapter_of_the_one_that_was_backed_up(place: Place) -> None:
    written = place.back_up()

    restored = place.restore()

    again = Store.open(place.new)
    assert (again.store_id, again.shards) == (place.store.store_id, SHARDS)
    assert stored_rows(again) == stored_rows(place.store)
    assert plain_rows(again) == plain_rows(place.store)
    assert adapter_files(again) == adapter_files(place.store)
    assert len(adapter_files(again)) == 3
    assert (written.models, written.adapters, written.api_keys, written.erasures) == (2, 2, 2, 0)
    assert restored == Restored(models=2, adapters=2, api_keys=2, erased=0, lacking=0)
    assert place.names() == {"data", "backup", "keys", "new"}


def test_a_restored_store_takes_turns_and_is_backed_up_to_the_same_key_file(backed_up: Place) -> None:
    backed_up.restore()
    again = Store.open(backed_up.new)

    run(again, 0, take_turn(TURNS + 1))
    write_backup(again, backed_up.new.with_name("second"), backed_up.keys, now_ms=6, report=quiet)

    assert plain_rows(again)[0] != plain_rows(backed_up.store)[0]


def test_a_row_that_changed_after_the_backup_is_as_it_was_in_the_restored_store(backed_up: Place) -> None:
    before = plain_rows(backed_up.store)
    run(backed_up.store, 1, take_turn(TURNS, name="ben"))

    backed_up.restore()

    assert plain_rows(Store.open(backed_up.new)) == before
    assert plain_rows(backed_up.store) != before


def test_whoever_was_erased_after_the_backup_is_left_out_and_stays_erased(backed_up: Place) -> None:
    ada = key_id_of(backed_up.store, 0, "ada")
    erase(backed_up.store, 0, "ada")
    write_keys(backed_up.store, backed_up.keys, now_ms=6, report=quiet)

    restored = backed_up.restore()

    assert (restored.models, restored.erased) == (1, 1)
    again = Store.open(backed_up.new)
    assert plain_rows(again) == plain_rows(backed_up.store)
    assert [shard.erased.keys() for shard in KeyFile.load(backed_up.keys).read_shards()] == [{ada}, set()]
    for number in range(SHARDS):
        shard = again.open_shard(number, "the test")
        shard.check_integrity()
        shard.close()


def test_a_store_that_is_still_there_tells_of_erasures_that_the_key_file_does_not_know(
    backed_up: Place,
) -> None:
    erase(backed_up.store, 1, "ben")

    restored = backed_up.restore(erasures_of=backed_up.store.path)

    assert (restored.models, restored.erased) == (1, 1)
    assert plain_rows(Store.open(backed_up.new)) == plain_rows(backed_up.store)


def test_another_store_cannot_tell_of_erasures(backed_up: Place, tmp_path: Path) -> None:
    other = Store.create_or_open(tmp_path / "other", SHARDS)

    with pytest.raises(StoreInvalid, match="another store"):
        backed_up.restore(erasures_of=other.path)

    assert not backed_up.new.exists()


def test_erasures_in_a_backup_are_restored(place: Place) -> None:
    erase(place.store, 0, "ada")

    assert place.back_up().erasures == 1
    place.restore()

    assert plain_rows(Store.open(place.new)) == plain_rows(place.store)


def test_a_key_file_that_is_older_than_the_backup_is_refused_unless_a_part_is_enough(place: Place) -> None:
    write_keys(place.store, place.keys, now_ms=5, report=quiet)
    run(place.store, 0, create(place.store, "cyd"))
    place.back_up(keys=place.keys.with_name("newer"))

    with pytest.raises(KeyFileRefused, match="older than the backup"):
        place.restore()

    assert place.names() == {"data", "backup", "keys", "newer"}
    assert place.restore(partial=True) == Restored(models=2, adapters=2, api_keys=2, erased=0, lacking=1)


def test_a_key_file_is_for_its_owners_eyes_only_and_opens_older_backups_too(backed_up: Place) -> None:
    run(backed_up.store, 0, create(backed_up.store, "cyd"))
    backed_up.back_up(backed_up.backup.with_name("second"))

    assert backed_up.keys.stat().st_mode & 0o777 == 0o600
    assert backed_up.restore().models == 2


def test_a_backup_of_a_store_that_this_process_serves_is_refused_by_name(place: Place) -> None:
    with_shard = place.store.open_shard(0, "the test")
    try:
        with pytest.raises(StoreInUse, match="this process"):
            place.back_up()
    finally:
        with_shard.close()

    assert place.names() == {"data"}


def test_a_store_that_lost_a_data_key_cannot_be_backed_up_without_saying_whose(place: Place) -> None:
    run_raw(place.store, lambda key: key[:1] == b"d")

    with pytest.raises(RecordInvalid, match="missing for the model `ada`"):
        place.back_up()

    assert place.names() == {"data"}


@pytest.mark.parametrize("name", ["*.adapter", "*/adapter_config.json", "*/adapter_model.safetensors"])
def test_an_adapter_that_is_damaged_is_named_and_all_else_is_backed_up(place: Place, name: str) -> None:
    [adapter] = place.store.revisions.root.glob(name)
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"!")

    manifest = place.back_up()

    assert [digest in str(adapter) for digest in manifest.damaged] == [True]
    restored = place.restore()
    assert restored.adapters == manifest.adapters == 1
    assert restored.models == manifest.models > 0


@pytest.mark.parametrize("where", ["full", "file", "backup/new"])
def test_a_place_that_a_store_cannot_take_is_named_and_left_as_it_is(backed_up: Place, where: str) -> None:
    full, file = backed_up.new.with_name("full"), backed_up.new.with_name("file")
    full.mkdir()
    (full / "theirs").write_text("theirs")
    file.write_text("theirs")
    before = backed_up.names()

    with pytest.raises(DirectoryRefused):
        backed_up._replace(new=backed_up.new.parent / where).restore()

    assert backed_up.names() == before
    assert (full / "theirs").read_text() == file.read_text() == "theirs"


@pytest.mark.parametrize("where", ["full", "file", "data/backup"])
def test_a_place_that_a_backup_cannot_take_is_named_and_left_as_it_is(place: Place, where: str) -> None:
    full, file = place.new.with_name("full"), place.new.with_name("file")
    full.mkdir()
    (full / "theirs").write_text("theirs")
    file.write_text("theirs")
    before = place.names()

    with pytest.raises(DirectoryRefused):
        place.back_up(place.new.parent / where)

    assert place.names() == before
    assert (full / "theirs").read_text() == file.read_text() == "theirs"


def test_an_empty_directory_is_taken(place: Place) -> None:
    place.backup.mkdir()
    place.new.mkdir()

    place.back_up()

    assert place.restore().models == 2


def test_the_keys_are_never_written_beside_what_they_open(place: Place) -> None:
    for keys in (place.backup / "keys", place.store.path / "keys"):
        with pytest.raises(KeyFileRefused, match="keep it apart"):
            place.back_up(keys=keys)

    with pytest.raises(KeyFileRefused, match="keep it apart"):
        write_keys(place.store, place.store.path / "keys", now_ms=5, report=quiet)

    assert place.names() == {"data"}


def test_a_file_that_is_not_the_key_file_of_this_store_is_never_replaced(
    place: Place, tmp_path: Path
) -> None:
    other = Store.create_or_open(tmp_path / "other", SHARDS)
    write_keys(other, tmp_path / "other keys", now_ms=5, report=quiet)
    theirs = {
        "a master key": place.store.sealing.master_key.encode(),
        "a note": b"a note",
        "nothing": b"",
        "other keys": (tmp_path / "other keys").read_bytes(),
    }
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)

        with pytest.raises(KeyFileRefused, match="not replaced"):
            place.back_up(keys=tmp_path / name)

        assert (tmp_path / name).read_bytes() == content
    assert place.names() == {"data", "other", *theirs}


def run_raw(store: Store, is_doomed: Callable[[bytes], bool]) -> None:
    """Delete rows of shard 0, whatever laws they are under."""
    shard = store.open_shard(0, "the test")
    with shard.read() as txn:
        doomed = [key for key, _ in txn.scan(b"") if is_doomed(key)]
    shard.write([lambda txn: [txn.delete(key) for key in doomed]])
    shard.close()


def test_a_backup_that_is_stopped_leaves_nothing_and_the_former_keys(backed_up: Place) -> None:
    before, keys = backed_up.names(), backed_up.keys.read_bytes()

    with pytest.raises(KeyboardInterrupt):
        write_backup(
            backed_up.store,
            backed_up.new,
            backed_up.keys,
            now_ms=6,
            report=interrupt_at("Writing the models"),
        )

    assert backed_up.names() == before
    assert backed_up.keys.read_bytes() == keys


@pytest.mark.parametrize("step", ["Checking the files", "Restoring the models", "Checking the rows"])
def test_a_restore_that_is_stopped_leaves_nothing(backed_up: Place, step: str) -> None:
    before = backed_up.names()

    with pytest.raises(KeyboardInterrupt):
        restore_backup(backed_up.backup, backed_up.keys, backed_up.new, report=interrupt_at(step))

    assert backed_up.names() == before


def interrupt_at(wanted: str) -> Callable[[str, float], None]:
    def report(step: str, fraction: float) -> None:
        del fraction
        if step == wanted:
            raise KeyboardInterrupt

    return report


def test_what_a_crash_left_is_removed_by_the_next_one(place: Place) -> None:
    for name in (".backup.unfinished", ".new.unfinished"):
        (place.new.with_name(name) / "shards").mkdir(parents=True)
        (place.new.with_name(name) / "master.key").write_text("left")
    left = place.keys.with_name(".keys.tmp")
    left.write_text("keys that must not stay")
    left.chmod(0o644)

    place.back_up()
    place.restore()

    assert place.names() == {"data", "backup", "keys", "new"}
    assert place.keys.stat().st_mode & 0o777 == 0o600
    assert stored_rows(Store.open(place.new)) == stored_rows(place.store)


def test_two_backups_of_one_name_at_once_do_not_mix(place: Place) -> None:
    refusals: list[StorageError] = []

    def report(step: str, fraction: float) -> None:
        del step, fraction
        with pytest.raises(DirectoryRefused, match="just now") as directory:
            place.back_up()
        with pytest.raises(KeyFileRefused, match="just now") as keys:
            place.back_up(place.backup.with_name("second"))
        refusals.extend((directory.value, keys.value))

    write_backup(place.store, place.backup, place.keys, now_ms=5, report=report)

    assert len(refusals) == 2 * SHARDS
    assert place.names() == {"data", "backup", "keys"}
    assert place.restore().models == 2


def test_the_master_key_goes_where_the_store_looks_for_it_and_replaces_no_other(
    backed_up: Place, tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "theirs.key", tmp_path / "safe" / "our.key"
    MasterKey.generate().save(theirs)

    with pytest.raises(MasterKeyRefused, match="another store"):
        restore_backup(backed_up.backup, backed_up.keys, backed_up.new, master_key=theirs, report=quiet)
    assert not backed_up.new.exists()
    restore_backup(backed_up.backup, backed_up.keys, backed_up.new, master_key=ours, report=quiet)

    assert not (backed_up.new / "master.key").exists()
    assert plain_rows(Store.open(backed_up.new, master_key=ours)) == plain_rows(backed_up.store)


def test_a_disk_that_refuses_any_sync_leaves_nothing_half_done(
    backed_up: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = backed_up.backup.with_name("second")

    for act, made in ((lambda: backed_up.back_up(second), second), (backed_up.restore, backed_up.new)):
        refusals = refuse_each_sync(backed_up, act, monkeypatch)

        assert refusals >= 10
        assert made.exists()
    assert plain_rows(Store.open(backed_up.new)) == plain_rows(backed_up.store)


def refuse_each_sync(place: Place, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Act until nothing goes wrong, with another sync that fails each time; answers how often one did."""
    before = place.names()
    fsync = os.fsync
    for number in itertools.count():
        remaining = iter(range(number))

        def sync(descriptor: int, remaining: Iterator[int] = remaining) -> None:
            if next(remaining, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", sync)
        try:
            act()
        except (DiskRefused, ShardStopped):
            pass
        else:
            return number
        finally:
            monkeypatch.undo()
        assert place.names() == before, number
        assert KeyFile.load(place.keys).store_id == place.store.store_id
    raise AssertionError("it counts for ever")
