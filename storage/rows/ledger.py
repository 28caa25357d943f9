"""The store's operations on personal models, as pure functions of a transaction.

Every operation checks first and writes last, so that one that raises has changed nothing. Tenants,
aliases and the names of new models must have passed ``keys.name_problem``; any other text is
the name of a model that does not exist. An absent row is always ``None`` or an error and never a
default: a model that cannot be found must not be served as a fresh one.
"""

from collections.abc import Callable, Generator
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from populace.storage.records import keys
from populace.storage.records.errors import (
    KEY_PREFIX,
    InteractionForgotten,
    ModelExists,
    ModelNotFound,
    OperationConflict,
    PositionConflict,
    RecordInvalid,
    RevisionNotFound,
)
from populace.storage.records.records import (
    DataKeyRecord,
    HeadRecord,
    IdentityRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    RevisionRecord,
)
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows.contributors import ContributorRecord

FIRST_ALIAS = "latest"
"""The alias that a model created with a revision gets."""


class StoredModel(NamedTuple):
    """The rows of a model except its log and revisions. ``aliases`` maps alias to revision digest.

    ``contributes``: the tenant's community may learn from its log.
    """

    identity: IdentityRecord
    head: HeadRecord
    aliases: dict[str, str]
    memory: MemoryRecord | None
    contributes: bool = False


def create_model(
    txn: WriteTransaction,
    identity: IdentityRecord,
    data_key: DataKeyRecord,
    revision: RevisionRecord | None = None,
) -> StoredModel:
    """Create the model, with ``latest`` on ``revision`` if one is given. Raises ``ModelExists``.

    ``data_key`` must be new: it seals this model's rows and no other's.
    """
    tenant, name = identity.tenant, identity.name
    if txn.get(keys.identity(tenant, name)) is not None:
        raise ModelExists(name)
    model = StoredModel(identity, HeadRecord(log_bytes=0), {}, None)
    rows = {
        keys.data_key(tenant, name): data_key.pack(),
        keys.identity(tenant, name): identity.pack(),
        keys.head(tenant, name): model.head.pack(),
    }
    if revision is not None:
        model.aliases[FIRST_ALIAS] = revision.digest
        rows[keys.revision(tenant, name, revision.digest)] = revision.pack()
        rows[keys.alias(tenant, name, FIRST_ALIAS)] = revision.digest.encode()
    _put_all(txn, rows)
    return model


def commit_turn(
    txn: WriteTransaction,
    tenant: str,
    name: str,
    interaction: InteractionRecord,
    *,
    body_hash: bytes,
    expected_position: int,
    expires_ms: int,
    now_ms: int,
    memory: MemoryRecord | None = None,
) -> InteractionRecord:
    """Append the interaction, move the head, keep the operation id and the memory: all or nothing.

    A turn is committed once when its message is accepted, without a reply, and once with it: the second takes
    the place of the first, which has to be the newest turn of the log. No other record ever changes so.

    If the operation id has its reply and has not expired, return the interaction that it
    made and change nothing. The record's ``previous`` is filled in here. Raises
    ``ModelNotFound``, ``OperationConflict`` (same id, other body), ``PositionConflict``, and
    ``InteractionForgotten`` if what the operation made was forgotten since.
    """
    assert interaction.position == expected_position
    head = read_head(txn, tenant, name)
    found = find_operation(txn, tenant, name, interaction.operation, now_ms=now_ms)
    if found is not None:
        operation, recorded = found
        if recorded.forgotten is not None:
            raise InteractionForgotten(name, recorded.position)
        if not operation.is_of(body_hash):
            raise OperationConflict(interaction.operation)
        if recorded.answer is not None:
            return recorded
    accepted = unanswered(txn, tenant, name, interaction.operation, body_hash)
    if accepted is not None and accepted.position == expected_position:
        head = _without_newest(txn, tenant, name, head, accepted)
    if head.log_position != expected_position:
        raise PositionConflict(name, expected_position, head.log_position)

    appended = interaction.model_copy(update={"previous": head.chain})
    data = appended.pack()
    moved = head.model_copy(
        update={
            "log_position": expected_position + 1,
            "log_bytes": None if head.log_bytes is None else head.log_bytes + len(data),
            "chain": chain_digest(data),
            "memory_version": head.memory_version if memory is None else memory.version,
        }
    )
    operation = OperationRecord(body_hash=body_hash, position=expected_position, expires_ms=expires_ms)
    rows = {
        keys.interaction(tenant, name, expected_position): data,
        keys.head(tenant, name): moved.pack(),
        keys.operation(tenant, name, interaction.operation): operation.pack(),
    }
    if memory is not None:
        rows[keys.memory(tenant, name)] = memory.pack()
    _put_all(txn, rows)
    return appended


def withdraw_turn(
    txn: WriteTransaction, tenant: str, name: str, operation: str, body_hash: bytes
) -> int | None:
    """Remove the newest turn of the log if it is the operation's and has no reply: it was refused.

    Return its position, None if there is no such turn. Raises ``ModelNotFound``.
    """
    head = read_head(txn, tenant, name)
    accepted = unanswered(txn, tenant, name, operation, body_hash)
    if accepted is None:
        return None
    key = keys.interaction(tenant, name, accepted.position)
    head = _without_newest(txn, tenant, name, head, accepted)
    txn.delete(key)
    txn.put(keys.head(tenant, name), head.pack())
    return accepted.position


def unanswered(
    txn: ReadTransaction, tenant: str, name: str, operation: str, body_hash: bytes
) -> InteractionRecord | None:
    """Return the newest turn of the log if it waits for the reply that the operation makes, else None.

    It is the operation's own turn, or one of the same body whose caller gave no key and so cannot have its
    reply under another operation: who sends a message again that was not answered says it once.
    """
    head = read_head(txn, tenant, name)
    newest = read_interaction(txn, tenant, name, head.log_position - 1) if head.log_position else None
    if newest is None or newest.answer is not None or newest.position < head.operations_start:
        return None
    data = txn.get(keys.operation(tenant, name, newest.operation))
    is_same = data is not None and OperationRecord.unpack(data).is_of(body_hash)
    is_own = newest.operation == operation
    return newest if is_same and (is_own or not newest.operation.startswith(KEY_PREFIX)) else None


def settled_position(txn: ReadTransaction, tenant: str, name: str) -> int:
    """Return where the log ends without a newest turn that may still get its reply.

    Raises ``ModelNotFound``.
    """
    position = read_head(txn, tenant, name).log_position
    newest = read_interaction(txn, tenant, name, position - 1) if position else None
    return position - 1 if newest is not None and newest.answer is None else position


def _without_newest(
    txn: WriteTransaction, tenant: str, name: str, head: HeadRecord, newest: InteractionRecord
) -> HeadRecord:
    """Free the operation id of the newest turn, and return the head before it; its row stays."""
    data = txn.get(keys.interaction(tenant, name, newest.position))
    assert data is not None, "it was just read"
    txn.delete(keys.operation(tenant, name, newest.operation))
    return head.model_copy(
        update={
            "log_position": newest.position,
            "log_bytes": None if head.log_bytes is None else head.log_bytes - len(data),
            "chain": newest.previous,
        }
    )


def register_revision(txn: WriteTransaction, tenant: str, name: str, revision: RevisionRecord) -> None:
    """Record the revision as not ready: no alias may be moved to it yet. Raises ``ModelNotFound``.

    A digest that is recorded already keeps its first record, and stays ready if it is: revisions are
    immutable.
    """
    read_head(txn, tenant, name)
    key = keys.revision(tenant, name, revision.digest)
    if txn.get(key) is None:
        _put_all(txn, {key: revision.model_copy(update={"ready": False}).pack()})


def promote_revision(
    txn: WriteTransaction, tenant: str, name: str, digest: str, alias: str = FIRST_ALIAS
) -> StoredModel:
    """Move ``alias`` to a registered revision, which becomes ready; return the model after that.

    Raises ``ModelNotFound``, and ``RevisionNotFound`` if it is not registered.
    """
    model = read_model(txn, tenant, name)
    if model is None:
        raise ModelNotFound(name)
    key = keys.revision(tenant, name, digest)
    data = txn.get(key)
    if data is None:
        raise RevisionNotFound(name, digest)
    rows = {keys.alias(tenant, name, alias): digest.encode()}
    record = RevisionRecord.unpack(data)
    if not record.ready:
        rows[key] = record.model_copy(update={"ready": True}).pack()
    _put_all(txn, rows)
    return model._replace(aliases=dict(sorted({**model.aliases, alias: digest}.items())))


def remove_alias(txn: WriteTransaction, tenant: str, name: str, alias: str) -> StoredModel:
    """Remove an alias; its revision stays. Returns the model after that.

    Raises ``ModelNotFound``, and ``RevisionNotFound`` if the model has no such alias.
    """
    model = read_model(txn, tenant, name)
    if model is None:
        raise ModelNotFound(name)
    if alias not in model.aliases:
        raise RevisionNotFound(name, alias)
    txn.delete(keys.alias(tenant, name, alias))
    kept = {other: digest for other, digest in model.aliases.items() if other != alias}
    return model._replace(aliases=kept)


def read_model(txn: ReadTransaction, tenant: str, name: str) -> StoredModel | None:
    """Return the model, or None if the tenant has none of that name."""
    data = None if keys.name_problem(name) else txn.get(keys.identity(tenant, name))
    return None if data is None else _model(txn, IdentityRecord.unpack(data))


def list_models(
    txn: ReadTransaction, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
) -> list[StoredModel]:
    """Return up to ``limit`` of the tenant's models by name, strictly after the name ``after``.

    Only those whose names begin with ``prefix``.
    """
    return list(islice(walk_models(txn, tenant, after=after, prefix=prefix), limit))


def walk_models(
    txn: ReadTransaction,
    tenant: str,
    *,
    after: str | None = None,
    prefix: str = "",
    on_damaged: Callable[[str, RecordInvalid], None] | None = None,
) -> Generator[StoredModel]:
    """Walk over the tenant's models as ``list_models`` returns them; each is read when it is asked for.

    With ``on_damaged``, that is called with the name of one that cannot be read, which is left out.
    """
    # Both may be any text, also one too long for an LMDB key. A NUL ends a name in it.
    if "\0" in prefix:
        return
    tenants = keys.identities(tenant)
    start = None if after is None else tenants + after.encode(errors="replace")[:256] + b"\0"
    for key, data in txn.scan(tenants + prefix.encode(errors="replace")[:256], after=start):
        try:
            found = _model(txn, IdentityRecord.unpack(data))
        except RecordInvalid as error:
            if on_damaged is None:
                raise
            on_damaged(keys.model_of(key)[1], error)
        else:
            yield found


def find_operation(
    txn: ReadTransaction, tenant: str, name: str, operation: str, *, now_ms: int
) -> tuple[OperationRecord, InteractionRecord] | None:
    """Return the operation's row and the interaction that it made; None if unknown or expired.

    The caller compares the body hash.
    """
    data = None if keys.name_problem(name) else txn.get(keys.operation(tenant, name, operation))
    if data is None:
        return None
    record = OperationRecord.unpack(data)
    if record.expires_ms <= now_ms:
        return None
    made = txn.get(keys.interaction(tenant, name, record.position))
    if made is None:
        raise RecordInvalid("operation", f"it names position {record.position}, which is not in the log")
    return record, InteractionRecord.unpack(made)


def read_log(
    txn: ReadTransaction, tenant: str, name: str, *, start: int = 0, limit: int = 100
) -> list[InteractionRecord]:
    """Return up to ``limit`` interactions at and after ``start``, or the oldest kept one if it is later.

    Raises ``ModelNotFound``.
    """
    read_head(txn, tenant, name)
    before = None if start <= 0 else keys.interaction(tenant, name, start - 1)
    found = txn.scan(keys.interactions(tenant, name), after=before, limit=limit)
    return [InteractionRecord.unpack(data) for _, data in found]


def read_interaction(txn: ReadTransaction, tenant: str, name: str, position: int) -> InteractionRecord | None:
    """Return the interaction at the position; None if the log does not keep it, or there is no such model."""
    data = None if keys.name_problem(name) else txn.get(keys.interaction(tenant, name, position))
    return None if data is None else InteractionRecord.unpack(data)


def read_revision(txn: ReadTransaction, tenant: str, name: str, reference: str) -> RevisionRecord:
    """Return the revision under a digest or alias. Raises ``ModelNotFound`` and ``RevisionNotFound``."""
    read_head(txn, tenant, name)
    digest: str | None = reference if keys.is_digest(reference) else None
    if keys.alias_problem(reference) is None:
        target = txn.get(keys.alias(tenant, name, reference))
        digest = None if target is None else target.decode()
    data = None if digest is None else txn.get(keys.revision(tenant, name, digest))
    if data is None:
        raise RevisionNotFound(name, reference)
    return RevisionRecord.unpack(data)


def list_revisions(txn: ReadTransaction, tenant: str, name: str) -> list[RevisionRecord]:
    """Return the model's revisions, oldest first. Raises ``ModelNotFound``."""
    read_head(txn, tenant, name)
    found = [RevisionRecord.unpack(data) for _, data in txn.scan(keys.revisions(tenant, name))]
    return sorted(found, key=lambda revision: (revision.created_ms, revision.digest))


def operation_key(tenant: str, name: str, interaction: InteractionRecord) -> bytes:
    """Return the key of the operation that made the interaction, whether or not its id is kept."""
    if interaction.forgotten is not None:
        return keys.operation_of_hash(tenant, name, interaction.forgotten[2])
    return keys.operation(tenant, name, interaction.operation)


def chain_digest(data: bytes) -> bytes:
    """Digest a stored interaction, which contains its predecessor's digest: BLAKE2b-128 of its bytes."""
    return blake2b(data, digest_size=16).digest()


def read_head(txn: ReadTransaction, tenant: str, name: str) -> HeadRecord:
    """Return the head of the model. Raises ``ModelNotFound``."""
    data = None if keys.name_problem(name) else txn.get(keys.head(tenant, name))
    if data is None:
        raise ModelNotFound(name)
    return HeadRecord.unpack(data)


def _model(txn: ReadTransaction, identity: IdentityRecord) -> StoredModel:
    tenant, name = identity.tenant, identity.name
    head = txn.get(keys.head(tenant, name))
    if head is None:
        raise RecordInvalid("head", f"it is missing for the model `{name}`")
    prefix = keys.aliases(tenant, name)
    aliases = {key[len(prefix) :].decode(): target.decode() for key, target in txn.scan(prefix)}
    memory = txn.get(keys.memory(tenant, name))
    contributor = txn.get(keys.contributor(tenant, name))
    return StoredModel(
        identity,
        HeadRecord.unpack(head),
        aliases,
        None if memory is None else MemoryRecord.unpack(memory),
        contributor is not None and ContributorRecord.unpack(contributor).agrees,
    )


def _put_all(txn: WriteTransaction, rows: dict[bytes, bytes]) -> None:
    for key, value in rows.items():
        txn.put(key, value)
