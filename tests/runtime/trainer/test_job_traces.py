"""A training job is a trace of its own, which is linked to those of the turns that it learned from."""

from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors import span_names as names
from populace.actors.errors import TrainingFailed
from populace.actors.host.model_host import ModelHost
from populace.actors.training import OpenJob, TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import Interaction, ModelId, operation_of, trace_of_operation, traced_operation
from populace.storage.store import Store
from populace.storage.training.sessions import SessionFiles
from populace.storage.uploads.upload_files import UploadFiles
from populace.telemetry.calls import Caller, serving
from populace.telemetry.file_search import FileSearch
from populace.telemetry.log_setup import digest_of, log_setup, request_id_of_job
from populace.telemetry.options import TraceOptions
from populace.telemetry.request_trace import trace_of_request
from populace.telemetry.trace_files import spans_of_request
from populace.telemetry.tracing.provider import start_traces
from populace.telemetry.tracing.setup import tracing_setup
from populace.telemetry.tracing.spans import LINKS_MAX, TRACER
from populace.trainer.job_traces import GONE, INTERRUPTED, JobTraces, phase_of_job, record_training
from populace.trainer.loading import LoadedTrainer
from populace.trainer.loop import TrainingLoop
from tests.actors.fakes import FakeClock
from tests.runtime.telemetry.recorded import recording, told, tree
from tests.runtime.telemetry.written import options

ADA = ModelId("acme", "ada")
TURN = Interaction(ADA, 0, "auto-1", "c", (), "", "stop", 1, 1, "base", "b" * 64, 0, 0)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def job_of(number: int) -> TrainingJob:
    return TrainingJob(ADA, number, TrainingOptions(), "running", "", 0)


def training_loop(host: ModelHost, path: Path) -> TrainingLoop:
    """Return a loop that works on the host's jobs as far as it can without a base."""

    def load() -> LoadedTrainer:
        raise AssertionError("no job comes so far that it needs the base")

    store = path / "store"
    return TrainingLoop(
        host,
        host.jobs,
        load=load,
        revisions=Store.adapters(store),
        sessions=SessionFiles.of_store(store),
        uploads=UploadFiles.of_store(store),
    )


def test_an_operation_without_a_key_carries_its_trace() -> None:
    own, keyed = operation_of(None), operation_of("auto-key")

    assert trace_of_operation(traced_operation(own, TRACE)) == TRACE
    assert traced_operation(own, TRACE).startswith(own)
    assert traced_operation(keyed, TRACE) == keyed
    assert [trace_of_operation(operation) for operation in (own, keyed, "auto-1", "fold-1")] == [None] * 4


def test_a_job_is_one_span_from_its_first_work_to_its_end() -> None:
    traces, job = JobTraces(), job_of(3)

    with recording() as spans:
        for part in ("prepare", "settle"):
            with serving(Caller("job-hash-3")), traces.of(job).current(), TRACER.span(part):
                pass
        traces.end(ADA, 3, "promoted")
        traces.end(ADA, 3, "failed", TrainingFailed("ada", "it ended before"))
        found = spans()

    assert tree(found) == [names.TRAIN, "  prepare", "  settle"]
    [root] = [span for span in found if span.name == names.TRAIN]
    assert told(root)[names.JOB_STATE] == "promoted"
    assert told(root)[names.REQUEST_ID] == "job-hash-3"
    assert "ada" not in str(told(root)[names.MODEL])


async def test_a_job_that_was_cancelled_since_it_was_listed_ends_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create_or_open(tmp_path / "store", 1)
    host = ModelHost("host-0", store, range(1), base="f" * 64, clock=FakeClock())
    await host.create_model(ADA)
    await host.jobs.ask(ADA, TrainingOptions())
    listed = await host.jobs.open_jobs()
    await host.jobs.cancel(ADA)

    async def still_listed(*, whole: bool = False) -> tuple[OpenJob, ...]:
        return listed

    monkeypatch.setattr(host.jobs, "open_jobs", still_listed)

    end_log = log_setup(options(tmp_path / "logs"), "trainer")
    with recording() as spans:
        await training_loop(host, tmp_path).round()
        found = spans()
    named = {names.REQUEST_ID: request_id_of_job(ADA, 0), names.TENANT: digest_of(ADA.tenant)}
    end_log()
    host.close()

    [root] = [span for span in found if span.name == names.TRAIN]
    assert told(root)[names.JOB_STATE] == GONE
    assert told(root).items() >= named.items()


def test_a_trainer_that_ends_ends_the_traces_of_its_jobs() -> None:
    traces = JobTraces()

    with recording() as spans:
        for number in range(2):
            traces.of(job_of(number))
        traces.close()
        traces.close()
        found = spans()

    assert [told(span)[names.JOB_STATE] for span in found] == [INTERRUPTED] * 2


def test_the_phases_of_a_running_job_are_found_by_its_id(tmp_path: Path) -> None:
    traces, job = JobTraces(), job_of(3)
    stopped = TrainingFailed("ada", "it was stopped")
    target = TraceOptions("file", str(tmp_path))
    end = tracing_setup(start_traces(options(tmp_path / "logs"), target, "trainer", 0))
    with serving(Caller("job-hash-3", tenant="hash")), traces.of(job).current():
        TRACER.record(names.TRAIN_PREPARE, 0.0, 1.0, phase_of_job())
        record_training(1.0, 2.0, stopped)
    end()

    found = spans_of_request(tmp_path, "job-hash-3")
    phases = [span for span in found if span.name != names.TRAIN]

    # The job's own span is exported at its end, and a killed trainer's never.
    assert [span.name for span in phases] == [names.TRAIN_PREPARE, names.TRAIN_STEPS]
    assert len({span.parent_id for span in phases}) == 1
    assert {(span.attributes[names.REQUEST_ID], span.attributes[names.TENANT]) for span in found} == {
        ("job-hash-3", "hash")
    }
    shown = trace_of_request(FileSearch(tmp_path), "job-hash-3", "hash")
    assert [span.name for span in shown] == [span.name for span in found]
    assert trace_of_request(FileSearch(tmp_path), "job-hash-3", "another") == ()


def test_of_many_turns_the_newest_are_linked() -> None:
    traces, count = JobTraces(), LINKS_MAX + 10
    operations = [
        traced_operation("auto-1", f"00-{'a' * 32}-{number + 1:016x}-01") for number in range(count)
    ]
    turns = [replace(TURN, position=number, operation=operations[number]) for number in range(count)]

    with recording() as spans:
        traces.note_turns(job_of(0), turns)
        traces.end(ADA, 0, "promoted")
        [found] = spans()

    assert told(found)[names.TURNS] == count
    assert [link.context.span_id for link in found.links] == list(range(count, 10, -1))


def test_a_job_that_failed_or_is_gone_says_so() -> None:
    traces = JobTraces()

    with recording() as spans:
        for number in range(3):
            traces.of(job_of(number))
        traces.end(ADA, 0, "failed", TrainingFailed("ada", "marked words"))
        traces.end_others({(ADA, 2)})
        found = spans()

    ended = {told(span)[names.JOB]: told(span) for span in found}
    assert ended[0][names.ERROR_TYPE] == TrainingFailed.code
    assert (ended[1][names.JOB_STATE], ended[1].get(names.ERROR_TYPE)) == (GONE, None)
    assert names.JOB_STATE not in ended[2], "it is still open"
    assert "marked" not in "".join(str(span.to_json()) for span in found)
