"""What earlier releases wrote of adapters is read, and written again as it was.

``older/schema-<n>`` was written by a release of that schema: ``ada.populace`` is what ``give_everything``
makes, and for schema 3, which kept adapters as directories only, there is also its store, with a backup.
"""

import io
import shutil
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

from populace.adapters.base_modules import read_base_modules
from populace.adapters.packing import read_adapter
from populace.archive.layout import LOG, MANIFEST, MEMORY, REVISIONS, SNAPSHOT
from populace.archive.record_lines import data_of
from populace.archive.state_tensors import record_of, tensors_of
from populace.storage.backups.backup import write_backup
from populace.storage.backups.restore import restore_backup
from populace.storage.records.records import (
    InteractionRecord,
    MemoryRecord,
    RevisionRecord,
    SnapshotRecord,
)
from populace.storage.store import Store
from tests.runtime.archive.homes import BASE, RANK, Home, members_of, pack, sealed
from tests.storage.backups import adapter_files, plain_rows, quiet
from tests.storage.portable_models import memory_after

OLDER = Path(__file__).with_name("older")
FORMS = {"schema-3": ["directory"] * 3, "schema-4": ["directory", "packed", "packed"]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create_or_open(shutil.copytree(OLDER / "schema-3" / "store", tmp_path / "older"))


@pytest.fixture
def older(store: Store, other: Home) -> Generator[Home]:
    shard = store.open_shard(0, "the test", map_bytes=1 << 26)
    yield Home(store, shard, other.destination._replace(data_directory=store.path))
    shard.close()


def digests(store: Store) -> list[str]:
    return sorted(path.name.split(".")[0] for path in store.revisions.root.glob("[!.]*"))


def test_an_engine_reads_the_directories_of_an_older_store(older: Home) -> None:
    modules = read_base_modules(older.destination.base_directory, BASE)

    for digest in digests(older.store):
        older.store.revisions.verify(digest)
        path = older.store.revisions.path(digest)
        assert path.is_dir()
        assert read_adapter(path, modules, rank_max=RANK).rank == RANK
    assert len(digests(older.store)) == 3


def members(archive: bytes) -> tuple[dict[str, bytes], list[RevisionRecord], list[bytes]]:
    """All that is in the file but its table of contents. Revisions and interactions have fields now that they
    had not: of those the records, of these, which name each other's digests, the very bytes."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        found = {name: file.read(name) for name in file.namelist() if name != MANIFEST}
    lines = found.pop(REVISIONS).splitlines()
    revisions = [RevisionRecord.unpack(data_of(RevisionRecord, line)) for line in lines]
    return found, revisions, [data_of(InteractionRecord, line) for line in found.pop(LOG).splitlines()]


def test_an_older_store_exports_what_it_did(older: Home) -> None:
    assert members(older.export()) == members((OLDER / "schema-3" / "ada.populace").read_bytes())


@pytest.mark.parametrize("schema", FORMS)
def test_an_older_archive_keeps_every_digest_and_comes_out_again_with_the_same_content(
    other: Home, schema: str
) -> None:
    data = with_a_memory((OLDER / schema / "ada.populace").read_bytes())

    other.take_in(data)

    stored = other.store.revisions
    forms = ["directory" if stored.path(one).is_dir() else "packed" for one in digests(other.store)]
    assert sorted(forms) == FORMS[schema]
    for digest in digests(other.store):
        stored.verify(digest)
    assert members(other.export()) == members(data)


def with_a_memory(archive: bytes) -> bytes:
    """The archive with a memory as turns leave one, which the tests of earlier releases did not make."""
    found = members_of(archive)
    for name, kind, field in ((MEMORY, MemoryRecord, "payload"), (SNAPSHOT, SnapshotRecord, "memory")):
        record = kind.unpack(record_of(kind, found[name], field))
        changed = record.model_copy(update={field: memory_after(0)})
        found[name] = tensors_of(kind, changed.pack(), field)
    return pack(sealed(found))


def test_an_adapter_that_comes_to_an_older_store_is_packed_beside_its_directories(
    older: Home, tmp_path: Path
) -> None:
    before = set(digests(older.store))

    record = older.add_adapter(tmp_path / "peft", seed=0)

    assert older.store.revisions.path(record.digest).is_file()
    assert set(digests(older.store)) == {*before, record.digest}


def test_an_older_backup_is_restored_with_its_directories(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "restored"

    restored = restore_backup(
        OLDER / "schema-3" / "backup", OLDER / "schema-3" / "keys", target, report=quiet
    )

    again = Store.open(target)
    assert restored.adapters == 3
    assert plain_rows(again) == plain_rows(store)
    assert adapter_files(again) == adapter_files(store)


def test_an_older_store_is_backed_up_and_restored(store: Store, tmp_path: Path) -> None:
    write_backup(store, tmp_path / "backup", tmp_path / "keys", now_ms=5, report=quiet)

    restore_backup(tmp_path / "backup", tmp_path / "keys", tmp_path / "restored", report=quiet)

    assert adapter_files(Store.open(tmp_path / "restored")) == adapter_files(store)
