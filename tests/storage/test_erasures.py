"""An erased model is gone: its rows, its key, its bytes, and whatever can be made of a copy."""

import shutil
from pathlib import Path

import pytest

from populace.policies.compaction import ERASED_SECONDS_MAX, erasure_due
from populace.storage.records import erasures, keys
from populace.storage.records.errors import ModelNotFound, RecordInvalid
from populace.storage.records.records import DataKeyRecord, ErasureRecord
from populace.storage.rows import ledger
from populace.storage.shards.pages import read_snapshot
from populace.storage.shards.shard import Shard
from tests.storage.conftest import MAP_BYTES
from tests.storage.samples import SEALING, TENANT, commit, create_model, identity, open_shard, revision
from tests.storage.test_compaction import copies_of

SECRETS = (b"planted-name", b"planted-operation")


@pytest.fixture
def planted(shard: Shard) -> Shard:
    """A shard with a person whose name and operation ids can be searched for, and a neighbour."""
    for name in ("planted-name", "ben"):
        shard.write([lambda txn, name=name: create_model(txn, identity(name), revision())])
        for position in range(5):
            operation = f"planted-operation-{name}-{position}"
            shard.write([lambda txn, n=name, at=position, o=operation: commit(txn, at, o, name=n)])
    return shard


def erase(shard: Shard, name: str = "planted-name", now_ms: int = 7) -> None:
    [outcome] = shard.write([lambda txn: erasures.erase_model(txn, TENANT, name, now_ms=now_ms)])
    assert outcome is None, outcome


def test_after_a_compaction_no_file_holds_a_byte_of_who_was_erased(planted: Shard) -> None:
    assert copies_of(b"planted-name", planted.path) > 0
    erase(planted)
    assert planted.statistics().erased == (7, 1)

    planted.compact()

    for secret in SECRETS:
        assert copies_of(secret, planted.path) == 0
    assert planted.statistics().erased is None
    planted.check_integrity()


def test_a_copy_from_before_cannot_be_read_with_what_is_left(planted: Shard, tmp_path: Path) -> None:
    planted.close()
    copy = shutil.copytree(planted.path, tmp_path / "copy")
    planted.reopen()
    erase(planted)
    planted.compact()
    with planted.read() as txn:
        left = [value for key, value in txn.scan(b"") if key.startswith(b"d")]

    # The copy has the wrapped key too: a backup must not. Without it, no key that is left opens a row.
    with read_snapshot(copy) as txn:
        sealed = [
            (key, value)
            for prefix in keys.sealed_prefixes(TENANT, "planted-name")
            for key, value in txn.scan(prefix)
        ]
    assert len(sealed) == 10
    assert len(left) == 1
    for key, value in sealed:
        for data_key in left:
            with pytest.raises(RecordInvalid):
                SEALING.open(SEALING.cipher(data_key), key, value)


def test_an_erasure_leaves_the_id_of_the_key_and_its_time_and_nothing_else(planted: Shard) -> None:
    with planted.read() as txn:
        data_key = txn.get(keys.data_key(TENANT, "planted-name"))
    assert data_key is not None
    key_id = DataKeyRecord.unpack(data_key).key_id

    erase(planted, now_ms=1234)

    with planted.read() as txn:
        left = dict(txn.scan(keys.erasures()))
        assert list(left) == [keys.erasure(key_id)]
        assert ErasureRecord.unpack(left[keys.erasure(key_id)]).erased_ms == 1234
        assert erasures.read_orphans(txn) == [revision().digest]


def test_a_name_that_was_erased_can_begin_anew_and_knows_nothing(planted: Shard) -> None:
    erase(planted)

    planted.write([lambda txn: create_model(txn, identity("planted-name"))])

    with planted.read() as txn:
        assert ledger.read_log(txn, TENANT, "planted-name") == []
        model = ledger.read_model(txn, TENANT, "planted-name")
        assert model is not None
        assert (model.aliases, model.head.log_position) == ({}, 0)
    erase(planted)
    with planted.read() as txn:
        assert len(list(txn.scan(keys.erasures()))) == 2


def test_who_does_not_exist_is_not_erased(planted: Shard) -> None:
    for name in ("nobody", "", "A", "x" * 100):
        [outcome] = planted.write([lambda txn, name=name: erasures.erase_model(txn, TENANT, name, now_ms=0)])
        assert isinstance(outcome, ModelNotFound)
    assert planted.statistics().erased is None


@pytest.mark.parametrize("data_key", [None, b"\x92\x01\x80", b"garbage"])
def test_a_model_whose_key_is_damaged_can_still_be_erased(planted: Shard, data_key: bytes | None) -> None:
    key = keys.data_key(TENANT, "planted-name")
    planted.write([lambda txn: txn.delete(key) if data_key is None else txn.put(key, data_key)])

    erase(planted)

    with planted.read() as txn:
        assert ledger.read_model(txn, TENANT, "planted-name") is None
        assert list(txn.scan(keys.erasures())) == []
    planted.check_integrity()


def test_an_erasure_that_came_while_a_compaction_ended_waits_for_the_next(planted: Shard) -> None:
    erase(planted)
    compacted = planted.statistics().erased
    erase(planted, "ben", now_ms=9)

    planted.write([lambda txn: erasures.settle(txn, compacted)])

    assert planted.statistics().erased == (7, 2)
    planted.compact()
    assert planted.statistics().erased is None


def test_a_wish_for_a_compaction_outlives_a_restart(planted: Shard) -> None:
    erase(planted)
    planted.close()
    planted.reopen()

    assert planted.statistics().erased == (7, 1)


def test_a_larger_shard_gathers_more_erasures_before_it_is_compacted() -> None:
    assert erasure_due(0, 0.0)
    assert not erasure_due(2**30, 59.0)
    assert erasure_due(2**30, 60.0)
    assert not erasure_due(2**40, ERASED_SECONDS_MAX - 1)
    assert erasure_due(2**40, ERASED_SECONDS_MAX)


def test_a_shard_that_is_read_from_outside_has_the_rows_as_they_are_on_disk(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "s", map_bytes=MAP_BYTES)
    shard.write([lambda txn: create_model(txn, identity())])
    shard.write([lambda txn: commit(txn, 0, "op")])
    shard.close()

    with read_snapshot(tmp_path / "s") as txn:
        value = txn.get(keys.interaction(TENANT, "ada", 0))
    assert value is not None
    assert value[0] == 1
