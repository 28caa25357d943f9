"""The data directory opens as what it is or is refused by name."""

import json
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from populace.storage.records import keys
from populace.storage.records.errors import StoreInUse, StoreInvalid, StoreVersionMismatch
from populace.storage.store import Store
from tests.limits import HANG_SECONDS

HOLDER = """
import sys
from pathlib import Path
from populace.storage.store import Store

lock = Store.create_or_open(Path(sys.argv[1])).lock("populace serve")
print("held", flush=True)
sys.stdin.read()
"""


def rewrite(path: Path, **changes: object) -> None:
    header = json.loads((path / "store.json").read_bytes())
    (path / "store.json").write_text(json.dumps({**header, **changes}))


def test_a_made_store_opens_again_as_the_same_one(tmp_path: Path) -> None:
    made = Store.create_or_open(tmp_path / "data", 3)
    again = Store.create_or_open(tmp_path / "data")

    assert (again.shards, again.store_id) == (3, made.store_id)
    assert Store.create_or_open(tmp_path / "other").shards == 64
    assert json.loads((tmp_path / "data" / "store.json").read_bytes()) == {
        "format": "populace-store",
        "schema": keys.SCHEMA,
        "shards": 3,
        "store_id": made.store_id,
        "master_key": made.sealing.master_key.key_id,
        "whole": True,
        "sealed": True,
    }


def test_another_shard_count_is_refused_with_both_numbers(tmp_path: Path) -> None:
    Store.create_or_open(tmp_path, 3)

    with pytest.raises(StoreInvalid, match="3 shards and not 4"):
        Store.create_or_open(tmp_path, 4)


def test_a_directory_that_another_host_begins_while_it_is_looked_at_is_the_stores(tmp_path: Path) -> None:
    begun = Store.create_or_open(tmp_path / "one", 2)
    key_id = begun.sealing.master_key.key_id
    key = Store.master_key_path(begun.path, None)

    class BegunMeanwhile(type(Path())):
        """A directory that another process makes the store's between a look for its header and a listing."""

        def iterdir(self) -> Generator[Path]:
            Store.join(tmp_path / "two", store_id=begun.store_id, shards=2, key_id=key_id, master_key=key)
            return super().iterdir()

    (tmp_path / "two").mkdir()
    watched = BegunMeanwhile(tmp_path / "two")

    Store.check_join(watched, store_id=begun.store_id, shards=2, key_id=key_id, master_key=key)

    assert (tmp_path / "two" / "store.json").exists()
    with pytest.raises(StoreInvalid, match="that of the store"):
        Store.check_join(watched, store_id="another", shards=2, key_id=key_id, master_key=key)


def test_opening_never_makes_a_store(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StoreInvalid):
            Store.open(path)

    assert list(tmp_path.iterdir()) == []
    made = Store.create_or_open(tmp_path)
    assert Store.open(tmp_path).store_id == made.store_id


def test_makers_that_race_agree_on_one_store(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(Store.create_or_open, [tmp_path / "data"] * 16))

    assert len({store.store_id for store in stores}) == 1


def test_a_newer_store_is_refused_with_both_numbers(tmp_path: Path) -> None:
    Store.create_or_open(tmp_path)
    rewrite(tmp_path, schema=keys.SCHEMA + 1, invented_later={"a": 1})

    with pytest.raises(StoreVersionMismatch) as caught:
        Store.create_or_open(tmp_path)

    assert (caught.value.stored, caught.value.supported) == (keys.SCHEMA + 1, keys.SCHEMA)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"format": "populace-store"}',
        b'{"format": "other", "schema": 1}',
        b'{"format": "populace-store", "schema": "1", "shards": 1, "store_id": "00"}',
        b'{"format": "populace-store", "schema": 1, "shards": 0, "store_id": "%s"}' % (b"0" * 32),
        b'{"format": "populace-store", "schema": 0, "shards": 1, "store_id": "%s"}' % (b"0" * 32),
        b'{"format": "populace-store", "schema": 1, "shards": 1, "store_id": "../../x"}',
    ],
)
def test_a_damaged_header_is_refused_and_never_written_over(tmp_path: Path, header: bytes) -> None:
    Store.create_or_open(tmp_path)
    (tmp_path / "store.json").write_bytes(header)

    with pytest.raises(StoreInvalid):
        Store.create_or_open(tmp_path)

    assert (tmp_path / "store.json").read_bytes() == header


def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")

    with pytest.raises(StoreInvalid, match=r"thesis\.tex"):
        Store.create_or_open(tmp_path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreInvalid):
        Store.create_or_open(tmp_path / "file")


def test_a_crash_before_the_header_was_renamed_leaves_a_directory_that_opens(tmp_path: Path) -> None:
    (tmp_path / ".store.json.0123456789abcdef.tmp").write_bytes(b'{"form')
    (tmp_path / ".journal.json.0123456789abcdef.tmp").write_bytes(b"{")
    (tmp_path / "LOCK").touch()

    assert Store.create_or_open(tmp_path).shards == 64


def test_each_shard_has_an_environment_of_its_own(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path, 2)
    shards = [store.open_shard(number, "the test") for number in range(2)]

    assert [(shard.number, shard.epoch, shard.path.name) for shard in shards] == [
        (0, 1, "0000"),
        (1, 1, "0001"),
    ]
    for shard in shards:
        shard.check_integrity()
        shard.close()


def test_a_served_directory_is_refused_with_the_servers_name_until_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        with pytest.raises(StoreInUse, match=rf"populace serve \(process {holder.pid}\)"):
            Store.create_or_open(tmp_path).lock("second")

        holder.kill()
        holder.wait(HANG_SECONDS)
    with Store.create_or_open(tmp_path).lock("second") as lock:
        lock.release()
        Store.create_or_open(tmp_path).lock("third").release()
