"""A training job is a trace of its own, which is linked to those of the turns that it learned from."""

from dataclasses import replace

from populace.actors import span_names as names
from populace.actors.errors import TrainingFailed
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import Interaction, ModelId, operation_of, trace_of_operation, traced_operation
from populace.telemetry.calls import Caller, serving
from populace.telemetry.tracing.spans import LINKS_MAX, TRACER
from populace.trainer.job_traces import GONE, JobTraces
from tests.runtime.telemetry.recorded import recording, told, tree

ADA = ModelId("acme", "ada")
TURN = Interaction(ADA, 0, "auto-1", "c", (), "", "stop", 1, 1, "base", "b" * 64, 0, 0)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def job_of(number: int) -> TrainingJob:
    return TrainingJob(ADA, number, TrainingOptions(), "running", "", 0)


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
    assert sorted(ended) == [0, 1]
    assert ended[0][names.ERROR_TYPE] == TrainingFailed.code
    assert (ended[1][names.JOB_STATE], ended[1].get(names.ERROR_TYPE)) == (GONE, None)
    assert "marked" not in "".join(str(span.to_json()) for span in found)
