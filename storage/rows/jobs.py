"""Training jobs: rows of a personal model that say what is being learned, and with which result.

::

    waiting ──▶ running ──▶ promoting ──▶ promoted
       │           ├──▶ rejected     its candidate is no better than its parent
       │           ├──▶ skipped      there was nothing to learn
       └───────────┴──▶ failed, cancelled

One job of a model is open at a time, since each begins where the last one ended. What it learned from and
the candidate are recorded together: weights are a function of the log up to the cursor.

A job that ends lets its session's key go. If it was promoted, the row of the kept training has it then
(``storage/rows/kept_trainings.py``).
"""

from collections.abc import Collection, Iterator

from populace.storage.records import keys
from populace.storage.records.errors import ModelNotFound, OperationConflict
from populace.storage.records.records import JobRecord, RevisionRecord, TasksRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import kept_trainings, ledger
from populace.storage.rows.feedback import walk_feedback
from populace.storage.rows.ledger import FIRST_ALIAS, StoredModel
from populace.storage.training.errors import JobEnded, JobNotFound, TrainingUnderWay

OPEN_STATES = frozenset({"waiting", "running", "promoting"})
ENDED_STATES = frozenset({"promoted", "rejected", "skipped", "failed", "cancelled"})

JOBS_KEPT = 32
"""The number of jobs that are kept for one model, including the open one."""

QUOTATION = "“"
"""What begins each quotation of a person's words in a reason (``policies/quoted_words.py``)."""

TURNS_A_LOOK = 16
"""A model without feedback is looked at once in this many turns."""


def ask_for_job(
    txn: WriteTransaction, tenant: str, name: str, record: JobRecord, tasks: TasksRecord | None = None
) -> JobRecord:
    """Store a waiting job under the next number, or return the one that its operation id asked for before.

    The tasks are kept while it is open.

    Raises ``ModelNotFound``, ``OperationConflict`` (same id, other body) and ``TrainingUnderWay``.
    """
    ledger.read_head(txn, tenant, name)
    known = list(walk_jobs(txn, tenant, name))
    for job in known:
        if job.operation == record.operation:
            if job.body_hash != record.body_hash:
                raise OperationConflict(record.operation)
            return job
    number = open_number(txn, tenant, name)
    if number is not None:
        raise TrainingUnderWay(name, number)
    asked = record.model_copy(update={"number": known[-1].number + 1 if known else 0})
    data, rewarded_for = asked.pack(), None if tasks is None else tasks.pack()
    for job in known[: max(0, len(known) + 1 - JOBS_KEPT)]:
        txn.delete(keys.job(tenant, name, job.number))
    txn.put(keys.job(tenant, name, asked.number), data)
    txn.put(keys.open_job(tenant, name), asked.number.to_bytes(8, "big"))
    if rewarded_for is not None:
        txn.put(keys.tasks(tenant, name), rewarded_for)
    return asked


def change_job(txn: WriteTransaction, tenant: str, name: str, record: JobRecord) -> JobRecord:
    """Replace the record of an open job; a state that ends it closes it.

    If its candidate was about to be promoted, ending it moves the cursor back. Raises ``ModelNotFound``,
    ``JobNotFound``, and ``JobEnded`` for an ended job.
    """
    head = ledger.read_head(txn, tenant, name)
    gives_back = _check_open(txn, tenant, name, record.number) == "promoting"
    cursor = _cursor_of(txn, tenant, name, record.parent) if gives_back else head.cursor
    _put(txn, tenant, name, record, _row(record))
    if record.state in ENDED_STATES and cursor != head.cursor:
        txn.put(keys.head(tenant, name), head.model_copy(update={"cursor": cursor}).pack())
    return record


def forget_reasons(
    txn: WriteTransaction, tenant: str, name: str, positions: Collection[int], instead: str
) -> None:
    """Replace the reasons of ended jobs that learned from the turns at the positions and may tell of them.

    A rejection has measures of what was learned, and quotes. Why another job ended stays, unless it quotes.
    """
    for record in list(walk_jobs(txn, tenant, name)):
        first, end = record.log_range or (0, 0)
        tells = record.state == "rejected" or QUOTATION in record.reason
        if record.state in ENDED_STATES and tells and any(first <= at < end for at in positions):
            changed = record.model_copy(update={"reason": instead})
            txn.put(keys.job(tenant, name, record.number), changed.pack())


def record_candidate(
    txn: WriteTransaction, tenant: str, name: str, job: JobRecord, revision: RevisionRecord
) -> JobRecord:
    """Register a job's candidate. If the job's state says that it is promoted next, the cursor moves too.

    Feedback that came after the job began stays unsettled. Raises as ``change_job``.
    """
    assert job.state in ("promoting", "rejected"), job.state
    assert job.log_range is not None
    assert job.feedback_until_ms is not None
    head = ledger.read_head(txn, tenant, name)
    _check_open(txn, tenant, name, job.number)
    moved, data = head.model_copy(update={"cursor": job.log_range[1]}).pack(), _row(job)
    is_settled = all(given.created_ms < job.feedback_until_ms for given in walk_feedback(txn, tenant, name))
    ledger.register_revision(txn, tenant, name, revision)
    _put(txn, tenant, name, job, data)
    if job.state == "promoting":
        txn.put(keys.head(tenant, name), moved)
        if is_settled:
            txn.delete(keys.unsettled(tenant, name))
    return job


def promote_candidate(
    txn: WriteTransaction, tenant: str, name: str, job: JobRecord, alias: str = FIRST_ALIAS
) -> StoredModel:
    """Move the alias to the job's candidate, which becomes ready, and end the job. Raises as ``change_job``.

    The key of its session goes to the row of the kept training. If it was rebuilt on another base, the model
    is of that base from then on.
    """
    assert job.state == "promoted", job.state
    assert job.candidate is not None
    _check_open(txn, tenant, name, job.number)
    data = _row(job)
    base = ledger.read_revision(txn, tenant, name, job.candidate).base
    model = ledger.promote_revision(txn, tenant, name, job.candidate, alias)
    _put(txn, tenant, name, job, data)
    if job.session_key:
        kept_trainings.put_kept(txn, tenant, name, job.candidate, job.session_key)
    if base != model.identity.base:
        identity = model.identity.model_copy(update={"base": base})
        txn.put(keys.identity(tenant, name), identity.pack())
        model = model._replace(identity=identity)
    return model


def roll_back(
    txn: WriteTransaction, tenant: str, name: str, digest: str, alias: str = FIRST_ALIAS
) -> StoredModel:
    """Move the alias back from this revision to its parent, and the cursor to the parent's.

    Nothing happens if the alias names another one by now. Without a parent the base is served again. Raises
    ``ModelNotFound`` and ``RevisionNotFound``, also for a parent that the model does not have.
    """
    model = ledger.read_model(txn, tenant, name)
    if model is None:
        raise ModelNotFound(name)
    if model.aliases.get(alias) != digest:
        return model
    revision = ledger.read_revision(txn, tenant, name, digest)
    cursor = _cursor_of(txn, tenant, name, revision.parent)
    if revision.parent is not None:
        model = ledger.promote_revision(txn, tenant, name, revision.parent, alias)
    else:
        txn.delete(keys.alias(tenant, name, alias))
        kept = {other: target for other, target in model.aliases.items() if other != alias}
        model = model._replace(aliases=kept)
    head = model.head.model_copy(update={"cursor": cursor})
    txn.put(keys.head(tenant, name), head.pack())
    return model._replace(head=head)


def note_turn(txn: WriteTransaction, tenant: str, name: str, position: int) -> None:
    """Mark the model as unsettled with every ``TURNS_A_LOOK``-th turn: its log may have much to learn.

    ``position`` is that of the turn, which is committed in the same transaction.
    """
    if (position + 1) % TURNS_A_LOOK == 0:
        txn.put(keys.unsettled(tenant, name), b"")


def settle_feedback(txn: WriteTransaction, tenant: str, name: str) -> None:
    """Mark the model's feedback and turns as handled: nothing follows from them."""
    txn.delete(keys.unsettled(tenant, name))


def read_job(txn: ReadTransaction, tenant: str, name: str, number: int) -> JobRecord:
    """Return one job. Raises ``JobNotFound``."""
    data = None if keys.name_problem(name) else txn.get(keys.job(tenant, name, number))
    if data is None:
        raise JobNotFound(name, number)
    return JobRecord.unpack(data)


def read_tasks(txn: ReadTransaction, tenant: str, name: str, number: int) -> TasksRecord:
    """Return the reward tasks of an open job. Raises ``JobNotFound`` and ``JobEnded``."""
    _check_open(txn, tenant, name, number)
    data = txn.get(keys.tasks(tenant, name))
    if data is None:
        raise JobNotFound(name, number)
    return TasksRecord.unpack(data)


def open_number(txn: ReadTransaction, tenant: str, name: str) -> int | None:
    """Return the number of the model's open job, None without one."""
    data = txn.get(keys.open_job(tenant, name))
    return None if data is None else int.from_bytes(data, "big")


def walk_jobs(txn: ReadTransaction, tenant: str, name: str) -> Iterator[JobRecord]:
    """Walk the model's jobs, oldest first."""
    for _, data in txn.scan(keys.jobs(tenant, name)):
        yield JobRecord.unpack(data)


def walk_jobs_of_tenant(txn: ReadTransaction, tenant: str) -> Iterator[tuple[str, JobRecord]]:
    """Walk the jobs of all models of a tenant, with the models' names, by name."""
    for key, data in txn.scan(keys.jobs_of_tenant(tenant)):
        yield keys.model_of(key)[1], JobRecord.unpack(data)


def walk_open_jobs(txn: ReadTransaction) -> Iterator[tuple[str, str, JobRecord]]:
    """Walk the open jobs of the shard with their models' tenants and names."""
    for key, _ in txn.scan(keys.open_jobs()):
        tenant, name = keys.model_of(key)
        number = open_number(txn, tenant, name)
        assert number is not None
        yield tenant, name, read_job(txn, tenant, name, number)


def walk_unsettled(txn: ReadTransaction, after: bytes | None = None) -> Iterator[tuple[bytes, str, str]]:
    """Walk the models with anything unsettled after the row ``after``: the row, tenant and name of each."""
    for key, _ in txn.scan(keys.all_unsettled(), after=after):
        yield (key, *keys.model_of(key))


def _check_open(txn: ReadTransaction, tenant: str, name: str, number: int) -> str:
    state = read_job(txn, tenant, name, number).state
    if state in ENDED_STATES:
        raise JobEnded(name, number, state)
    return state


def _cursor_of(txn: ReadTransaction, tenant: str, name: str, digest: str | None) -> int:
    """The end of the log that a revision learned from; 0 for the base and revisions trained elsewhere."""
    log_range = None if digest is None else ledger.read_revision(txn, tenant, name, digest).log_range
    return 0 if log_range is None else log_range[1]


def _row(record: JobRecord) -> bytes:
    """Pack the record, without the key of its session if it ends: the job has no file then."""
    ends = record.state in ENDED_STATES
    return (record.model_copy(update={"session_key": b""}) if ends else record).pack()


def _put(txn: WriteTransaction, tenant: str, name: str, record: JobRecord, data: bytes) -> None:
    txn.put(keys.job(tenant, name, record.number), data)
    if record.state in ENDED_STATES:
        txn.delete(keys.open_job(tenant, name))
        txn.delete(keys.tasks(tenant, name))
