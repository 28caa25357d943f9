"""A store of every earlier release opens with what it held, and one of a later release is refused.

``stores/schema-<n>`` was written by a release of that schema: two shards with the models ``ada``
and ``ben``, and ``cleo``, of three turns each; a revision of ``ada`` with its alias; an API key; and
free pages with the turns of a model ``gone`` that was deleted. From schema 5 on somebody thought something
of ``ada``'s second turn.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from populace.storage.header import read_header
from populace.storage.journal.description import describe
from populace.storage.journal.joining import join_store
from populace.storage.journal.opening import open_bucket
from populace.storage.records import keys
from populace.storage.records.errors import MasterKeyRefused, StoreInvalid, StoreVersionMismatch
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.records.transaction import WriteTransaction
from populace.storage.revisions import RevisionFiles
from populace.storage.rows import api_keys, feedback, ledger
from populace.storage.shards import generations
from populace.storage.shards.ownership import write_header
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.storage.adapters import packed
from tests.storage.samples import TENANT, commit, digest, open_shard
from tests.storage.test_compaction import copies_of, data_files, kill_at_each_call

STORES = Path(__file__).with_name("stores")
SCHEMAS = range(1, keys.SCHEMA + 1)
MODELS = (("ada", "ben"), ("cleo",))
STORE_IDS = {
    "86a10e9bb9ad830606942055c87ea118",
    "87bfe05abcd79718db8d767a8425e405",
    "ee64d088a0d1c232c6e9ef0d6cd0e447",
    "e20444c2123737b5ac03f493a2ad117a",
}


@pytest.fixture
def path(tmp_path: Path, schema: int) -> Path:
    return shutil.copytree(STORES / f"schema-{schema}", tmp_path / "store")


def check_content(store: Store, made_by: int, *, map_bytes: int = 1 << 26) -> None:
    assert store.store_id in STORE_IDS
    assert store.shards == len(MODELS)
    for number, names in enumerate(MODELS):
        shard = store.open_shard(number, "the test", map_bytes=map_bytes)
        shard.check_integrity()
        with shard.read() as txn:
            models = ledger.list_models(txn, TENANT)
            assert tuple(model.identity.name for model in models) == names
            for name in names:
                log = ledger.read_log(txn, TENANT, name)
                assert [(turn.operation, turn.reply) for turn in log] == [
                    (f"{name}-{at}", "Hello.") for at in range(3)
                ]
            if number == 0:
                assert models[0].aliases == {"latest": digest("one")}
                assert ledger.read_revision(txn, TENANT, "ada", "latest").scores == {"loss": 1.5}
                [key] = api_keys.list_keys(txn)
                assert (key.key_id, key.tenant, key.secret_sha256) == ("key-1", TENANT, b"\x01" * 32)
                assert (key.role, key.models) == ("tenant", None)
                assert (key.expires_ms, key.used_ms, key.former_sha256) == (None, None, b"")
                thoughts = [one.correction for one in feedback.walk_feedback(txn, TENANT, "ada")]
                assert thoughts == (["Good day."] if made_by >= 5 else [])
        shard.close()


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("map_bytes", [1 << 20, 1 << 36])
def test_a_store_of_every_schema_opens_with_what_it_held_and_goes_on(
    path: Path, schema: int, map_bytes: int
) -> None:
    store = Store.create_or_open(path)

    check_content(store, schema, map_bytes=map_bytes)

    shard = store.open_shard(1, "the test", map_bytes=map_bytes)
    shard.write([lambda txn: commit(txn, 3, "cleo-3", name="cleo")])
    shard.check_integrity()
    shard.close()
    assert json.loads((path / "store.json").read_bytes())["schema"] == keys.SCHEMA
    assert Store.create_or_open(path).open_shard(1, "the test").epoch > shard.epoch


@pytest.mark.parametrize("schema", [1, 2])
def test_a_migration_seals_what_was_said_and_leaves_no_plain_copy(path: Path, schema: int) -> None:
    assert copies_of(b"Hello.", path) > 0

    Store.create_or_open(path)

    assert copies_of(b"Hello.", path) == 0
    assert copies_of(b"turn 1", path) == 0
    check_content(Store.open(path), schema)


@pytest.mark.parametrize("schema", [1])
def test_a_migration_moves_each_shard_and_leaves_nothing_of_what_was_deleted(path: Path) -> None:
    assert copies_of(b"gone-7", path) > 0

    store = Store.create_or_open(path)

    assert copies_of(b"gone-7", path) == 0
    for number in range(store.shards):
        assert generations.locate(store.shard_path(number)) != store.shard_path(number)
        assert len(data_files(store.shard_path(number))) == 1


@pytest.mark.parametrize("schema", SCHEMAS[:-1])
@pytest.mark.parametrize("opening", [Store.open, Store.adapters])
def test_a_store_is_not_opened_before_its_migration_has_ended(
    path: Path, opening: Callable[[Path], object]
) -> None:
    with pytest.raises(StoreInvalid, match="migrated"):
        opening(path)


@pytest.mark.parametrize("schema", [3])
def test_an_adapter_of_schema_3_stays_and_one_that_comes_keeps_that_release_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, _ = RevisionFiles(path / "revisions").add_directory(b"{}", b"tensors")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    files = Store.create_or_open(path).revisions
    came, _ = files.add(packed())

    files.verify(former)
    files.verify(came)
    after = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert {file for file in after if before.get(file) != after[file]} == {
        path / "store.json",
        files.path(came),
    }
    monkeypatch.setattr(keys, "SCHEMA", 3)
    for opening in (Store.create_or_open, Store.open, Store.adapters):
        with pytest.raises(StoreVersionMismatch):
            opening(path)


@pytest.mark.parametrize("schema", [pytest.param(1, marks=pytest.mark.fault), 2])
def test_a_migration_that_is_killed_at_any_step_is_taken_up_again(
    path: Path, tmp_path: Path, schema: int
) -> None:
    (tmp_path / "killed").mkdir()

    killed = kill_at_each_call(path, tmp_path / "killed", "migrate")

    for copy in killed:
        check_content(Store.create_or_open(copy), schema)
        assert copies_of(b"Hello.", copy) == 0
        assert len(data_files(copy)) == len(MODELS)
    assert len(killed) > 20


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_newer_store_is_refused_with_both_numbers_and_left_as_it_is(path: Path) -> None:
    header = json.loads((path / "store.json").read_bytes())
    newer = json.dumps({**header, "schema": keys.SCHEMA + 1, "invented_later": 1})
    (path / "store.json").write_text(newer)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    for opening in (Store.create_or_open, Store.open):
        with pytest.raises(StoreVersionMismatch) as caught:
            opening(path)
        assert (caught.value.stored, caught.value.supported) == (keys.SCHEMA + 1, keys.SCHEMA)

    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_shard_of_a_newer_release_is_refused_with_both_numbers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create_or_open(path)
    shard = store.open_shard(0, "the test")
    supported = keys.SCHEMA

    def as_a_newer_release(txn: WriteTransaction) -> None:
        with monkeypatch.context() as newer:
            newer.setattr(keys, "SCHEMA", supported + 1)
            write_header(txn, 0, 2)

    shard.write([as_a_newer_release])
    shard.close()

    with pytest.raises(StoreVersionMismatch) as caught:
        store.open_shard(0, "the test")
    assert (caught.value.stored, caught.value.supported) == (supported + 1, supported)


def test_a_shard_of_schema_1_carries_the_new_number_before_its_file_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(STORES / "schema-1" / "shards" / "0000", tmp_path / "shard")

    def crash(shard: Shard) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(Shard, "compact", crash)
        with pytest.raises(KeyboardInterrupt):
            open_shard(path, 0, 2, "the migration")

    assert generations.locate(path) == path
    supported = keys.SCHEMA
    monkeypatch.setattr(keys, "SCHEMA", 1)
    with pytest.raises(StoreVersionMismatch) as caught:
        open_shard(path, 0, 2, "the older release")
    assert (caught.value.stored, caught.value.supported) == (supported, 1)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_old_store_is_migrated_before_it_goes_on_with_a_journal(
    path: Path, schema: int, tmp_path: Path
) -> None:
    elsewhere = Store.create_or_open(shutil.copytree(path, tmp_path / "elsewhere"))
    (tmp_path / "bucket").mkdir()
    bucket = open_bucket(f"file://{tmp_path}/bucket")
    describe(bucket, elsewhere)
    with pytest.raises(MasterKeyRefused):
        join_store(bucket, path, store_id=elsewhere.store_id, master_key=tmp_path / "absent.key")

    store = join_store(bucket, path, store_id=elsewhere.store_id, master_key=elsewhere.path / MASTER_KEY_FILE)

    assert read_header(path).schema_version == keys.SCHEMA
    check_content(store, schema)


def test_a_journal_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", 1)
    (tmp_path / "bucket").mkdir()
    bucket = open_bucket(f"file://{tmp_path}/bucket")
    describe(bucket, store)
    description = tmp_path / "bucket" / store.store_id / "store.json"
    content = json.loads(description.read_bytes())
    assert content["schema_version"] == keys.SCHEMA
    description.write_text(json.dumps({**content, "schema_version": keys.SCHEMA + 1}))

    with pytest.raises(StoreVersionMismatch):
        describe(bucket, store)
    with pytest.raises(StoreVersionMismatch):
        join_store(bucket, tmp_path / "new", store_id=store.store_id, master_key=store.path / MASTER_KEY_FILE)
    assert not (tmp_path / "new").exists()
    description.write_text(json.dumps({**content, "schema_version": keys.SCHEMA - 1}))
    describe(bucket, store)
    assert json.loads(description.read_bytes()) == content
