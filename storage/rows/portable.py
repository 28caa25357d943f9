"""A personal model outside of any store: all its rows unencrypted, to move from one store to another.

The values are the records' own bytes, as an interaction contains the digest of its predecessor's. An
imported model comes from an untrusted file: its rows are laid out in memory and must keep every law
of ``storage/rows/integrity.py`` before any of them is written.
"""

import contextlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from populace.storage.records import keys
from populace.storage.records.errors import ArchiveInvalid, ModelExists, ModelNotFound, RecordInvalid
from populace.storage.records.record import Record
from populace.storage.records.records import (
    DataKeyRecord,
    FeedbackRecord,
    ForgottenRecord,
    HeadRecord,
    IdentityRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    RevisionRecord,
    SnapshotRecord,
    SuiteRecord,
)
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import integrity, ledger


class RowsInMemory:
    """Implements ``ReadTransaction``."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self._rows = rows
        self._keys = sorted(rows)

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        at = bisect_left(self._keys, prefix if after is None else max(prefix, after + b"\0"))
        while at < len(self._keys) and limit != 0 and self._keys[at].startswith(prefix):
            yield self._keys[at], self._rows[self._keys[at]]
            limit = None if limit is None else limit - 1
            at += 1


R = TypeVar("R", bound=Record)

COUNT_MAX = 2**63 - 1
CREATED_MS_MAX = 253_402_300_799_999
"""The end of the year 9999, the last that Python's dates can represent."""


class PortableModel(NamedTuple):
    """A model without its tenant, name, adapter files and training jobs. Values are packed records.

    ``aliases`` maps alias to revision digest. ``operations`` are in the order of their positions:
    the key of each follows from the interaction that it names.
    """

    base: str
    created_ms: int
    head: bytes
    aliases: dict[str, str]
    revisions: tuple[bytes, ...]
    interactions: tuple[bytes, ...]
    operations: tuple[bytes, ...]
    memory: bytes | None
    snapshot: bytes | None
    feedback: tuple[bytes, ...] = ()
    forgotten: bytes | None = None
    suite: bytes | None = None


def read_portable(txn: ReadTransaction, tenant: str, name: str) -> PortableModel:
    """Read the whole model. Raises ``ModelNotFound``."""
    model = ledger.read_model(txn, tenant, name)
    head = None if model is None else txn.get(keys.head(tenant, name))
    if model is None or head is None:
        raise ModelNotFound(name)
    operations = _values(txn, keys.operations(tenant, name))
    return PortableModel(
        base=model.identity.base,
        created_ms=model.identity.created_ms,
        head=head,
        aliases=model.aliases,
        revisions=_values(txn, keys.revisions(tenant, name)),
        interactions=_values(txn, keys.interactions(tenant, name)),
        operations=tuple(sorted(operations, key=lambda data: OperationRecord.unpack(data).position)),
        memory=txn.get(keys.memory(tenant, name)),
        snapshot=txn.get(keys.snapshot(tenant, name)),
        feedback=_values(txn, keys.all_feedback(tenant, name)),
        forgotten=txn.get(keys.forgotten(tenant, name)),
        suite=txn.get(keys.suite(tenant, name)),
    )


def digests_of(model: PortableModel) -> list[str]:
    """Return the digests of the model's adapters, as far as its revisions can be read."""
    digests: list[str] = []
    for data in model.revisions:
        with contextlib.suppress(RecordInvalid):
            digests.append(RevisionRecord.unpack(data).digest)
    return [digest for digest in digests if keys.is_digest(digest)]


def portable_rows(model: PortableModel, tenant: str, name: str) -> dict[bytes, bytes]:
    """Lay out the model's rows under a tenant and name, without a data key.

    Tenant and name must have passed ``keys.name_problem``. Raises ``ArchiveInvalid`` if the rows
    are not those of a whole model.
    """
    try:
        rows = _rows(model, tenant, name)
        integrity.check_contents(RowsInMemory(rows), tenant, name)
    except RecordInvalid as error:
        raise ArchiveInvalid(name, f"its {error.kind} is not sound: {error.reason}") from error
    except AssertionError as error:
        raise ArchiveInvalid(name, f"it contradicts itself: {error}") from error
    return rows


def timed_here(
    rows: Mapping[bytes, bytes], tenant: str, name: str, *, now_ms: int, expires_ms: int
) -> dict[bytes, bytes]:
    """Set the times in the rows of a model to the served time of the shard that they enter.

    Two shards were not served for the same time, so an age that began in one means nothing in the
    other. Imported rows count as made at ``now_ms``, and their operation ids expire at ``expires_ms``:
    they are kept for longer than promised, never for shorter.
    """
    identity_key, operations = keys.identity(tenant, name), keys.operations(tenant, name)
    identity = IdentityRecord.unpack(rows[identity_key])
    head = HeadRecord.unpack(rows[keys.head(tenant, name)])
    arrived = identity.model_copy(update={"arrived": (head.log_position, now_ms)})
    timed = {**rows, identity_key: arrived.pack()}
    for key, value in rows.items():
        if key.startswith(operations):
            operation = OperationRecord.unpack(value)
            timed[key] = operation.model_copy(update={"expires_ms": expires_ms}).pack()
    return timed


def write_portable(
    txn: WriteTransaction, tenant: str, name: str, data_key: DataKeyRecord, rows: Mapping[bytes, bytes]
) -> None:
    """Write the rows of ``portable_rows``, sealed with a new data key. Raises ``ModelExists``."""
    if txn.get(keys.identity(tenant, name)) is not None:
        raise ModelExists(name)
    txn.put(keys.data_key(tenant, name), data_key.pack())
    for key, value in rows.items():
        txn.put(key, value)


def _values(txn: ReadTransaction, prefix: bytes) -> tuple[bytes, ...]:
    return tuple(data for _, data in txn.scan(prefix))


def _rows(model: PortableModel, tenant: str, name: str) -> dict[bytes, bytes]:
    identity = IdentityRecord(tenant=tenant, name=name, base=model.base, created_ms=model.created_ms)
    _check_numbers(identity)
    _sound(HeadRecord, model.head)
    rows = {keys.identity(tenant, name): identity.pack(), keys.head(tenant, name): model.head}
    for alias, digest in model.aliases.items():
        problem = keys.alias_problem(alias) or (None if keys.is_digest(digest) else "it names no digest")
        if problem is not None:
            raise RecordInvalid("alias", f"{alias[:80]!r}: {problem}")
        rows[keys.alias(tenant, name, alias)] = digest.encode()
    for data in model.revisions:
        digest = _sound(RevisionRecord, data).digest
        if not keys.is_digest(digest):
            raise RecordInvalid("revision", f"{digest[:80]!r} is not a digest")
        _put_new(rows, keys.revision(tenant, name, digest), data, "revision")
    made: dict[int, InteractionRecord] = {}
    for data in model.interactions:
        interaction = _sound(InteractionRecord, data)
        made[interaction.position] = interaction
        _put_new(rows, keys.interaction(tenant, name, interaction.position), data, "interaction")
    for data in model.operations:
        position = _sound(OperationRecord, data).position
        if position not in made:
            raise RecordInvalid("operation", f"it names position {position}, which is not in the log")
        _put_new(rows, ledger.operation_key(tenant, name, made[position]), data, "operation")
    for data in model.feedback:
        given = _sound(FeedbackRecord, data)
        key = keys.feedback(tenant, name, given.position, given.operation)
        _put_new(rows, key, data, "feedback")
        rows[keys.unsettled(tenant, name)] = b""
    if model.forgotten is not None:
        _sound(ForgottenRecord, model.forgotten)
        rows[keys.forgotten(tenant, name)] = model.forgotten
    if model.suite is not None:
        _sound(SuiteRecord, model.suite)
        rows[keys.suite(tenant, name)] = model.suite
    if model.memory is not None:
        _sound(MemoryRecord, model.memory)
        rows[keys.memory(tenant, name)] = model.memory
    if model.snapshot is not None:
        _sound(SnapshotRecord, model.snapshot)
        rows[keys.snapshot(tenant, name)] = model.snapshot
    return rows


def _put_new(rows: dict[bytes, bytes], key: bytes, data: bytes, kind: str) -> None:
    if key in rows:
        raise RecordInvalid(kind, "there are two of one place")
    rows[key] = data


def _sound(kind: type[R], data: bytes) -> R:
    record = kind.unpack(data)
    _check_numbers(record)
    return record


def _check_numbers(record: Record) -> None:
    """Refuse counts and times that no store could have written, and that keys could not hold."""
    for field, value in record:
        highest = CREATED_MS_MAX if field == "created_ms" else COUNT_MAX
        if isinstance(value, int) and not 0 <= value <= highest:
            raise RecordInvalid(record.KIND, f"{field} is not in 0 to {highest}")
