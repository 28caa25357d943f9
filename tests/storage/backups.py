"""A store with all that a backup must keep, and what can be read of a store or a backup by whom."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from populace.storage.backups.backup import write_backup
from populace.storage.backups.manifest import Manifest, Report
from populace.storage.backups.restore import Restored, restore_backup
from populace.storage.records import keys
from populace.storage.records.records import (
    DataKeyRecord,
    InteractionRecord,
    MemoryRecord,
    RevisionRecord,
    TenantRecord,
)
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import api_keys, ledger, log, tenants
from populace.storage.rows.ledger import StoredModel
from populace.storage.shards.ownership import store_served_ms
from populace.storage.shards.pages import read_snapshot
from populace.storage.store import Store
from tests.storage.adapters import packed
from tests.storage.samples import (
    FOREVER_MS,
    TENANT,
    api_key,
    create_model,
    identity,
    interaction,
    publish_revision,
    revision,
)

SHARDS = 2
TURNS = 6
LONG = "a long reply " * 200_000
"""More than two chunks of a sealed stream."""

Rows = dict[bytes, bytes]


def quiet(step: str, fraction: float) -> None:
    assert 0 <= fraction <= 1, step


def run(store: Store, number: int, *operations: Callable[[WriteTransaction], object]) -> None:
    """Run each operation in the shard, which this process opens for that time."""
    shard = store.open_shard(number, "the test")
    try:
        for outcome in shard.write(list(operations)):
            assert not isinstance(outcome, Exception), outcome
        shard.check_integrity()
    finally:
        shard.close()


def add_adapter(store: Store, seed: str) -> RevisionRecord:
    """Put an adapter of that content among the store's files; answers a record of it."""
    return _of_adapter(*store.revisions.add(packed(seed, bytes_min=300_000)))


def add_older_adapter(store: Store, seed: str) -> RevisionRecord:
    """Put an adapter there as stores up to schema 3 had them."""
    config = f'{{"note": "{seed}"}}'.encode()
    return _of_adapter(*store.revisions.add_directory(config, seed.encode() * 100_000))


def _of_adapter(digest: str, size: int) -> RevisionRecord:
    return revision().model_copy(update={"digest": digest, "adapter_bytes": size})


def take_turn(
    position: int,
    *,
    name: str = "ada",
    expires_ms: int = FOREVER_MS,
    memory: str | None = None,
    **said: object,
) -> Callable[[WriteTransaction], InteractionRecord]:
    """An operation that commits one turn and a memory state; ``said`` are fields of the interaction."""
    payload = (memory or f"{name} remembers {position}").encode()
    operation = str(said.get("operation", f"{name}-{position}"))
    record = interaction(position, operation).model_copy(update={"memory_version": position, **said})

    def commit(txn: WriteTransaction) -> InteractionRecord:
        return ledger.commit_turn(
            txn,
            TENANT,
            name,
            record,
            body_hash=b"body",
            expected_position=position,
            expires_ms=expires_ms,
            now_ms=0,
            memory=MemoryRecord(version=position + 1, payload=payload),
        )

    return commit


def create(
    store: Store, name: str, adapter: RevisionRecord | None = None
) -> Callable[[WriteTransaction], StoredModel]:
    return lambda txn: create_model(txn, identity(name), adapter, sealing=store.sealing)


def fill(store: Store) -> None:
    """Two models with a log, a compacted one among them, memory, adapters that they share, keys and tenants.

    One of the adapters is packed, the other a directory.
    """
    shared, own = add_adapter(store, "shared"), add_older_adapter(store, "own")
    for number, name in enumerate(("ada", "ben")):
        run(
            store,
            number,
            create(store, name, shared),
            lambda txn, name=name: publish_revision(txn, TENANT, name, own, "canary"),
            *(take_turn(position, name=name, expires_ms=1) for position in range(TURNS)),
            lambda txn, name=name: api_keys.put_key(txn, api_key(f"key of {name}")),
            lambda txn, name=name: tenants.put_tenant(txn, TenantRecord(tenant=f"of-{name}", people=3)),
            lambda txn: store_served_ms(txn, 12_345),
        )
    run(
        store,
        0,
        take_turn(TURNS, reply=LONG),
        lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=2),
        lambda txn: log.compact_log(
            txn, TENANT, "ada", 3, memory=MemoryRecord(version=3, payload=b"ada remembers 2")
        ),
    )


def is_passing(key: bytes) -> bool:
    """Whether the row tells who owns the shard, or what waits for a sweep."""
    return key in (keys.EPOCH_KEY, keys.ERASED_KEY, keys.SHARD_KEY) or key.startswith(keys.orphans())


def stored_rows(store: Store) -> list[Rows]:
    """The rows of each shard as they are on disk, but for those that pass."""
    shards: list[Rows] = []
    for number in range(store.shards):
        with read_snapshot(store.shard_path(number)) as txn:
            shards.append({key: value for key, value in txn.scan(b"") if not is_passing(key)})
    return shards


def plain_rows(store: Store) -> list[Rows]:
    """The rows of each shard as they are read, of those that ``stored_rows`` answers."""
    shards: list[Rows] = []
    for number in range(store.shards):
        shard = store.open_shard(number, "the test")
        with shard.read() as txn:
            shards.append({key: value for key, value in txn.scan(b"") if not is_passing(key)})
        shard.close()
    return shards


def adapter_files(store: Store) -> dict[str, bytes]:
    root = store.revisions.root
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and file.name != ".lock"
    }


def files_with(root: Path, text: bytes) -> list[str]:
    """The files under ``root`` that hold the text, or have it in their names."""
    return sorted(
        str(file.relative_to(root))
        for file in root.rglob("*")
        if text in str(file.relative_to(root)).encode() or (file.is_file() and text in file.read_bytes())
    )


def key_id_of(store: Store, number: int, name: str) -> bytes:
    with read_snapshot(store.shard_path(number)) as txn:
        data = txn.get(keys.data_key(TENANT, name))
    assert data is not None
    return DataKeyRecord.unpack(data).key_id


class Place(NamedTuple):
    """A store, its backup, the key file, and where a restored one goes."""

    store: Store
    backup: Path
    keys: Path
    new: Path

    def back_up(
        self, backup: Path | None = None, keys: Path | None = None, *, report: Report = quiet
    ) -> Manifest:
        return write_backup(self.store, backup or self.backup, keys or self.keys, now_ms=5, report=report)

    def restore(
        self,
        *,
        backup: Path | None = None,
        keys: Path | None = None,
        erasures_of: Path | None = None,
        partial: bool = False,
    ) -> Restored:
        return restore_backup(
            backup or self.backup,
            keys or self.keys,
            self.new,
            erasures_of=erasures_of,
            partial=partial,
            report=quiet,
        )

    def names(self) -> set[str]:
        """What lies in the folder of all of these."""
        return {entry.name for entry in self.new.parent.iterdir()}
