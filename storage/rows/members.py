"""Rows of the models that take part in the population's answers, and how each answers the probes.

A model takes part only if its owner asked for it. Its profile is deleted when it no longer takes part.
"""

from collections.abc import Iterator
from typing import NamedTuple

from populace.storage.records import keys
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.records import IdentityRecord, MemberRecord, ProfileRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import ledger
from populace.storage.rows.ledger import FIRST_ALIAS


class StoredMember(NamedTuple):
    """A model that takes part: its base, the revision that ``latest`` names, and its newest profile."""

    name: str
    record: MemberRecord
    base: str
    revision: str | None
    profile: ProfileRecord | None


def take_part(txn: WriteTransaction, tenant: str, name: str, record: MemberRecord | None) -> None:
    """Let the model take part; None: it no longer takes part. Raises ``ModelNotFound``."""
    ledger.read_head(txn, tenant, name)
    if record is not None:
        txn.put(keys.member(tenant, name), record.pack())
        return
    txn.delete(keys.member(tenant, name))
    txn.delete(keys.profile(tenant, name))


def put_profile(txn: WriteTransaction, tenant: str, name: str, profile: ProfileRecord) -> bool:
    """Keep a member's profile; return False, and keep nothing, if the model takes part no longer."""
    if keys.name_problem(name) or txn.get(keys.member(tenant, name)) is None:
        return False
    txn.put(keys.profile(tenant, name), profile.pack())
    return True


def read_member(txn: ReadTransaction, tenant: str, name: str) -> StoredMember | None:
    """Return the model as a member, None if it takes no part. Raises ``ModelNotFound``."""
    identity = None if keys.name_problem(name) else txn.get(keys.identity(tenant, name))
    if identity is None:
        raise ModelNotFound(name)
    data = txn.get(keys.member(tenant, name))
    if data is None:
        return None
    alias, profile = txn.get(keys.alias(tenant, name, FIRST_ALIAS)), txn.get(keys.profile(tenant, name))
    return StoredMember(
        name,
        MemberRecord.unpack(data),
        IdentityRecord.unpack(identity).base,
        None if alias is None else alias.decode(),
        None if profile is None else ProfileRecord.unpack(profile),
    )


def walk_members(txn: ReadTransaction, tenant: str) -> Iterator[StoredMember]:
    """Walk the tenant's models in the shard that take part, by name."""
    for _, found in _walk(txn, keys.members(tenant)):
        yield found


def walk_all_members(txn: ReadTransaction) -> Iterator[tuple[str, StoredMember]]:
    """Walk all models of the shard that take part, with their tenants."""
    yield from _walk(txn, keys.all_members())


def _walk(txn: ReadTransaction, prefix: bytes) -> Iterator[tuple[str, StoredMember]]:
    for key, _ in txn.scan(prefix):
        tenant, name = keys.model_of(key)
        found = read_member(txn, tenant, name)
        assert found is not None, "its row was found"
        yield tenant, found
