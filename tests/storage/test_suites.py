"""A suite is sealed with its model, and of an erased model no row of it is left."""

from pathlib import Path

from populace.storage.records import erasures, keys
from populace.storage.records.records import SuiteRecord
from populace.storage.rows.suites import put_suite, read_suite
from populace.storage.shards.shard import Shard
from tests.storage.portable_models import run
from tests.storage.samples import TENANT, create_model, identity
from tests.storage.test_compaction import copies_of

SUITE = SuiteRecord(questions=(("What is my locker code?", "swordfish-4711", "contains", None),))


def test_a_suite_is_sealed_and_erased_with_its_model(shard: Shard, tmp_path: Path) -> None:
    run(shard, lambda txn: create_model(txn, identity()))
    run(shard, lambda txn: put_suite(txn, TENANT, "ada", SUITE))

    with shard.read() as txn:
        assert read_suite(txn, TENANT, "ada") == SUITE
    assert copies_of(b"locker", tmp_path) == copies_of(b"swordfish", tmp_path) == 0
    assert copies_of(keys.suite(TENANT, "ada"), tmp_path) > 0
    shard.check_integrity()

    run(shard, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=9))

    with shard.read() as txn:
        assert txn.get(keys.suite(TENANT, "ada")) is None
    shard.check_integrity()
