"""One training of a model is open at a time, and what came of it is recorded with what it learned from."""

from collections.abc import Mapping
from typing import Any

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import ModelNotFound, OperationConflict, RevisionNotFound
from populace.storage.records.records import (
    FeedbackRecord,
    JobRecord,
    RevisionRecord,
    TasksRecord,
)
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import feedback, jobs, kept_trainings, ledger
from populace.storage.shards.shard import Shard
from populace.storage.training.errors import JobEnded, JobNotFound, TrainingUnderWay
from populace.storage.training.sessions import new_session_key
from tests.storage.portable_models import run
from tests.storage.samples import TENANT, commit, create_model, digest, identity, revision

TURNS = 6
STARTED_MS = 50
KEY = new_session_key()


@pytest.fixture
def ada(shard: Shard) -> Shard:
    """A model of six turns, which serves an imported adapter."""
    run(shard, lambda txn: create_model(txn, identity(), revision("first").model_copy(update=IMPORTED)))
    for position in range(TURNS):
        run(shard, lambda txn, at=position: commit(txn, at, f"op-{at}"))
    return shard


IMPORTED = {"log_range": None, "method": "import"}


def asked(operation: str = "train-1", body: bytes = b"body") -> JobRecord:
    return JobRecord(
        number=0, operation=operation, body_hash=body, options="{}", created_ms=7, session_key=KEY
    )


def ask(
    shard: Shard,
    operation: str = "train-1",
    body: bytes = b"body",
    name: str = "ada",
    tasks: TasksRecord | None = None,
) -> JobRecord:
    return run(shard, lambda txn: jobs.ask_for_job(txn, TENANT, name, asked(operation, body), tasks))


def change(shard: Shard, job: JobRecord, **changes: Any) -> JobRecord:
    return run(shard, lambda txn: jobs.change_job(txn, TENANT, "ada", job.model_copy(update=changes)))


def started(shard: Shard, operation: str = "train-1", **changes: Any) -> JobRecord:
    fixed: dict[str, Any] = {"log_range": (0, 4), "parent": digest("first"), "started_ms": STARTED_MS}
    fixed["feedback_until_ms"] = STARTED_MS
    return change(shard, ask(shard, operation), state="running", **{**fixed, **changes})


def candidate(job: JobRecord, seed: str = "second") -> RevisionRecord:
    lineage = {"method": "sft", "parent": job.parent, "log_range": job.log_range}
    return revision(seed, created_ms=STARTED_MS).model_copy(update=lineage)


def record(shard: Shard, job: JobRecord, state: str, seed: str = "second") -> JobRecord:
    ended = job.model_copy(update={"state": state, "candidate": digest(seed)})
    return run(shard, lambda txn: jobs.record_candidate(txn, TENANT, "ada", ended, candidate(job, seed)))


def promote(shard: Shard, job: JobRecord) -> ledger.StoredModel:
    ended = job.model_copy(update={"state": "promoted"})
    return run(shard, lambda txn: jobs.promote_candidate(txn, TENANT, "ada", ended))


def say(shard: Shard, position: int, created_ms: int) -> None:
    given = FeedbackRecord(
        position=position, operation=f"{created_ms}", body_hash=b"", created_ms=created_ms, thumb=True
    )
    run(shard, lambda txn: feedback.give_feedback(txn, TENANT, "ada", given))


def model(shard: Shard) -> ledger.StoredModel:
    with shard.read() as txn:
        found = ledger.read_model(txn, TENANT, "ada")
    assert found is not None
    return found


def open_jobs(shard: Shard) -> list[tuple[str, int]]:
    with shard.read() as txn:
        return [(name, job.number) for _, name, job in jobs.walk_open_jobs(txn)]


def with_unsettled(shard: Shard) -> list[str]:
    with shard.read() as txn:
        return [name for _, _, name in jobs.walk_unsettled(txn)]


def test_a_job_waits_until_it_ends_and_is_found_while_it_is_open(ada: Shard) -> None:
    job = ask(ada)
    assert (job.number, job.state) == (0, "waiting")
    assert open_jobs(ada) == [("ada", 0)]

    running = change(ada, job, state="running", started_ms=STARTED_MS)
    change(ada, running, state="failed", reason="nobody knows")

    assert open_jobs(ada) == []
    with ada.read() as txn:
        [kept] = jobs.walk_jobs(txn, TENANT, "ada")
    assert (kept.state, kept.reason) == ("failed", "nobody knows")
    ada.check_integrity()


def test_a_retry_asks_for_one_job_and_another_request_is_told_which_is_under_way(ada: Shard) -> None:
    job = ask(ada)

    assert ask(ada) == job
    with pytest.raises(TrainingUnderWay) as refusal:
        ask(ada, "train-2")
    assert refusal.value.number == job.number
    with pytest.raises(OperationConflict):
        ask(ada, "train-1", b"something else")

    change(ada, job, state="cancelled")
    assert ask(ada).state == "cancelled", "a retry of what is over does not train again"
    assert ask(ada, "train-2").number == 1
    ada.check_integrity()


@pytest.mark.parametrize("state", sorted(jobs.ENDED_STATES - {"promoted", "rejected"}))
def test_a_job_that_is_over_stays_as_it_ended(ada: Shard, state: str) -> None:
    job = started(ada)
    change(ada, job, state=state)

    with pytest.raises(JobEnded) as refusal:
        change(ada, job, step=5)
    assert refusal.value.state == state
    with pytest.raises(JobEnded):
        record(ada, job, "promoting")
    assert model(ada).head.cursor == 0
    with pytest.raises(JobNotFound):
        change(ada, job.model_copy(update={"number": 9}))


def test_the_cursor_moves_with_the_candidate_and_the_alias_when_it_is_ready(ada: Shard) -> None:
    job = record(ada, started(ada), "promoting")

    between = model(ada)
    assert between.head.cursor == 4
    assert between.aliases == {"latest": digest("first")}
    assert open_jobs(ada) == [("ada", 0)], "whoever finds it after a crash goes on promoting it"

    assert promote(ada, job).aliases == {"latest": digest("second")}
    assert open_jobs(ada) == []
    ada.check_integrity()


def test_a_candidate_that_cannot_be_promoted_gives_the_cursor_back(ada: Shard) -> None:
    promote(ada, record(ada, started(ada), "promoting"))
    job = record(ada, started(ada, "train-2", parent=digest("second"), log_range=(0, 6)), "promoting", "3rd")
    assert model(ada).head.cursor == 6

    change(ada, job, state="failed", reason="no engine takes it")

    assert model(ada).head.cursor == 4
    assert model(ada).aliases == {"latest": digest("second")}
    ada.check_integrity()


def test_a_rejected_candidate_is_kept_and_moves_nothing(ada: Shard) -> None:
    before = model(ada)

    record(ada, started(ada), "rejected")

    assert model(ada) == before
    with ada.read() as txn:
        kept = ledger.read_revision(txn, TENANT, "ada", digest("second"))
    assert not kept.ready
    assert open_jobs(ada) == []
    ada.check_integrity()


def test_a_rollback_gives_the_alias_and_the_cursor_back(ada: Shard) -> None:
    promote(ada, record(ada, started(ada), "promoting"))
    later = started(ada, "train-2", parent=digest("second"), log_range=(0, 6))
    promote(ada, record(ada, later, "promoting", "third"))

    for expected, cursor in (("second", 4), ("first", 0)):
        newest = model(ada).aliases["latest"]
        run(ada, lambda txn, digest=newest: jobs.roll_back(txn, TENANT, "ada", digest))
        assert model(ada).aliases == {"latest": digest(expected)}
        assert model(ada).head.cursor == cursor
    run(ada, lambda txn: jobs.roll_back(txn, TENANT, "ada", digest("first")))
    assert model(ada).aliases == {}, "the base was before the first"
    ada.check_integrity()


def test_a_rollback_of_what_is_not_served_any_more_changes_nothing(ada: Shard) -> None:
    promote(ada, record(ada, started(ada), "promoting"))
    before = model(ada)

    run(ada, lambda txn: jobs.roll_back(txn, TENANT, "ada", digest("first")))

    assert model(ada) == before


def test_a_rollback_to_a_parent_that_the_model_does_not_have_is_refused(ada: Shard) -> None:
    promote(ada, record(ada, started(ada, parent=digest("elsewhere")), "promoting"))
    before = model(ada)

    with pytest.raises(RevisionNotFound):
        run(ada, lambda txn: jobs.roll_back(txn, TENANT, "ada", digest("second")))

    assert model(ada) == before


@pytest.mark.parametrize(("said_ms", "unsettled"), [(STARTED_MS - 1, []), (STARTED_MS, ["ada"])])
def test_feedback_is_news_until_a_training_that_began_after_it_is_promoted(
    ada: Shard, said_ms: int, unsettled: list[str]
) -> None:
    assert with_unsettled(ada) == []
    say(ada, 2, said_ms)
    assert with_unsettled(ada) == ["ada"]

    record(ada, started(ada), "promoting")

    assert with_unsettled(ada) == unsettled
    ada.check_integrity()


def test_every_sixteenth_turn_is_news(ada: Shard) -> None:
    for position in range(jobs.TURNS_A_LOOK - 1):
        run(ada, lambda txn, at=position: jobs.note_turn(txn, TENANT, "ada", at))
    assert with_unsettled(ada) == []

    run(ada, lambda txn: jobs.note_turn(txn, TENANT, "ada", 2 * jobs.TURNS_A_LOOK - 1))

    assert with_unsettled(ada) == ["ada"]


def test_what_is_rejected_stays_news_until_somebody_settles_it(ada: Shard) -> None:
    say(ada, 2, 1)
    record(ada, started(ada), "rejected")
    assert with_unsettled(ada) == ["ada"]

    run(ada, lambda txn: jobs.settle_feedback(txn, TENANT, "ada"))

    assert with_unsettled(ada) == []


def test_as_many_jobs_are_kept_as_somebody_may_want_to_look_at(ada: Shard) -> None:
    for number in range(jobs.JOBS_KEPT + 3):
        change(ada, ask(ada, f"train-{number}"), state="skipped")

    with ada.read() as txn:
        numbers = [job.number for job in jobs.walk_jobs(txn, TENANT, "ada")]
        assert numbers == list(range(3, jobs.JOBS_KEPT + 3))
        assert [name for name, _ in jobs.walk_jobs_of_tenant(txn, TENANT)] == ["ada"] * jobs.JOBS_KEPT
        assert list(jobs.walk_jobs_of_tenant(txn, "somebody")) == []
    ada.check_integrity()


def test_an_erased_model_leaves_no_job_and_no_news(ada: Shard) -> None:
    say(ada, 2, 1)
    started(ada)

    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))

    assert open_jobs(ada) == []
    assert with_unsettled(ada) == []
    ada.check_integrity()
    with pytest.raises(ModelNotFound):
        ask(ada)


TASKS = TasksRecord(tasks='[{"prompt": "What is 3 + 4?", "answer": 7}]')


@pytest.mark.parametrize("end", ["skipped", "promoted", "erased"])
def test_tasks_are_kept_for_as_long_as_their_job_is_open(ada: Shard, end: str) -> None:
    job = ask(ada, tasks=TASKS)
    with ada.read() as txn:
        assert jobs.read_tasks(txn, TENANT, "ada", job.number) == TASKS
    ada.check_integrity()

    if end == "erased":
        run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=99))
    elif end == "skipped":
        change(ada, job, state="skipped")
    else:
        fixed = {"state": "running", "log_range": (0, 0), "parent": digest("first")}
        promote(ada, record(ada, change(ada, job, **fixed, feedback_until_ms=0), "promoting"))

    ada.check_integrity()
    with ada.read() as txn:
        assert txn.get(keys.tasks(TENANT, "ada")) is None
        with pytest.raises(JobNotFound if end == "erased" else JobEnded):
            jobs.read_tasks(txn, TENANT, "ada", job.number)


def test_a_job_that_has_no_tasks_says_so(ada: Shard) -> None:
    job = ask(ada)

    with ada.read() as txn, pytest.raises(JobNotFound):
        jobs.read_tasks(txn, TENANT, "ada", job.number)


@pytest.mark.parametrize("broken", ["gap", "forgotten", "named twice", "tasks of nobody"])
def test_jobs_that_contradict_each_other_are_noticed(ada: Shard, broken: str) -> None:
    change(ada, ask(ada), state="skipped")
    job = started(ada, "train-2")

    misplaced = job.model_copy(update={"number": 7}).pack()
    rows: dict[bytes, bytes | None] = {keys.job(TENANT, "ada", 7): misplaced}
    if broken == "forgotten":
        rows = {keys.open_job(TENANT, "ada"): None}
    elif broken == "named twice":
        rows = {keys.open_job(TENANT, "ada"): (0).to_bytes(8, "big")}
    elif broken == "tasks of nobody":
        change(ada, job, state="skipped")
        rows = {keys.tasks(TENANT, "ada"): TASKS.pack()}
    with ada.read() as txn:
        sound = {key: txn.get(key) for key in rows}

    run(ada, lambda txn: put(txn, rows))
    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: put(txn, sound))
    ada.check_integrity()


def put(txn: WriteTransaction, rows: Mapping[bytes, bytes | None]) -> None:
    for key, value in rows.items():
        txn.delete(key) if value is None else txn.put(key, value)


def kept(shard: Shard) -> list[kept_trainings.KeptRow]:
    with shard.read() as txn:
        return list(kept_trainings.walk_kept(txn))


def test_the_key_of_a_session_goes_to_the_revision_that_is_promoted_and_else_to_nobody(ada: Shard) -> None:
    job = record(ada, started(ada), "promoting")
    assert kept(ada) == []

    promote(ada, job)

    assert kept(ada) == [kept_trainings.KeptRow(TENANT, "ada", digest("second"), KEY)]
    rejected = started(ada, "train-2", parent=digest("second"))
    record(ada, rejected, "rejected", "third")
    assert [row.digest for row in kept(ada)] == [digest("second")]
    with ada.read() as txn:
        assert [one.session_key for one in jobs.walk_jobs(txn, TENANT, "ada")] == [b"", b""]
    ada.check_integrity()


def test_a_kept_training_is_let_go_unless_it_was_kept_anew(ada: Shard) -> None:
    promote(ada, record(ada, started(ada), "promoting"))
    other = new_session_key()
    run(ada, lambda txn: kept_trainings.put_kept(txn, TENANT, "ada", digest("second"), other))

    run(ada, lambda txn: kept_trainings.let_go(txn, TENANT, "ada", digest("second"), KEY))
    assert [row.key for row in kept(ada)] == [other]
    run(ada, lambda txn: kept_trainings.let_go(txn, TENANT, "ada", digest("second"), other))
    assert kept(ada) == []


def test_a_training_that_is_kept_for_no_revision_is_damage(ada: Shard) -> None:
    run(ada, lambda txn: kept_trainings.put_kept(txn, TENANT, "ada", digest("nobody's"), KEY))

    with pytest.raises(AssertionError, match="is kept and no revision"):
        ada.check_integrity()
    run(ada, lambda txn: kept_trainings.drop_kept(txn, TENANT, "ada", digest("nobody's")))
