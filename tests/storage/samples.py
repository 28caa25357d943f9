"""Records to store: valid, small, and different where the arguments are."""

from hashlib import sha256
from pathlib import Path

from populace.storage.records.master_key import MasterKey
from populace.storage.records.records import (
    NO_REPLY,
    ApiKeyRecord,
    IdentityRecord,
    InteractionRecord,
    RevisionRecord,
)
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.rows.ledger import StoredModel
from populace.storage.shards.environments import MAP_BYTES
from populace.storage.shards.shard import Shard

TENANT = "acme"
FOREVER_MS = 2**60
SEALING = Sealing(MasterKey(bytes(range(32))))


def open_shard(
    path: Path,
    number: int = 0,
    shard_count: int = 1,
    owner: str = "the test",
    *,
    map_bytes: int = MAP_BYTES,
    create: bool = True,
) -> Shard:
    """Open a shard whose rows are sealed under the tests' own master key."""
    return Shard.open(path, number, shard_count, owner, sealing=SEALING, map_bytes=map_bytes, create=create)


def create_model(
    txn: WriteTransaction,
    identity: IdentityRecord,
    revision: RevisionRecord | None = None,
    *,
    sealing: Sealing = SEALING,
) -> StoredModel:
    """Create a model; ``sealing`` is that of the shard."""
    return ledger.create_model(txn, identity, sealing.new_data_key(), revision)


def identity(name: str = "ada", tenant: str = TENANT) -> IdentityRecord:
    return IdentityRecord(tenant=tenant, name=name, base="base-1", created_ms=1)


def digest(seed: str) -> str:
    return sha256(seed.encode()).hexdigest()


def revision(seed: str = "one", created_ms: int = 1) -> RevisionRecord:
    return RevisionRecord(
        digest=digest(seed),
        base="base-1",
        method="import",
        parent=None,
        rank=8,
        adapter_bytes=1024,
        created_ms=created_ms,
        log_range=(0, 3),
        scores={"loss": 1.5},
    )


def interaction(
    position: int, operation: str, reply: str = "Hello.", *, finish_reason: str = "stop"
) -> InteractionRecord:
    return InteractionRecord(
        position=position,
        operation=operation,
        completion_id=f"c-{operation}",
        messages=(("user", f"turn {position}"),),
        reply=reply,
        finish_reason=finish_reason,
        prompt_tokens=3,
        completion_tokens=2,
        revision="base",
        base="base-1",
        memory_version=0,
        created_ms=10 + position,
    )


def api_key(key_id: str, tenant: str = TENANT, created_ms: int = 1) -> ApiKeyRecord:
    return ApiKeyRecord(
        key_id=key_id, tenant=tenant, label="test", secret_sha256=b"\x01" * 32, created_ms=created_ms
    )


def commit(
    txn: WriteTransaction,
    position: int,
    operation: str,
    *,
    name: str = "ada",
    body: bytes = b"body",
    now_ms: int = 0,
    expires_ms: int = FOREVER_MS,
    answered: bool = True,
) -> InteractionRecord:
    """Commit a turn, or only its message."""
    made = interaction(position, operation)
    accepted = interaction(position, operation, "", finish_reason=NO_REPLY)
    return ledger.commit_turn(
        txn,
        TENANT,
        name,
        made if answered else accepted,
        body_hash=body,
        expected_position=position,
        expires_ms=expires_ms,
        now_ms=now_ms,
    )


def publish_revision(
    txn: WriteTransaction, tenant: str, name: str, record: RevisionRecord, alias: str = ledger.FIRST_ALIAS
) -> StoredModel:
    """Register a revision and move an alias to it, as if an engine had it ready at once."""
    ledger.register_revision(txn, tenant, name, record)
    return ledger.promote_revision(txn, tenant, name, record.digest, alias)
