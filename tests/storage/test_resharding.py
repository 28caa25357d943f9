"""A store gets another number of shards with all of its rows, or keeps the shards that it has."""

import errno
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.policies import placement
from populace.policies.placement import shard_of, shard_of_key
from populace.storage import shard_directories
from populace.storage.header import read_header
from populace.storage.records import erasures, keys
from populace.storage.records.errors import (
    DiskRefused,
    StoreDamaged,
    StoreInUse,
    StoreInvalid,
    StoreVersionMismatch,
)
from populace.storage.records.records import TenantRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.resharding.errors import ReshardingFailed, ReshardingNeedsSpace
from populace.storage.resharding.reshard import Survey, reshard
from populace.storage.rows import api_keys, tenants
from populace.storage.shards.ownership import stored_served_ms
from populace.storage.store import Store
from tests.limits import HANG_SECONDS
from tests.storage.backups import Place, create, key_id_of, plain_rows, quiet, run
from tests.storage.processes import line_of, running, say
from tests.storage.resharded import ERASED, NAMES, SERVED_MS, check, entries, fill, give, rows_of
from tests.storage.samples import TENANT, api_key, identity
from tests.storage.test_compaction import kill_at_each_call, leave_free
from tests.storage.test_schemas import STORES
from tests.storage.test_store import rewrite

SHARDS = 2
PLANTED = shard_of(TENANT, "ada", SHARDS)
"""The shard that a damaged row is put into."""

OWNER = """
import sys
from pathlib import Path
from populace.storage.records.errors import StorageError
from populace.storage.store import Store

store = Store.open(Path(sys.argv[1]))
print("store", flush=True)
sys.stdin.readline()
try:
    shard = store.open_shard(0, "another owner")
    print("open", flush=True)
    sys.stdin.readline()
    shard.write([lambda txn: None])
    print("wrote")
except StorageError as error:
    print(type(error).__name__, error)
"""
"""Opens a store, then a shard of it, then writes; waits for a line before the last two."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = Store.create_or_open(tmp_path / "data", SHARDS)
    fill(store)
    return store.path


@pytest.mark.parametrize("shards", [1, 3, 64])
def test_a_resharded_store_has_every_row_as_it_was_each_where_it_is_looked_for(
    path: Path, shards: int
) -> None:
    before = rows_of(path)

    moved = give(path, shards)

    store = check(path, before)
    assert moved is not None
    assert (moved.former, moved.shards, store.shards) == (SHARDS, shards, shards)
    assert (moved.models, moved.api_keys, moved.rows) == (len(NAMES), 4, len(before))
    assert entries(path) == {"shards"}
    assert len(list((path / "shards").iterdir())) == shards


def test_a_store_is_resharded_again_and_back(path: Path) -> None:
    before, read = rows_of(path), merged(plain_rows(Store.open(path)))

    for shards in (5, 1, 3, SHARDS):
        give(path, shards)

    assert merged(plain_rows(check(path, before))) == read


def merged(shards: list[dict[bytes, bytes]]) -> dict[bytes, bytes]:
    return {key: value for rows in shards for key, value in rows.items() if not key.startswith(b"!")}


@settings(max_examples=10, deadline=None)
@given(
    st.sets(st.from_regex(keys.NAME_PATTERN, fullmatch=True), max_size=12),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
)
def test_any_models_go_through_any_numbers_of_shards(names: set[str], counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        store = Store.create_or_open(path, counts[0])
        for name in names:
            run(store, shard_of(TENANT, name, store.shards), create(store, name))
        before = rows_of(path)
        for shards in counts[1:]:
            give(path, shards)
            store = Store.open(path)
            assert (store.shards, rows_of(path)) == (shards, before)
            for name in names:
                with store.read_shard(shard_of(TENANT, name, shards)) as txn:
                    assert txn.get(keys.identity(TENANT, name)) is not None


def test_a_store_that_has_that_number_is_left_as_it_is(path: Path) -> None:
    before = (path / "store.json").stat().st_mtime_ns, (path / "shards").stat().st_ino

    assert give(path, SHARDS) is None

    assert ((path / "store.json").stat().st_mtime_ns, (path / "shards").stat().st_ino) == before


def test_no_key_is_needed(path: Path) -> None:
    before, key = rows_of(path), (path / "master.key").read_bytes()
    (path / "master.key").unlink()

    give(path, 3)

    (path / "master.key").write_bytes(key)
    check(path, before)


def test_nothing_expires_earlier_than_in_the_shard_that_it_was_in(path: Path) -> None:
    give(path, 3)

    store = Store.open(path)
    for number in range(store.shards):
        with store.read_shard(number) as txn:
            models = [keys.model_of(key) for key, _ in txn.scan(keys.all_identities())]
            former = {SERVED_MS + shard_of(*model, SHARDS) for model in models}
            assert stored_served_ms(txn) == min(former, default=None)


def test_epochs_go_on_so_that_the_next_owner_has_a_later_one_than_any_before(path: Path) -> None:
    store = Store.open(path)
    epochs: list[int] = []
    for _ in range(3):
        shard = store.open_shard(1, "the test")
        epochs.append(shard.epoch)
        shard.close()

    give(path, 3)

    for number in range(3):
        shard = Store.open(path).open_shard(number, "the test")
        assert shard.epoch > max(epochs)
        shard.close()


def test_a_compaction_that_was_due_is_done_by_moving_the_rows(path: Path) -> None:
    give(path, 3)

    store = Store.open(path)
    for number in range(store.shards):
        with store.read_shard(number) as txn:
            assert erasures.read_waiting(txn) is None
            assert not [key for key, _ in txn.scan(b"i") if any(name.encode() in key for name in ERASED)]


def test_a_former_owner_is_fenced_whatever_becomes_of_its_shard(path: Path) -> None:
    before = rows_of(path)
    with running(OWNER, path) as owner:
        assert line_of(owner) == "store"
        say(owner, "open")
        assert line_of(owner) == "open"

        give(path, 3)

        say(owner, "write")
        assert line_of(owner).startswith("Fenced")
    check(path, before)


def test_a_process_that_knows_the_former_number_opens_nothing(path: Path) -> None:
    before = rows_of(path)
    with running(OWNER, path) as owner:
        assert line_of(owner) == "store"

        give(path, 3)

        say(owner, "open")
        assert line_of(owner).startswith("StoreInvalid")
    check(path, before)


def test_an_owner_that_comes_between_the_header_and_the_renaming_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, settle = rows_of(path), shard_directories.settle
    with running(OWNER, path) as owner:
        assert line_of(owner) == "store"

        def open_and_settle(data: Path, shards: int) -> None:
            if shards == 3:
                say(owner, "open")
                assert "it has 3 shards by now and not 2" in line_of(owner)
            settle(data, shards)

        monkeypatch.setattr(shard_directories, "settle", open_and_settle)
        give(path, 3)
    check(path, before)


def test_an_owner_that_comes_during_the_move_keeps_the_store_as_it_is(path: Path) -> None:
    before = rows_of(path)
    with running(OWNER, path) as owner:
        assert line_of(owner) == "store"

        def report(step: str, fraction: float) -> None:
            if (step, fraction) == ("Checking the new shards", 1.0):
                say(owner, "open")
                assert line_of(owner) == "open"

        with pytest.raises(StoreInUse, match="another process"):
            reshard(path, 3, placement=placement, report=report)

        say(owner, "write")
        assert line_of(owner) == "wrote"
    assert (check(path, before).shards, entries(path)) == (SHARDS, {"shards"})


def test_a_served_store_is_refused_with_the_servers_name(path: Path) -> None:
    with (
        Store.open(path).lock("populace serve at http://127.0.0.1:8000"),
        pytest.raises(StoreInUse, match="in use by populace serve at http"),
    ):
        give(path, 3)


def test_a_store_is_not_served_while_it_is_resharded(path: Path) -> None:
    refused: list[str] = []

    def report(step: str, fraction: float) -> None:
        with pytest.raises(StoreInUse) as caught:
            Store.open(path).lock("populace serve")
        refused.append(caught.value.owner)

    reshard(path, 3, placement=placement, report=report)

    assert len(refused) > 0
    assert all(owner.startswith("populace reshard (process ") for owner in refused)


def test_what_is_no_store_of_this_release_is_refused_and_left_as_it_is(tmp_path: Path, path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(StoreInvalid, match=r"store\.json cannot be read"):
            give(place, 3)
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(StoreInvalid, match="serve it to do that"):
        give(shutil.copytree(STORES / "schema-4", tmp_path / "older"), 3)
    linked = tmp_path / "linked"
    shutil.copytree(path, linked)
    (linked / "shards").rename(tmp_path / "another disk")
    (linked / "shards").symlink_to(tmp_path / "another disk")
    with pytest.raises(StoreInvalid, match="symbolic link"):
        give(linked, 3)
    rewrite(path, schema=keys.SCHEMA + 1)
    with pytest.raises(StoreVersionMismatch):
        give(path, 3)


def plant(name: str) -> Callable[[WriteTransaction], None]:
    """An operation that puts a row where none belongs, or takes one away."""

    def operation(txn: WriteTransaction) -> None:
        match name:
            case "no model":
                txn.put(keys.head(TENANT, "absent"), b"")
            case "no head":
                txn.delete(keys.head(TENANT, "ada"))
            case "no data key":
                txn.delete(keys.data_key(TENANT, "ada"))
            case "another shard's model":
                elsewhere = next(n for n in map(str, range(99)) if shard_of(TENANT, n, SHARDS) != PLANTED)
                txn.put(keys.identity(TENANT, elsewhere), identity(elsewhere).pack())
            case "another shard's API key":
                elsewhere = next(n for n in map(str, range(99)) if shard_of_key(n, SHARDS) != PLANTED)
                api_keys.put_key(txn, api_key(elsewhere))
            case "another shard's tenant":
                elsewhere = next(n for n in map(str, range(99)) if shard_of_key(n, SHARDS) != PLANTED)
                tenants.put_tenant(txn, TenantRecord(tenant=elsewhere))
            case "an API key that cannot be read":
                txn.put(b"k" + bytes(16), b"\xff")
            case "a key without a name":
                txn.put(keys.head(TENANT, "ada")[:3], b"")
            case _:
                txn.put(b"?", b"")

    return operation


@pytest.mark.parametrize(
    "damage",
    [
        "no model",
        "no head",
        "no data key",
        "another shard's model",
        "another shard's API key",
        "another shard's tenant",
        "an API key that cannot be read",
        "a key without a name",
        "an unknown kind",
    ],
)
def test_a_shard_with_a_row_that_cannot_be_placed_is_named_and_the_store_left_as_it_is(
    path: Path, damage: str
) -> None:
    shard = Store.open(path).open_shard(PLANTED, "the test")
    assert shard.write([plant(damage)]) == [None]
    shard.close()
    before = rows_of(path)

    with pytest.raises(StoreDamaged, match=f"shards/000{PLANTED}"):
        give(path, 3)

    assert (rows_of(path), entries(path)) == (before, {"shards"})


def test_a_shard_with_damaged_pages_is_named_and_the_store_left_as_it_is(path: Path) -> None:
    [data] = path.glob("shards/0001/*/data.mdb")
    content = data.read_bytes()
    data.write_bytes(content[:8192] + bytes(len(content) - 8192))

    with pytest.raises((StoreDamaged, StoreInvalid), match="shards/0001"):
        give(path, 3)

    assert (read_header(path).shards, entries(path)) == (SHARDS, {"shards"})


def test_a_disk_without_room_is_named_with_both_numbers_before_anything_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(monkeypatch, 1_000_000)

    with pytest.raises(ReshardingNeedsSpace) as caught:
        give(path, 64)

    assert caught.value.bytes_needed > caught.value.bytes_free == 1_000_000
    assert entries(path) == {"shards"}
    give(path, 1)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "at", ["Checking the shards", "Reading the rows", "Moving the rows", "Checking the new shards"]
)
def test_a_resharding_that_is_stopped_leaves_the_store_as_it_was(
    path: Path, at: str, error: BaseException
) -> None:
    before = rows_of(path)

    def report(step: str, fraction: float) -> None:
        if step == at:
            raise error

    with pytest.raises((DiskRefused, KeyboardInterrupt)):
        reshard(path, 3, placement=placement, report=report)

    assert (check(path, before).shards, entries(path)) == (SHARDS, {"shards"})


@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_new_shards_that_do_not_hold_the_old_rows_never_become_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    before, rows_of_shard = rows_of(path), Survey.rows_of

    def faulty(*arguments: object) -> object:
        for key, value in rows_of_shard(*arguments):  # type: ignore[arg-type]
            if key != keys.interaction(TENANT, "ada", 1):
                yield key, value
            elif fault == "changed":
                yield key, value[:-1] + bytes((value[-1] ^ 1,))

    monkeypatch.setattr(Survey, "rows_of", faulty)
    with pytest.raises(
        ReshardingFailed, match="a row was changed" if fault == "changed" else "rows instead of"
    ):
        give(path, 3)

    assert (check(path, before).shards, entries(path)) == (SHARDS, {"shards"})


def test_a_resharding_that_is_killed_at_any_step_leaves_one_whole_store(path: Path, tmp_path: Path) -> None:
    before = rows_of(path)
    (tmp_path / "killed").mkdir()

    killed = kill_at_each_call(path, tmp_path / "killed", "reshard")

    numbers: list[int] = []
    left: list[set[str]] = []
    for number, copy in enumerate(killed):
        left.append(entries(copy))
        numbers.append(check(copy, before).shards)
        if number % 2:
            Store.create_or_open(copy)
        else:
            give(copy, SHARDS)
        assert entries(copy) == {"shards"}
        assert rows_of(copy) == before
    assert numbers == sorted(numbers), "the former number up to the header"
    assert {SHARDS, 3} == set(numbers)
    assert {"shards", "shards-3"} in left
    assert {".shards-former", "shards-3"} in left


def test_a_backup_from_before_is_restored_without_whoever_was_erased_since(place: Place) -> None:
    path = place.store.path
    shutil.rmtree(path)
    store = Store.create_or_open(path, SHARDS)
    fill(store)
    again = Place(store, place.backup, place.keys, place.new)
    again.back_up()
    number = shard_of(TENANT, "ada", SHARDS)
    erased = keys.erasure(key_id_of(store, number, "ada"))
    run(store, number, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=9))
    give(path, 5)
    give(path, SHARDS)

    told = again.restore(erasures_of=path)

    restored = Store.open(place.new)
    assert (told.models, told.erased, restored.shards) == (len(NAMES) - 1, 1, SHARDS)
    assert erased in rows_of(place.new)
    shutil.rmtree(place.new)
    give(path, 7)
    renewed = Place(Store.open(path), place.backup, place.keys, place.new)
    renewed.back_up(place.new.with_name("later"))

    assert renewed.restore() == told
    assert erased in rows_of(place.new)
    assert Store.open(place.new).shards == SHARDS


def test_a_backup_that_a_resharding_interrupts_is_refused(path: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.storage.resharded import give; "
    code += "give(Path(sys.argv[1]), 3)"
    place = Place(Store.open(path), tmp_path / "backup", tmp_path / "keys", tmp_path / "new")
    resharded: list[int] = []

    def report(step: str, fraction: float) -> None:
        quiet(step, fraction)
        if not resharded:
            command = [sys.executable, "-c", code, str(path)]
            resharded.append(subprocess.run(command, timeout=HANG_SECONDS).returncode)

    with pytest.raises(StoreInvalid, match="it is not shard 1 of 2"):
        place.back_up(report=report)

    assert resharded == [0]
    assert not place.backup.exists()
