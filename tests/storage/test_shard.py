"""One writer, whole transactions, and a shard that stops rather than guesses."""

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from populace.storage.records import keys
from populace.storage.records.errors import (
    Fenced,
    ModelExists,
    ShardStopped,
    StorageError,
    StoreInUse,
    StoreInvalid,
    StoreVersionMismatch,
)
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards import generations
from populace.storage.shards.ownership import stored_owner
from populace.storage.shards.shard import Shard
from tests.limits import HANG_SECONDS
from tests.storage.samples import TENANT, create_model, identity, open_shard

SUCCESSOR = """
import sys
from pathlib import Path
from tests.storage.samples import open_shard

shard = open_shard(Path(sys.argv[1]), 0, 1, "the successor", map_bytes=1 << 26)
shard.write([lambda txn, i=i: txn.put(b"k%d" % i, bytes(65536)) for i in range(int(sys.argv[2]))])
shard.write([lambda txn, i=i: txn.delete(b"k%d" % i) for i in range(int(sys.argv[2]))])
print(shard.epoch)
shard.close()
"""

FAILING_DISK = """
import resource, sys
from pathlib import Path
from populace.storage.records.errors import ShardStopped, UnknownOutcome
from tests.storage.samples import open_shard

shard = open_shard(Path(sys.argv[1]), 0, 1, "a full disk", map_bytes=1 << 26)
shard.write([lambda txn: txn.put(b"k1", b"before")])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
try:
    shard.write([lambda txn: txn.put(b"k2", bytes(1 << 20))])
except UnknownOutcome as error:
    print("unknown", error.shard)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for attempt in (lambda: shard.write([]), lambda: shard.read().__enter__()):
    try:
        attempt()
    except ShardStopped:
        print("stopped")
shard.reopen()
with shard.read() as txn:
    print(txn.get(b"k1"), txn.get(b"k2"), shard.epoch)
shard.write([lambda txn: txn.delete(b"k1")])
shard.close()
"""


def run_python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG_SECONDS).stdout


def put(key: bytes, value: bytes = b"value") -> Callable[[WriteTransaction], None]:
    def operation(txn: WriteTransaction) -> None:
        txn.put(key, value)

    return operation


def remove(*removed: bytes) -> Callable[[WriteTransaction], None]:
    def operation(txn: WriteTransaction) -> None:
        for key in removed:
            txn.delete(key)

    return operation


def test_outcomes_come_in_the_order_of_the_operations(shard: Shard) -> None:
    assert shard.write([lambda txn, number=number: number for number in range(5)]) == [0, 1, 2, 3, 4]


def test_a_refused_operation_does_not_hurt_its_neighbours(shard: Shard) -> None:
    outcomes = shard.write(
        [lambda txn, name=name: create_model(txn, identity(name)) for name in ("a", "a", "b")]
    )

    assert [type(outcome) for outcome in outcomes] == [ledger.StoredModel, ModelExists, ledger.StoredModel]
    with shard.read() as txn:
        assert [model.identity.name for model in ledger.list_models(txn, TENANT)] == ["a", "b"]


def test_an_operation_that_fails_after_it_wrote_leaves_nothing_and_hurts_nobody(shard: Shard) -> None:
    def poison(txn: WriteTransaction) -> None:
        txn.put(b"poison", b"")
        raise KeyError("a bug")

    outcomes = shard.write([put(b"before"), poison, put(b"after")])

    assert [type(outcome) for outcome in outcomes] == [type(None), KeyError, type(None)]
    with shard.read() as txn:
        assert [txn.get(key) for key in (b"before", b"poison", b"after")] == [b"value", None, b"value"]
    shard.write([remove(b"before", b"after")])


def test_a_scan_is_ordered_bounded_and_strictly_after(shard: Shard) -> None:
    written = [b"p\x00", b"p\x00\x00", b"p\x01", b"p\xff", b"y"]
    shard.write([put(key) for key in reversed(written)])

    with shard.read() as txn:
        assert [key for key, _ in txn.scan(b"p")] == written[:4]
        assert [key for key, _ in txn.scan(b"p", limit=2)] == written[:2]
        assert [key for key, _ in txn.scan(b"p", limit=0)] == []
        assert [key for key, _ in txn.scan(b"p", after=b"p\x00")] == written[1:4]
        assert [key for key, _ in txn.scan(b"p", after=b"a")] == written[:4]
        assert [key for key, _ in txn.scan(b"p", after=b"y")] == []
    assert shard.write([lambda txn: txn.delete_prefix(b"p")]) == [4]
    assert shard.write([lambda txn: txn.delete_prefix(b"p")]) == [0]
    assert shard.write([lambda txn: txn.delete_prefix(b"y")]) == [1]


def test_a_reader_keeps_its_snapshot_while_others_write(shard: Shard) -> None:
    shard.write([put(b"k", b"old")])

    with shard.read() as txn:
        shard.write([put(b"k", b"new")])
        assert txn.get(b"k") == b"old"

    shard.write([remove(b"k")])


def test_a_replaced_owner_is_fenced_and_stays_fenced(shard: Shard, shard_path: Path) -> None:
    shard.write([put(b"k1"), remove(b"k1")])

    assert run_python(SUCCESSOR, shard_path, 1) == "2\n"

    for _ in range(2):
        with pytest.raises(Fenced) as caught:
            shard.write([put(b"gone")])
        assert (caught.value.shard, caught.value.held, caught.value.stored) == (0, 1, 2)
    with pytest.raises(Fenced), shard.read():
        pass
    shard.reopen()
    with shard.read() as txn:
        assert txn.get(b"gone") is None
        assert stored_owner(txn) == "the test"
    assert shard.epoch == 3


def test_an_owner_is_fenced_also_when_its_successor_grew_the_map(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "small", 0, 1, "the test", map_bytes=1 << 20)

    run_python(SUCCESSOR, tmp_path / "small", 100)

    with pytest.raises(Fenced):
        shard.write([put(b"gone")])
    shard.close()


def test_a_failed_commit_is_an_unknown_outcome_and_stops_the_shard(tmp_path: Path) -> None:
    lines = run_python(FAILING_DISK, tmp_path / "full").splitlines()

    assert lines == ["unknown 0", "stopped", "stopped", "b'before' None 2"]


def test_a_full_map_grows_and_the_batch_takes_effect_once(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "small", 0, 1, "the test", map_bytes=1 << 20)
    count = [0]

    def increment(txn: WriteTransaction) -> int:
        value = int.from_bytes(txn.get(b"count") or b"", "big") + 1
        txn.put(b"count", value.to_bytes(8, "big"))
        return value

    for number in range(20):
        count = shard.write([increment, put(b"k%d" % number, bytes(1 << 17))])[:1]

    assert count == [20]
    assert shard.statistics().bytes_map == 1 << 22
    assert shard.statistics().entries == 23
    shard.close()


def test_a_reader_that_meets_a_growing_map_may_read_again(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "small", 0, 1, "the test", map_bytes=1 << 20)

    def read_while_it_grows() -> None:
        with shard.read() as txn:
            shard.write([put(b"k", bytes(3 << 18)), put(b"n", bytes(3 << 18))])
            txn.get(b"k")

    with pytest.raises(ShardStopped):
        read_while_it_grows()

    with shard.read() as txn:
        assert txn.get(b"k") == bytes(3 << 18)
    assert shard.statistics().full_maps == 1
    shard.close()


def test_a_batch_larger_than_the_doubled_map_takes_no_effect_and_stops_the_shard(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "small", 0, 1, "the test", map_bytes=1 << 20)

    with pytest.raises(ShardStopped):
        shard.write([put(b"k", bytes(1 << 22))])

    shard.reopen()
    with shard.read() as txn:
        assert txn.get(b"k") is None
    shard.close()


def test_a_closed_shard_refuses_and_closes_twice(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "s", 0, 1, "the test")
    shard.close()
    shard.close()

    with pytest.raises(ShardStopped):
        shard.write([put(b"k")])
    with pytest.raises(ShardStopped), shard.read():
        pass
    with pytest.raises(ShardStopped):
        shard.statistics()


def test_a_shard_is_not_opened_twice_in_one_process(shard: Shard, shard_path: Path) -> None:
    with pytest.raises(StoreInUse):
        open_shard(shard_path, 0, 1, "again")


def test_a_newer_shard_is_refused_with_both_numbers_and_left_as_it_is(shard: Shard, shard_path: Path) -> None:
    newer = struct.pack(">III", keys.SCHEMA + 1, 0, 1) + b"more"
    ours = shard.write([lambda txn: txn.get(keys.SHARD_KEY)])[0]
    assert isinstance(ours, bytes)
    shard.write([put(keys.SHARD_KEY, newer)])
    epoch = shard.epoch
    shard.close()

    with pytest.raises(StoreVersionMismatch) as caught:
        open_shard(shard_path, 0, 1, "an older release")

    assert (caught.value.stored, caught.value.supported) == (keys.SCHEMA + 1, keys.SCHEMA)
    with pytest.raises(StorageError):
        shard.reopen()
    rewrite = "import lmdb, sys; e = lmdb.open(sys.argv[1]); t = e.begin(write=True); "
    rewrite += "t.put(b'!shard', bytes.fromhex(sys.argv[2])); t.commit()"
    run_python(rewrite, generations.locate(shard_path), ours.hex())
    shard.reopen()
    assert shard.epoch == epoch + 1


def test_another_shards_environment_is_refused(shard: Shard, shard_path: Path) -> None:
    shard.close()

    with pytest.raises(StoreInvalid):
        open_shard(shard_path, 1, 2, "the wrong shard")


def test_a_file_that_is_not_lmdb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"garbage" * 4000)

    with pytest.raises(StoreInvalid):
        open_shard(tmp_path, 0, 1, "the test")
