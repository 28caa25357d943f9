"""A store with a row of every kind that a resharding treats in a way of its own, and what it holds in all."""

from collections.abc import Iterator
from pathlib import Path

from populace.policies import placement
from populace.policies.placement import shard_of, shard_of_key
from populace.storage.records import erasures, keys
from populace.storage.records.records import TenantRecord
from populace.storage.resharding.reshard import Resharded, reshard
from populace.storage.rows import api_keys, tenants
from populace.storage.shards.ownership import store_served_ms
from populace.storage.shards.pages import read_snapshot
from populace.storage.store import Store
from tests.storage.backups import add_adapter, create, quiet, run, take_turn
from tests.storage.samples import TENANT, api_key, publish_revision

NAMES = ("ada", "ben", "cleo", "dora", "emil")
ERASED = ("finn", "gert")
API_KEYS = tuple(f"key-{number}" for number in range(4))
TENANTS = ("acme", "globex", "initech")
SERVED_MS = 12_345

Rows = dict[bytes, bytes]


def fill(store: Store) -> None:
    """Models with turns and a revision, two that were erased and had the same adapter, keys, and tenants."""
    first, second = add_adapter(store, "first"), add_adapter(store, "second")
    for name in (*NAMES, *ERASED):
        run(
            store,
            shard_of(TENANT, name, store.shards),
            create(store, name, first),
            lambda txn, name=name: publish_revision(txn, TENANT, name, second),
            *(take_turn(position, name=name) for position in range(2)),
        )
    for name in ERASED:
        run(
            store,
            shard_of(TENANT, name, store.shards),
            lambda txn, name=name: erasures.erase_model(txn, TENANT, name, now_ms=1),
        )
    for key_id in API_KEYS:
        run(
            store,
            shard_of_key(key_id, store.shards),
            lambda txn, key_id=key_id: api_keys.put_key(txn, api_key(key_id)),
        )
    for name in TENANTS:
        record = TenantRecord(tenant=name, people=3)
        shard = shard_of_key(name, store.shards)
        run(store, shard, lambda txn, record=record: tenants.put_tenant(txn, record))
    for number in range(store.shards):
        run(store, number, lambda txn, ms=SERVED_MS + number: store_served_ms(txn, ms))


def give(path: Path, shards: int) -> Resharded | None:
    return reshard(path, shards, placement=placement, report=quiet)


def rows_of(path: Path) -> Rows:
    """All rows as they are on disk, in whatever shards, but for those that each shard has of its own."""
    return {key: value for _, key, value in _walk(path) if not key.startswith(b"!")}


def check(path: Path, expected: Rows) -> Store:
    """Check that the store holds these rows, each where it is looked for, and that all laws hold."""
    store = Store.open(path)
    assert rows_of(path) == expected
    for number, key, _ in _walk(path):
        if key.startswith((keys.all_identities(), b"l")):
            assert shard_of(*keys.model_of(key), store.shards) == number
    for number in range(store.shards):
        shard = store.open_shard(number, "the test")
        shard.check_integrity()
        shard.close()
    for key_id in API_KEYS:
        with store.read_shard(shard_of_key(key_id, store.shards)) as txn:
            assert api_keys.find_key(txn, key_id) is not None
    for name in TENANTS:
        with store.read_shard(shard_of_key(name, store.shards)) as txn:
            assert tenants.read_tenant(txn, name) == TenantRecord(tenant=name, people=3)
    return store


def entries(path: Path) -> set[str]:
    """The names in the data directory that have to do with shards."""
    return {entry.name for entry in path.iterdir() if "shards" in entry.name}


def _walk(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    store = Store.open(path)
    for number in range(store.shards):
        with read_snapshot(store.shard_path(number)) as txn:
            for key, value in txn.scan(b""):
                yield number, key, value
