"""What an archive carries is all of a model, in files that a person can read."""

import io
import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load

from populace.archive.exporting import export_archive
from populace.storage.records.errors import ArchiveInvalid, ModelNotFound, StoreInvalid
from populace.storage.records.records import (
    HeadRecord,
    IdentityRecord,
    InteractionRecord,
    SuiteRecord,
)
from populace.storage.rows import ledger
from populace.storage.rows.portable import PortableModel
from populace.storage.rows.suites import put_suite
from populace.storage.store import Store
from tests.runtime.archive.homes import Home, members_of, open_home
from tests.storage.backups import adapter_files
from tests.storage.portable_models import (
    Maker,
    fresh,
    memory_after,
    plain_rows,
    read,
    talkative,
    wholly_compacted,
    with_suite,
)
from tests.storage.samples import TENANT
from tests.storage.test_schemas import STORES


def rows_of(home: Home, tenant: str = TENANT, name: str = "ada") -> dict[bytes, bytes]:
    with home.shard.read() as txn:
        return plain_rows(txn, tenant, name)


def test_every_row_and_adapter_is_the_same_in_the_other_store(home: Home, other: Home) -> None:
    view = other.take_in(home.export())

    assert rows_of(other) == rows_of(home)
    assert view.aliases == {name: view.aliases[name] for name in ("alias-0", "alias-1", "latest")}
    for digest in set(view.aliases.values()):
        other.store.revisions.verify(digest)
    assert adapter_files(other.store) == adapter_files(home.store)


def test_what_comes_out_again_is_the_same_file(home: Home, other: Home) -> None:
    first = home.export()

    other.take_in(first)

    assert other.export() == first


@pytest.mark.parametrize("make", [fresh, talkative, wholly_compacted, with_suite])
def test_models_of_all_kinds_go_through(tmp_path: Path, other: Home, make: Maker) -> None:
    with open_home(tmp_path / "kind") as kind:
        make(kind.shard, sealing=kind.store.sealing)

        other.take_in(kind.export())

        assert rows_of(other) == rows_of(kind)
        assert other.export() == kind.export()


def test_a_suite_that_nobody_could_have_stored_is_refused(home: Home, other: Home) -> None:
    suite = SuiteRecord(questions=(("Where?", "(a", "matches", None),))
    home.shard.write([lambda txn: put_suite(txn, TENANT, "ada", suite)])

    with pytest.raises(
        ArchiveInvalid, match=r"its suite is not sound: Line 1 of the suite: '\(a' is no regular"
    ):
        other.take_in(home.export())

    with other.shard.read() as txn:
        assert list(ledger.list_models(txn, TENANT)) == []


def test_another_person_gets_a_copy_and_the_original_stays(home: Home) -> None:
    before = rows_of(home)

    view = home.take_in(home.export(), "globex", "zoe")

    copy = rows_of(home, "globex", "zoe")
    assert (view.model.tenant, view.model.name) == ("globex", "zoe")
    assert rows_of(home) == before
    assert {key: value for key, value in copy.items() if key != b"i"} == {
        key: value for key, value in before.items() if key != b"i"
    }


@pytest.mark.parametrize("schema", [1, 2])
def test_records_of_an_older_release_keep_their_bytes(tmp_path: Path, other: Home, schema: int) -> None:
    store = Store.create_or_open(shutil.copytree(STORES / f"schema-{schema}", tmp_path / "store"))
    shard = store.open_shard(1, "the test", map_bytes=1 << 26)
    old = Home(store, shard, other.destination)
    data = old.export(name="cleo")

    other.take_in(data)

    before, after = rows_of(old, name="cleo"), rows_of(other, name="cleo")
    assert IdentityRecord.unpack(after.pop(b"i")) == IdentityRecord.unpack(before.pop(b"i"))
    assert after == before
    head = json.loads(members_of(data)["manifest.json"])["head"]
    assert head["log_position"] == 3
    assert ("stored" in head) == (schema == 1), "this release would pack schema 1's to other bytes"
    shard.close()


def test_the_files_are_what_a_person_and_their_tools_can_read(home: Home) -> None:
    members = members_of(home.export())
    manifest = json.loads(members["manifest.json"])
    model = read(home.shard)

    [first, *_] = [json.loads(line) for line in members["log.jsonl"].splitlines()]
    assert first["messages"] == [["user", "turn 3"]]
    assert first["reply"] == "Hello."
    assert first["previous"] == InteractionRecord.unpack(model.interactions[0]).previous.hex()
    assert len(members["operations.jsonl"].splitlines()) == 2
    assert load(members["memory.safetensors"])["payload"].tobytes() == memory_after(5)
    assert load(members["snapshot.safetensors"])["payload"].tobytes() == memory_after(2)
    assert manifest["format"] == "populace-model"
    assert manifest["name"] == "ada"
    assert manifest["head"]["cursor"] == 2
    assert manifest["head"]["chain"] == HeadRecord.unpack(model.head).chain.hex()
    assert TENANT not in json.dumps(manifest)
    for digest in manifest["aliases"].values():
        config = json.loads(members[f"revisions/{digest}/adapter_config.json"])
        assert config["peft_type"] == "LORA"


def test_a_model_that_is_not_there_has_no_archive(home: Home) -> None:
    with pytest.raises(ModelNotFound):
        home.export(name="nobody")


def test_an_adapter_that_was_damaged_in_the_store_is_not_exported(home: Home) -> None:
    digest = next(iter(json.loads(members_of(home.export())["manifest.json"])["aliases"].values()))
    adapter = home.store.revisions.path(digest)
    file = adapter / "adapter_model.safetensors" if adapter.is_dir() else adapter
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")

    with pytest.raises(StoreInvalid, match=digest):
        home.export()


def test_adapters_stay_while_they_are_exported(home: Home) -> None:
    def read_and_try_to_sweep() -> PortableModel:
        with home.store.revisions.alone() as is_alone:
            assert not is_alone
        return read(home.shard)

    export_archive(io.BytesIO(), "ada", home.store.revisions, read_and_try_to_sweep)

    with home.store.revisions.alone() as is_alone:
        assert is_alone
