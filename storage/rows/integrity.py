"""The laws that the rows of a shard keep among themselves, checked row by row.

Every violation is an ``AssertionError``: only a bug of ours or a damaged file can cause one.
"""

import math

from populace.storage.records import journal_keys, keys, tenant_keys
from populace.storage.records.records import (
    DataKeyRecord,
    FeedbackRecord,
    HeadRecord,
    IdentityRecord,
    InteractionRecord,
    JobRecord,
    MemberRecord,
    MemoryRecord,
    OperationRecord,
    ProfileRecord,
    RevisionRecord,
    SnapshotRecord,
    SuiteRecord,
    TasksRecord,
)
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import forgetting, known, ledger
from populace.storage.rows.contributors import ContributorRecord
from populace.storage.rows.jobs import ENDED_STATES, OPEN_STATES
from populace.storage.rows.kept_trainings import KeptRecord


def check(txn: ReadTransaction) -> None:
    """Check every model in the shard, and that no row belongs to a model that does not exist."""
    rows = 0
    for key, data in txn.scan(keys.all_identities()):
        identity = IdentityRecord.unpack(data)
        assert key == keys.identity(identity.tenant, identity.name), key
        check_model(txn, identity.tenant, identity.name)
        prefixes = keys.model_prefixes(identity.tenant, identity.name)
        rows += sum(1 for prefix in prefixes for _ in txn.scan(prefix))
    lone = (keys.api_keys(), tenant_keys.all_tenants(), keys.erasures(), keys.orphans())
    for prefix in (*lone, journal_keys.all_shipping()):
        rows += sum(1 for _ in txn.scan(prefix))
    headers = (keys.EPOCH_KEY, keys.ERASED_KEY, keys.SHARD_KEY, keys.SERVED_KEY, journal_keys.JOURNAL_KEY)
    rows += sum(1 for key in headers if txn.get(key) is not None)
    total = sum(1 for _ in txn.scan(b""))
    assert rows == total, f"{total - rows} rows belong to no model"


def check_model(txn: ReadTransaction, tenant: str, name: str) -> None:
    """Check one model: its data key is there, and its contents keep the laws of ``check_contents``."""
    data_key = txn.get(keys.data_key(tenant, name))
    assert data_key is not None, f"{tenant}/{name} has no data key"
    erased = txn.get(keys.erasure(DataKeyRecord.unpack(data_key).key_id))
    assert erased is None, f"{tenant}/{name} was erased"
    check_contents(txn, tenant, name)


def check_contents(txn: ReadTransaction, tenant: str, name: str) -> None:
    """Check that what is kept of a log is gapless and chained, and what is pointed at exists.

    It also checks imported rows, see ``storage/rows/portable.py``.
    """
    data = txn.get(keys.head(tenant, name))
    if data is None:
        raise AssertionError(f"{tenant}/{name} has no head")
    head = HeadRecord.unpack(data)
    _law(0 <= head.cursor <= head.log_position, head)
    _law(0 <= head.log_start <= head.operations_start <= head.log_position, head)
    _check_log(txn, tenant, name, head)
    _check_snapshot(txn, tenant, name, head)

    for key, value in txn.scan(keys.revisions(tenant, name)):
        revision = RevisionRecord.unpack(value)
        _law(key == keys.revision(tenant, name, revision.digest), revision.digest)
    for key, value in txn.scan(keys.kept_of(tenant, name)):
        digest = key[-32:].hex()
        _law(bool(KeptRecord.unpack(value).key), f"the kept training of {digest} has no key")
        _law(txn.get(keys.revision(tenant, name, digest)) is not None, f"{digest} is kept and no revision")
    for key, target in txn.scan(keys.aliases(tenant, name)):
        named = txn.get(keys.revision(tenant, name, target.decode()))
        _law(named is not None and RevisionRecord.unpack(named).ready, key)
    for key, value in txn.scan(keys.operations(tenant, name)):
        position = OperationRecord.unpack(value).position
        _law(position >= head.operations_start, (position, head.operations_start))
        made = txn.get(keys.interaction(tenant, name, position))
        if made is None:
            raise AssertionError(f"an operation of {tenant}/{name} names position {position}")
        _law(key == ledger.operation_key(tenant, name, InteractionRecord.unpack(made)), position)

    _check_jobs(txn, tenant, name, head)
    _check_membership(txn, tenant, name)
    contributor = txn.get(keys.contributor(tenant, name))
    _law(contributor is None or bool(ContributorRecord.unpack(contributor).id), f"{tenant}/{name} has no id")
    suite = txn.get(keys.suite(tenant, name))
    _law(suite is None or bool(SuiteRecord.unpack(suite).questions), f"{tenant}/{name} has an empty suite")

    answered = known.read_known(txn, tenant, name)
    for fact in () if answered is None else answered.facts:
        is_told = known.is_told(txn, tenant, name, fact[3])
        _law(is_told, f"{tenant}/{name} knows it from no turn: {fact[3]}")

    memory = txn.get(keys.memory(tenant, name))
    version = 0 if memory is None else MemoryRecord.unpack(memory).version
    _law(version == head.memory_version, (version, head.memory_version))


def _check_log(txn: ReadTransaction, tenant: str, name: str, head: HeadRecord) -> None:
    count, chain, log_bytes = head.log_start, head.start_chain, _feedback_bytes(txn, tenant, name, head)
    forgotten = set[bytes]()
    for key, data in txn.scan(keys.interactions(tenant, name)):
        interaction = InteractionRecord.unpack(data)
        _law(key == keys.interaction(tenant, name, count), f"{tenant}/{name} has a gap at {count}")
        _law(interaction.position == count, (interaction.position, count))
        _law(bool(interaction.messages), f"{tenant}/{name} has a turn {count} in which nothing was said")
        _law(0 <= interaction.instructions < len(interaction.messages), interaction.instructions)
        _law((interaction.memory_from or 0) >= 0, interaction.memory_from)
        _law(all(0 <= position < count for position in interaction.retrieved), interaction.retrieved)
        if interaction.forgotten is not None:
            _check_forgotten(txn, tenant, name, interaction, interaction.forgotten)
            forgotten.add(interaction.forgotten[1])
        _law(interaction.previous == chain, f"the chain of {tenant}/{name} breaks at {count}")
        chain = ledger.chain_digest(data)
        log_bytes += len(data)
        count += 1
    _law(count == head.log_position, (count, head.log_position))
    _law(chain == head.chain, f"the head of {tenant}/{name} names another newest interaction")
    _law(head.log_bytes in (None, log_bytes), (head.log_bytes, log_bytes))
    known = forgetting.forgotten_record(txn, tenant, name)
    missing = len(forgotten.difference(known.turns))
    _law(missing <= known.let_go, f"{missing} turns of {tenant}/{name} were forgotten, and may come back")


def _check_forgotten(
    txn: ReadTransaction,
    tenant: str,
    name: str,
    interaction: InteractionRecord,
    forgotten: tuple[int, bytes, bytes],
) -> None:
    """Check that nothing is left of a forgotten turn."""
    when_ms, turn, operation = forgotten
    _law(len(operation) == len(keys.operation_hash("")), f"no operation has the hash {operation.hex()[:80]}")
    left = forgetting.redacted(interaction, turn=turn, operation=operation, now_ms=when_ms)
    _law(left == interaction, f"turn {interaction.position} of {tenant}/{name} was forgotten, and is there")
    said = next(txn.scan(keys.feedback_on(tenant, name, interaction.position), limit=1), None)
    _law(said is None, f"there is feedback on turn {interaction.position}, which was forgotten")


def _feedback_bytes(txn: ReadTransaction, tenant: str, name: str, head: HeadRecord) -> int:
    """Check that all feedback is on interactions that are kept; return its bytes."""
    total = 0
    for key, data in txn.scan(keys.all_feedback(tenant, name)):
        given = FeedbackRecord.unpack(data)
        _law(key == keys.feedback(tenant, name, given.position, given.operation), given.position)
        _law(head.log_start <= given.position < head.log_position, given.position)
        _law(given.rating is None or 0 <= given.rating <= 1, f"a rating of {given.rating}")
        _law(given.reward is None or math.isfinite(given.reward), f"a reward of {given.reward}")
        said = (given.thumb, given.rating, given.correction, given.reward)
        _law(any(value is not None for value in said), f"feedback on {given.position} that says nothing")
        total += len(data)
    return total


def _check_jobs(txn: ReadTransaction, tenant: str, name: str, head: HeadRecord) -> None:
    """Check that jobs are numbered without gaps, and that the open one is the newest and has its row."""
    jobs = [(key, JobRecord.unpack(data)) for key, data in txn.scan(keys.jobs(tenant, name))]
    for index, (key, job) in enumerate(jobs):
        _law(key == keys.job(tenant, name, job.number), job.number)
        _law(job.number == jobs[0][1].number + index, f"{tenant}/{name} has no job before {job.number}")
        _law(job.state in OPEN_STATES or job.state in ENDED_STATES, job.state)
        _law(job.log_range is None or 0 <= job.log_range[0] <= job.log_range[1] <= head.log_position, job)
    found = [job.number for _, job in jobs if job.state in OPEN_STATES]
    data = txn.get(keys.open_job(tenant, name))
    named = [] if data is None else [int.from_bytes(data, "big")]
    _law(found == named and found in ([], [job.number for _, job in jobs[-1:]]), (found, named))
    tasks = txn.get(keys.tasks(tenant, name))
    _law(tasks is None or bool(found), f"{tenant}/{name} has tasks that no open job learns")
    if tasks is not None:
        TasksRecord.unpack(tasks)


def _check_membership(txn: ReadTransaction, tenant: str, name: str) -> None:
    """Check that only a model that takes part has a profile, and that the profile is whole."""
    member, profile = txn.get(keys.member(tenant, name)), txn.get(keys.profile(tenant, name))
    if member is not None:
        MemberRecord.unpack(member)
    _law(profile is None or member is not None, f"{tenant}/{name} has a profile and takes no part")
    if profile is not None:
        kept = ProfileRecord.unpack(profile)
        _law(kept.choices > 1 and len(kept.log_probs) % (2 * kept.choices) == 0, kept.choices)
        _law(0 <= kept.accuracy <= 1, kept.accuracy)


def _check_snapshot(txn: ReadTransaction, tenant: str, name: str, head: HeadRecord) -> None:
    data = txn.get(keys.snapshot(tenant, name))
    _law((data is None) == (head.log_start == 0), f"{tenant}/{name} starts at {head.log_start}")
    if data is None:
        _law(head.start_chain == b"", f"{tenant}/{name} has a chain before its first interaction")
        return
    snapshot = SnapshotRecord.unpack(data)
    _law((snapshot.position, snapshot.chain) == (head.log_start, head.start_chain), snapshot.position)
    _law((snapshot.memory is None) == (snapshot.memory_version == 0), snapshot.memory_version)
    first = txn.get(keys.interaction(tenant, name, head.log_start))
    version = head.memory_version if first is None else InteractionRecord.unpack(first).memory_version
    _law(snapshot.memory_version == version, (snapshot.memory_version, version))


def _law(holds: bool, violation: object) -> None:
    """An assertion that ``python -O`` keeps: it also decides whether imported rows are accepted."""
    if not holds:
        raise AssertionError(violation)
