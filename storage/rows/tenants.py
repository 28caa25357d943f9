"""A shard's rows of tenants: their limits and what they have."""

from collections.abc import Iterator
from typing import NamedTuple

from populace.storage.records import keys, tenant_keys
from populace.storage.records.records import HeadRecord, RevisionRecord, TenantRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction


class TenantRows(NamedTuple):
    """What a tenant has in a shard: models, the bytes of their logs and adapters, and open trainings."""

    models: int
    bytes: int
    open_jobs: int


def put_tenant(txn: WriteTransaction, record: TenantRecord) -> None:
    """Keep what a tenant may take, instead of what was said before."""
    txn.put(tenant_keys.tenant(record.tenant), record.pack())


def read_tenant(txn: ReadTransaction, tenant: str) -> TenantRecord | None:
    data = txn.get(tenant_keys.tenant(tenant))
    return None if data is None else TenantRecord.unpack(data)


def walk_tenants(txn: ReadTransaction) -> Iterator[TenantRecord]:
    """Walk the tenants of which something is said in this shard."""
    for _, data in txn.scan(tenant_keys.all_tenants()):
        yield TenantRecord.unpack(data)


def walk_tenants_with_models(txn: ReadTransaction) -> Iterator[str]:
    """Walk the tenants with models in this shard, by name; each costs one look-up."""
    after: bytes | None = None
    while (found := next(txn.scan(keys.all_identities(), after=after, limit=1), None)) is not None:
        tenant, _ = keys.model_of(found[0])
        yield tenant
        after = tenant_keys.next_tenant(tenant)


def count_rows(txn: ReadTransaction, tenant: str, *, with_bytes: bool) -> TenantRows:
    """Count what a tenant has in this shard; the bytes are in the head and the revisions of each model."""
    models = total = 0
    for key, _ in txn.scan(keys.identities(tenant)):
        name = keys.model_of(key)[1]
        models += 1
        if not with_bytes:
            continue
        head = txn.get(keys.head(tenant, name))
        total += 0 if head is None else HeadRecord.unpack(head).log_bytes or 0
        revisions = txn.scan(keys.revisions(tenant, name))
        total += sum(RevisionRecord.unpack(data).adapter_bytes for _, data in revisions)
    open_jobs = sum(1 for _ in txn.scan(tenant_keys.open_jobs_of(tenant)))
    return TenantRows(models, total, open_jobs)
