"""Records to store: valid, small, and different where the arguments are."""

from hashlib import sha256

from populace.storage import ledger
from populace.storage.records import ApiKeyRecord, IdentityRecord, InteractionRecord, RevisionRecord
from populace.storage.transaction import WriteTransaction

TENANT = "acme"
FOREVER_MS = 2**60


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


def interaction(position: int, operation: str, reply: str = "Hello.") -> InteractionRecord:
    return InteractionRecord(
        position=position,
        operation=operation,
        completion_id=f"c-{operation}",
        messages=(("user", f"turn {position}"),),
        reply=reply,
        finish_reason="stop",
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
) -> InteractionRecord:
    return ledger.commit_turn(
        txn,
        TENANT,
        name,
        interaction(position, operation),
        body_hash=body,
        expected_position=position,
        expires_ms=expires_ms,
        now_ms=now_ms,
    )
