"""What comes over the wire is what was sent, but for the parts of a second."""

import numpy as np

from populace.actors.aggregation.ensemble import Measures, MemberVote, PopulationAnswer
from populace.actors.aggregation.report import population_report
from populace.actors.engine import Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.forgetting import Forgotten
from populace.actors.hosts import Lineage, ModelView, Revision
from populace.actors.known import Known, KnownFact
from populace.actors.memories import MemoryView, MemoryWrite
from populace.actors.memory import MemoryTrace
from populace.actors.request_log import LogLine, RequestLog, RequestSpan
from populace.actors.suites import SuiteQuestion, SuiteResult, SuiteRow
from populace.actors.training import JobProgress, TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import Interaction, ModelId
from populace.api.memory import KnownObject, MemoryObject
from populace.api.models import ModelObject, RevisionObject
from populace.api.objects import Page
from populace.api.population import AnswerObject, ReportObject
from populace.api.request_log import RequestLogObject
from populace.api.suites import SuiteObject, SuiteResultObject
from populace.api.training import JobObject
from populace.api.turns import FeedbackObject, ForgottenObject, InteractionObject
from populace.policies.diversity.probes import LABELS
from tests.actors.aggregation.test_report import member

ADA = ModelId("acme", "ada")

TURN = Interaction(
    model=ADA,
    position=3,
    operation="key-once",
    completion_id="chatcmpl-1",
    messages=(Message("user", "Where do I live? \u2028"),),
    reply="In Ghent.",
    finish_reason="stop",
    prompt_tokens=9,
    completion_tokens=4,
    revision="base",
    base="b" * 64,
    memory_version=2,
    created_ms=1_700_000_000_000,
    conversation="main",
    memory=MemoryTrace(True, 1),
    retrieved=(1, 2),
)
LINEAGE = Lineage(
    (0, 4), 5000, "d", {"rank": 2, "reward": None}, {"torch": "2"}, None, {"loss": 0.5}, (), 7, 1.5
)
REVISION = Revision("r" * 64, "b" * 64, "sft", None, 4, 1024, 9000, "ready", LINEAGE, (("s", 0.5),))
MODEL = ModelView(ADA, "b" * 64, 1000, 0, 4, 4, 2, {"canary": "r" * 64}, True, True, "e" * 64)


def test_a_model_and_its_revisions() -> None:
    assert ModelObject.model_validate_json(ModelObject.of(MODEL).model_dump_json()).value("acme") == MODEL
    told = RevisionObject.model_validate_json(RevisionObject.of(REVISION).model_dump_json())
    assert told.value() == REVISION


def test_a_turn() -> None:
    told = InteractionObject.model_validate_json(InteractionObject.of(TURN).model_dump_json())
    assert told.value(ADA) == TURN


def test_feedback_and_what_was_forgotten() -> None:
    given = Feedback(ADA, 3, Opinion(thumb=False, correction="In Bruges."), 4000)
    assert (
        FeedbackObject.model_validate_json(FeedbackObject.of(given).model_dump_json()).value("acme") == given
    )
    forgotten = Forgotten(
        ADA, (1,), (2,), (3,), (4,), ("r",), (5,), (("latest", None),), "folded", 6, (TURN,), (TURN,)
    )
    sent = ForgottenObject.of(forgotten).model_dump_json()
    assert ForgottenObject.model_validate_json(sent).value("acme") == forgotten


def test_a_memory_with_its_state_and_what_it_knows() -> None:
    view = MemoryView(ADA, 2, b"state \xff", (MemoryWrite(0, 3000, 1, 5),))
    sent = MemoryObject.of(view, module="m", served_module="m", size=7, norms=(1.0,), with_state=True)
    assert MemoryObject.model_validate_json(sent.model_dump_json()).value("acme") == view
    fact = KnownFact("Where?", "In Ghent.", 0.25, 3, "I live in Ghent.")
    known = Known(ADA, (fact,), ("Who?",), position=4, refreshing=True, sure_min=0.2)
    assert KnownObject.model_validate_json(KnownObject.of(known).model_dump_json()).value("acme") == known


def test_a_suite_and_how_it_was_answered() -> None:
    suite = (SuiteQuestion("Who?", "Bruno"), SuiteQuestion("Greet!", "Ahoy!", "likeness", "Be brief.", 0.6))
    assert SuiteObject.model_validate_json(SuiteObject.of(ADA, suite).model_dump_json()).value() == suite
    rows = (SuiteRow.of(suite[0], "Rex.", passed=False), SuiteRow.of(suite[1], "Ahoy.", passed=True))
    result = SuiteResult(ADA, "base", rows)
    sent = SuiteResultObject.of(result).model_dump_json()
    assert SuiteResultObject.model_validate_json(sent).value("acme") == result
    assert str(result) == "ada passes 1 of 2 questions."


def test_a_job() -> None:
    options = TrainingOptions(rank=2)
    progress = JobProgress(2, 4, 1.5, 100, 1.5, ((1, 2.5), (2, 1.5)), plan="learns 4 wanted replies")
    job = TrainingJob(ADA, 0, options, "running", "", 1000, 2000, None, (0, 4), progress=progress)
    assert JobObject.model_validate_json(JobObject.of(job).model_dump_json()).value("acme") == job


def test_an_answer_of_the_population() -> None:
    vote = MemberVote("ada", "base", "voted", None, 1.0, "", 0.5)
    answer = PopulationAnswer(
        "Rome", "", False, {"Rome": 0.75, None: 0.25}, (vote,), Measures(3, 1, 0, 0), 9, 4
    )
    assert AnswerObject.model_validate_json(AnswerObject.of(answer).model_dump_json()).value() == answer


def test_a_page_says_whether_there_is_more_and_a_newer_servers_fields_are_ignored() -> None:
    page = Page[ModelObject](data=(ModelObject.of(MODEL),), after="ada")
    sent = page.model_dump()
    assert sent["has_more"]
    assert Page[ModelObject].model_validate({**sent, "later": 1}) == page


def test_a_report_with_and_without_measures() -> None:
    source = np.random.default_rng(0)
    rights = [source.random(len(LABELS)) < 0.7 for _ in range(4)]
    found = [member(f"m{at}", right) for at, right in enumerate(rights)]
    for count in (0, 1, 4):
        report = population_report([*found[:count], member("new", None)])
        told = ReportObject.model_validate_json(ReportObject.of(report).model_dump_json()).value()
        # NaN, which JSON has no word for, is not equal to itself.
        assert repr(told) == repr(report)


def test_the_log_and_the_trace_of_a_request() -> None:
    line = LogLine("2026-11-29T16:00:00.250000Z", "error", "populace.a", "failed", "host", 1, "fenced", None)
    span = RequestSpan("b" * 16, None, "GET /", "gateway", 0, 0.0, 2.5, "503", {"a": 503, "b": ("c",)})
    lines = (line, line._replace(error_code=None, raised="KeyError"))
    trace = (span, span._replace(id="c" * 16, parent=span.id, error=None, attributes={"d": 0.5, "e": True}))
    found = RequestLog("req_1", lines, is_whole=False, trace=trace)
    told = RequestLogObject.model_validate_json(RequestLogObject.of(found).model_dump_json())
    assert told.value() == found
