"""The API keys of a shard, as pure functions of a transaction."""

from collections.abc import Mapping

from populace.storage.records import keys
from populace.storage.records.records import ApiKeyRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction


def put_key(txn: WriteTransaction, record: ApiKeyRecord) -> None:
    """Store an API key. Its id must be new, or the record the same as before."""
    key, data = keys.api_key(record.key_id), record.pack()
    stored = txn.get(key)
    assert stored is None or stored == data, record.key_id
    txn.put(key, data)


def find_key(txn: ReadTransaction, key_id: str) -> ApiKeyRecord | None:
    data = txn.get(keys.api_key(key_id))
    return None if data is None else ApiKeyRecord.unpack(data)


def list_keys(txn: ReadTransaction, tenant: str | None = None) -> list[ApiKeyRecord]:
    """Return the keys of the tenant, or of all tenants for None, oldest first, revoked ones too."""
    found = [ApiKeyRecord.unpack(data) for _, data in txn.scan(keys.api_keys())]
    chosen = [record for record in found if tenant is None or record.tenant == tenant]
    return sorted(chosen, key=lambda record: (record.created_ms, record.key_id))


def revoke_key(txn: WriteTransaction, key_id: str, *, now_ms: int) -> ApiKeyRecord | None:
    """Revoke the key and return it, None if there is none. The time of the first revocation stays.

    The names of the people that it was for do not: they may be erased.
    """
    record = find_key(txn, key_id)
    if record is None or record.revoked_ms is not None:
        return record
    models = None if record.models is None else ()
    revoked = record.model_copy(update={"revoked_ms": now_ms, "models": models})
    txn.put(keys.api_key(key_id), revoked.pack())
    return revoked


def rotate_key(
    txn: WriteTransaction, key_id: str, secret_sha256: bytes, *, former_until_ms: int
) -> ApiKeyRecord | None:
    """Give the key a new secret and return it, None if there is none. A key that has it is left as it is.

    Its secret up to now counts until ``former_until_ms``, and one from before that no more.
    """
    record = find_key(txn, key_id)
    if record is None or record.revoked_ms is not None or record.secret_sha256 == secret_sha256:
        return record
    rotated = record.model_copy(
        update={
            "secret_sha256": secret_sha256,
            "former_sha256": record.secret_sha256,
            "former_until_ms": former_until_ms,
        }
    )
    txn.put(keys.api_key(key_id), rotated.pack())
    return rotated


def limit_key(txn: WriteTransaction, key_id: str, limits: Mapping[str, int | None]) -> ApiKeyRecord | None:
    """Set the key's limits, by the names of their fields, and return it; None if there is none."""
    record = find_key(txn, key_id)
    if record is None:
        return None
    limited = record.model_copy(update=dict(limits))
    txn.put(keys.api_key(key_id), limited.pack())
    return limited


def note_uses(txn: WriteTransaction, used_ms: Mapping[str, int]) -> None:
    """Note when keys were used last, by their ids. Those that are not there are left out."""
    found = [(find_key(txn, key_id), when_ms) for key_id, when_ms in used_ms.items()]
    for record, when_ms in found:
        if record is not None and when_ms > (record.used_ms or 0):
            noted = record.model_copy(update={"used_ms": when_ms})
            txn.put(keys.api_key(record.key_id), noted.pack())
