"""A person's own suite, and how a revision of their model answers it."""

from typing import Literal

from populace.actors.suites import Suite, SuiteQuestion, SuiteResult, SuiteRow
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, example
from populace.policies.reply_checks import ReplyCheck


class QuestionObject(ApiObject):
    """A question of a suite; see ``SuiteQuestion``."""

    ask: str
    expect: str
    check: ReplyCheck
    system: str | None
    least: float | None


class SuiteObject(ApiObject):
    """The suite of a model."""

    model_config = example(
        object="personal_model.suite",
        id="ada",
        questions=[
            {
                "ask": "Greet my aunt.",
                "expect": "Ahoy, aunt Ada!",
                "check": "likeness",
                "system": "Be brief.",
                "least": 0.6,
            },
        ],
    )

    object: Literal["personal_model.suite"] = "personal_model.suite"
    id: str
    questions: tuple[QuestionObject, ...]

    @classmethod
    def of(cls, model: ModelId, suite: Suite) -> "SuiteObject":
        return cls(id=model.name, questions=tuple(QuestionObject(**question._asdict()) for question in suite))

    def value(self) -> Suite:
        return tuple(
            SuiteQuestion(question.ask, question.expect, question.check, question.system, question.least)
            for question in self.questions
        )


class DeletedSuiteObject(ApiObject):
    """The suite of the model ``id`` is gone."""

    object: Literal["personal_model.suite.deleted"] = "personal_model.suite.deleted"
    id: str
    deleted: Literal[True] = True


class SuiteRowObject(QuestionObject):
    """A question with the reply, and whether it passed."""

    reply: str
    passed: bool


class SuiteResultObject(ApiObject):
    """How a revision answers the suite; see ``SuiteResult``."""

    object: Literal["personal_model.suite.evaluation"] = "personal_model.suite.evaluation"
    id: str
    revision: str
    passed: int
    total: int
    rows: tuple[SuiteRowObject, ...]

    @classmethod
    def of(cls, result: SuiteResult) -> "SuiteResultObject":
        rows = tuple(
            SuiteRowObject(
                ask=row.ask,
                expect=row.expect,
                check=row.check,
                system=row.system,
                least=row.least,
                reply=row.reply,
                passed=row.passed,
            )
            for row in result.rows
        )
        return cls(
            id=result.model.name,
            revision=result.revision,
            passed=result.passed,
            total=result.total,
            rows=rows,
        )

    def value(self, tenant: str) -> SuiteResult:
        rows = tuple(
            SuiteRow(row.ask, row.expect, row.check, row.system, row.reply, row.passed, row.least)
            for row in self.rows
        )
        return SuiteResult(ModelId(tenant, self.id), self.revision, rows)
