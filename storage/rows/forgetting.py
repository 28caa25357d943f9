"""Forgets turns: nothing of them stays in the log, beside it, or in an adapter that learned from them.

A forgotten turn keeps its place, as an ``InteractionRecord`` without words, so that positions keep their
meaning and the chain of the log is unbroken. A retry of its operation id finds that it was forgotten and runs
nothing. Revisions that learned from it are removed from the model with their descendants; a compaction and a
sweep then remove the deleted data from the disk, as after an erasure (``storage/records/erasures.py``).
"""

import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from populace.storage.records import erasures, keys
from populace.storage.records.errors import InteractionNotFound, PositionConflict
from populace.storage.records.lower_revision import lower_of
from populace.storage.records.records import (
    ForgottenRecord,
    HeadRecord,
    InteractionRecord,
    JobRecord,
    OperationRecord,
    ProfileRecord,
    RevisionRecord,
)
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import jobs, kept_trainings, known, ledger, log
from populace.storage.rows.ledger import FIRST_ALIAS

FORGOTTEN_ROLE = "forgotten"
"""The role of the single, empty message of a forgotten turn."""

TURNS_FORGOTTEN_MAX = 4096
"""At most this many digests of forgotten turns are kept, since each grant carries them. Older turns may
come back."""


REASON_FORGOTTEN = "a turn that it learned from was forgotten"
"""The reason of trainings that were stopped for it, and of ended ones whose own may tell of the turn."""


class LogWithout(NamedTuple):
    """The changes to a log of ``position`` interactions when those at ``positions`` are forgotten.

    ``changed`` are all records whose content changes besides the chain: forgotten ones and later ones that
    had something of them. ``turns`` are the digests of what must not come back.
    """

    position: int
    positions: frozenset[int]
    changed: Mapping[int, InteractionRecord]
    turns: tuple[bytes, ...]


class GivenUp(NamedTuple):
    """What a forgetting removed besides: revisions and trainings; and the new digests of moved aliases.

    The digest None is the base.
    """

    revisions: tuple[str, ...]
    jobs: tuple[int, ...]
    aliases: Mapping[str, str | None]


def redacted(
    interaction: InteractionRecord, *, turn: bytes, operation: bytes, now_ms: int
) -> InteractionRecord:
    """Return the rest of a turn: its position and times, what it was served with, and the memory before it.

    ``turn`` is its digest, ``operation`` the hash of its operation id. Not even its length is kept.
    """
    return InteractionRecord(
        position=interaction.position,
        operation="",
        completion_id=interaction.completion_id,
        messages=((FORGOTTEN_ROLE, ""),),
        reply="",
        finish_reason="stop",
        prompt_tokens=0,
        completion_tokens=0,
        revision=interaction.revision,
        base=interaction.base,
        memory_version=interaction.memory_version,
        created_ms=interaction.created_ms,
        previous=interaction.previous,
        served_ms=interaction.served_ms,
        memory=interaction.memory,
        forgotten=(now_ms, turn, operation),
    )


def forget_turns(
    txn: WriteTransaction, tenant: str, name: str, without: LogWithout, *, now_ms: int
) -> GivenUp:
    """Remove the turns from the log; return what had to go with them: all or nothing.

    The caller changes the memory in the same transaction. Raises ``ModelNotFound``,
    ``PositionConflict`` if the log has moved since, and ``InteractionNotFound`` for a turn that was dropped
    meanwhile.
    """
    head = log.counted_head(txn, tenant, name)
    if head.log_position != without.position:
        raise PositionConflict(name, without.position, head.log_position)
    dropped = [position for position in sorted(without.positions) if position < head.log_start]
    if dropped:
        raise InteractionNotFound(name, str(dropped[0]))
    rows, head = _rows_without(txn, tenant, name, without, head)
    operations = _operations_without(txn, tenant, name, without)
    feedback = [
        key for position in without.positions for key, _ in txn.scan(keys.feedback_on(tenant, name, position))
    ]
    revisions = ledger.list_revisions(txn, tenant, name)
    touched = touched_revisions(revisions, without.positions)
    aliases = _aliases_without(txn, tenant, name, revisions, touched)
    cancelled = _jobs_without(txn, tenant, name, without.positions, touched, now_ms)
    forgotten = _forgotten_with(forgotten_record(txn, tenant, name), without)
    profile = txn.get(keys.profile(tenant, name))

    for key, value in {**rows, **operations}.items():
        txn.put(key, value)
    for key in feedback:
        txn.delete(key)
    known.drop_of(txn, tenant, name, without.changed)
    txn.put(keys.forgotten(tenant, name), forgotten.pack())
    jobs.forget_reasons(txn, tenant, name, without.positions, REASON_FORGOTTEN)
    for job in cancelled:
        jobs.change_job(txn, tenant, name, job)
        # A job that was about to be promoted moves the cursor back.
        head = head.model_copy(update={"cursor": ledger.read_head(txn, tenant, name).cursor})
    for alias, target in aliases.items():
        if target is None:
            txn.delete(keys.alias(tenant, name, alias))
        else:
            txn.put(keys.alias(tenant, name, alias), target.encode())
    for digest in touched:
        txn.delete(keys.revision(tenant, name, digest))
        kept_trainings.drop_kept(txn, tenant, name, digest)
    if profile is not None and ProfileRecord.unpack(profile).revision in touched:
        txn.delete(keys.profile(tenant, name))
    if FIRST_ALIAS in aliases:
        # The rest of the log, from which the revision had learned, has to be learned again.
        cursor = _cursor_of(revisions, aliases[FIRST_ALIAS])
        head = head.model_copy(update={"cursor": cursor})
        if next(txn.scan(keys.all_feedback(tenant, name), limit=1), None) is not None:
            txn.put(keys.unsettled(tenant, name), b"")
    txn.put(keys.head(tenant, name), head.pack())
    erasures.note_erasure(txn, touched, now_ms=now_ms)
    return GivenUp(tuple(sorted(touched)), tuple(job.number for job in cancelled), aliases)


def tell_anew(txn: WriteTransaction, tenant: str, name: str, *said: bytes) -> None:
    """Let digests of forgotten turns go, or of parts of them: their words were said again."""
    known = forgotten_record(txn, tenant, name)
    left = tuple(digest for digest in known.turns if digest not in said)
    let_go = len(known.turns) - len(left)
    if let_go:
        record = ForgottenRecord(turns=left, let_go=known.let_go + let_go)
        txn.put(keys.forgotten(tenant, name), record.pack())


def forgotten_record(txn: ReadTransaction, tenant: str, name: str) -> ForgottenRecord:
    data = txn.get(keys.forgotten(tenant, name))
    return ForgottenRecord(turns=()) if data is None else ForgottenRecord.unpack(data)


def forgotten_turns(txn: ReadTransaction, tenant: str, name: str) -> frozenset[bytes]:
    """Return the digests of the turns that must not come back."""
    return frozenset(forgotten_record(txn, tenant, name).turns)


def touched_revisions(revisions: Sequence[RevisionRecord], positions: Collection[int]) -> frozenset[str]:
    """Return the digests of the revisions that may hold something of the turns, and of their descendants.

    A revision's log range says what it was given to learn from, not which turns became examples.
    """
    touched = {
        revision.digest
        for revision in revisions
        if revision.log_range is not None
        and any(revision.log_range[0] <= at < revision.log_range[1] for at in positions)
    }
    while True:
        more = {
            revision.digest
            for revision in revisions
            if any(origin in touched for origin in _origins(revision))
        }
        if more <= touched:
            return frozenset(touched)
        touched |= more


def _forgotten_with(known: ForgottenRecord, without: LogWithout) -> ForgottenRecord:
    """Add the digests; those beyond the limit are let go, and those of turns that ``turns`` leaves out."""
    turns = tuple(
        dict.fromkeys((*(digest for digest in known.turns if digest not in without.turns), *without.turns))
    )
    own = {forgotten[1] for at in without.positions if (forgotten := without.changed[at].forgotten)}
    let_go = len(own.difference(turns)) + max(0, len(turns) - TURNS_FORGOTTEN_MAX)
    return ForgottenRecord(turns=turns[-TURNS_FORGOTTEN_MAX:], let_go=known.let_go + let_go)


def _rows_without(
    txn: ReadTransaction, tenant: str, name: str, without: LogWithout, head: HeadRecord
) -> tuple[dict[bytes, bytes], HeadRecord]:
    """Chain the log anew from the first record that changes; return its rows and the head."""
    first = min(without.changed)
    rows: dict[bytes, bytes] = {}
    chain, more_bytes = b"", 0
    for logged in log.walk_log(txn, tenant, name, first):
        record = without.changed.get(logged.record.position, logged.record)
        previous = logged.record.previous if record.position == first else chain
        data = record.model_copy(update={"previous": previous}).pack()
        rows[keys.interaction(tenant, name, record.position)] = data
        chain = ledger.chain_digest(data)
        # The feedback on a forgotten turn is deleted with it.
        kept_bytes = 0 if record.position in without.positions else logged.bytes_kept - len(logged.data)
        more_bytes += len(data) + kept_bytes - logged.bytes_kept
    assert head.log_bytes is not None, "counted_head counts them"
    return rows, head.model_copy(update={"chain": chain, "log_bytes": head.log_bytes + more_bytes})


def _operations_without(
    txn: ReadTransaction, tenant: str, name: str, without: LogWithout
) -> dict[bytes, bytes]:
    """The operation rows of the turns, and of later ones that were sent them, without the body's digest."""
    rows: dict[bytes, bytes] = {}
    for position, changed in without.changed.items():
        stored = ledger.read_interaction(txn, tenant, name, position)
        if stored is None or stored.messages == changed.messages:
            continue
        key = ledger.operation_key(tenant, name, changed)
        data = txn.get(key)
        if data is not None:
            operation = OperationRecord.unpack(data)
            # An id that was used again after its expiry belongs to its later position.
            if operation.position == position:
                rows[key] = operation.model_copy(update={"body_hash": b""}).pack()
    return rows


def _aliases_without(
    txn: ReadTransaction,
    tenant: str,
    name: str,
    revisions: Sequence[RevisionRecord],
    touched: Collection[str],
) -> dict[str, str | None]:
    """Map aliases of touched revisions to their nearest untouched ancestor, None for the base.

    Only a ready revision of the model's base is taken, and none that the alias's did not come from: its
    person may have rejected it.
    """
    model = ledger.read_model(txn, tenant, name)
    assert model is not None, "its head was read"
    known = {revision.digest: revision for revision in revisions}
    left = {
        revision.digest
        for revision in revisions
        if revision.digest not in touched and revision.ready and revision.base == model.identity.base
    }
    return {
        alias: next((ancestor for ancestor in _ancestors(known, digest) if ancestor in left), None)
        for alias, digest in model.aliases.items()
        if digest in touched
    }


def _ancestors(known: Mapping[str, RevisionRecord], digest: str) -> Iterator[str]:
    """The revisions that this one came from, nearest first; of those that were merged the heaviest first."""
    queue, seen = deque([digest]), {digest}
    while queue:
        for origin in _origins(known[queue.popleft()]):
            if origin in known and origin not in seen:
                seen.add(origin)
                queue.append(origin)
                yield origin


def _origins(revision: RevisionRecord) -> list[str]:
    """What the revision was made from: its parent, its lower revision, and what was merged into it."""
    sources = sorted(revision.sources, key=lambda source: -source[1])
    origins = (revision.parent, lower_of(revision.hyper_parameters), *(source for source, _ in sources))
    return [origin for origin in origins if origin is not None]


def _jobs_without(
    txn: ReadTransaction,
    tenant: str,
    name: str,
    positions: Collection[int],
    touched: Collection[str],
    now_ms: int,
) -> list[JobRecord]:
    """The open training as cancelled, if it learns from the turns; its key goes with its end."""
    number = jobs.open_number(txn, tenant, name)
    if number is None:
        return []
    job = jobs.read_job(txn, tenant, name, number)
    learns = job.log_range is not None and any(job.log_range[0] <= at < job.log_range[1] for at in positions)
    goes_on = any(origin in touched for origin in (job.parent, lower_of(json.loads(job.options))))
    if not learns and not goes_on:
        return []
    cancelled = {
        "state": "cancelled",
        "reason": REASON_FORGOTTEN,
        "ended_ms": now_ms,
    }
    return [job.model_copy(update=cancelled)]


def _cursor_of(revisions: Sequence[RevisionRecord], digest: str | None) -> int:
    """The end of the log that a revision learned from; 0 for the base and revisions trained elsewhere."""
    found = next((revision for revision in revisions if revision.digest == digest), None)
    return 0 if found is None or found.log_range is None else found.log_range[1]
