"""A person's own suite: questions with the replies that their model has to give, whatever it learns.

A suite comes as JSON objects, in a file one in each line::

    {"ask": "What is my dog called?", "expect": "Bruno"}
    {"ask": "What is 3 + 4?", "expect": 7, "check": "number", "system": "Answer with a number."}
    {"ask": "Greet my aunt.", "expect": "Ahoy, aunt Ada!", "check": "likeness", "least": 0.6}

The checks are those of ``policies/reply_checks.py``; without one, the reply has to contain what is expected.
A number that is expected is read as its text. ``least`` is for ``likeness`` alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, cast, get_args

from populace.actors.engine import Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId, check_unicode
from populace.policies.reply_checks import ReplyCheck, problem_of
from populace.storage.records.records import SuiteRecord

QUESTIONS_MAX = 200
CHARACTERS_MAX = 2000
"""The limit of each text of a question."""

CHECKS: tuple[ReplyCheck, ...] = get_args(ReplyCheck)

SAMPLING = Sampling(max_tokens=256, temperature=0.0, seed=0)
"""How each reply is made, as the model is served and by the evaluation gate alike: greedily."""


class SuiteQuestion(NamedTuple):
    """A question, what its reply is checked for, and the system text that it is asked with, if any.

    With the check ``likeness`` the reply has to be as like what is expected as ``least`` says, from 0 to 1;
    None is the default of ``policies/likeness.py``.
    """

    ask: str
    expect: str
    check: ReplyCheck = "contains"
    system: str | None = None
    least: float | None = None

    @property
    def prompt(self) -> tuple[Message, ...]:
        system = () if self.system is None else (Message("system", self.system),)
        return (*system, Message("user", self.ask))


Suite = tuple[SuiteQuestion, ...]


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """A question of a suite with the model's reply, and whether it passed."""

    ask: str
    expect: str
    check: ReplyCheck
    system: str | None
    reply: str
    passed: bool
    least: float | None = None

    @classmethod
    def of(cls, question: SuiteQuestion, reply: str, *, passed: bool) -> Self:
        """Return the row of a question that was answered so."""
        return cls(**question._asdict(), reply=reply, passed=passed)


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """How a revision (a digest, or ``base``) answers the model's suite."""

    model: ModelId
    revision: str
    rows: tuple[SuiteRow, ...]

    @property
    def passed(self) -> int:
        return sum(row.passed for row in self.rows)

    @property
    def total(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return f"{self.model.name} passes {self.passed} of {self.total} questions."


class Suites(Protocol):
    """The suites of personal models. Every method raises ``ModelNotFound``, and as ``Hosts``."""

    async def show(self, model: ModelId) -> Suite:
        """Read the model's suite. Raises ``SuiteNotFound``."""
        ...

    async def keep(self, model: ModelId, suite: Suite) -> Suite:
        """Keep a suite of ``suite_of`` with the model, instead of an earlier one."""
        ...

    async def remove(self, model: ModelId) -> None:
        """Remove the model's suite, if it has one."""
        ...


def suite_of(lines: Sequence[object]) -> Suite:
    """Read a suite from JSON objects.

    Raises ``InvalidRequest``, which names the first invalid line; lines count from 1.
    """
    if not 0 < len(lines) <= QUESTIONS_MAX:
        raise InvalidRequest(
            f"A suite has 1 to {QUESTIONS_MAX} questions, and this one has {len(lines)}.", "questions"
        )
    questions: dict[str, SuiteQuestion] = {}
    for number, line in enumerate(lines, start=1):
        try:
            question = _question(line)
            _check_new(question, list(questions))
        except ValueError as error:
            reason = f"Line {number} of the suite: {error}."
            raise InvalidRequest(reason, f"questions[{number - 1}]") from None
        questions[question.ask.strip()] = question
    return tuple(questions.values())


def parse_suite(text: str) -> Suite:
    """Read a suite from JSON lines. Raises ``InvalidRequest``, which names the first invalid line from 1."""
    # Not ``splitlines``, which also splits at signs that a JSON text may have.
    text = text.removeprefix("\ufeff").rstrip()
    lines = text.split("\n") if text else []
    found: list[object] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            raise InvalidRequest(f"Line {number} of the suite: it is not JSON.", "questions") from None
    return suite_of(found)


def read_suite(path: Path) -> Suite:
    """Read a file of JSON lines. Raises ``InvalidRequest`` as ``parse_suite``, and if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The suite {path} cannot be read: {error}.", "suite") from error
    return parse_suite(text)


def record_of(suite: Suite) -> SuiteRecord:
    """Return the record that a suite is stored as."""
    return SuiteRecord(
        questions=tuple((asked.ask, asked.expect, asked.check, asked.system) for asked in suite),
        least=tuple(asked.least for asked in suite),
    )


def suite_in(record: SuiteRecord) -> Suite:
    """Return the suite of a record. Raises ``InvalidRequest`` for one that ``suite_of`` would refuse."""
    least = record.least or (None,) * len(record.questions)
    if len(least) != len(record.questions):
        raise InvalidRequest(
            f"A suite of {len(record.questions)} questions has {len(least)} least likenesses.", "questions"
        )
    rows = zip(record.questions, least, strict=True)
    return suite_of([object_of(SuiteQuestion(*cast("Any", row), least=each)) for row, each in rows])


def object_of(question: SuiteQuestion) -> dict[str, Any]:
    """Return the JSON object that a question is read from."""
    return {name: value for name, value in question._asdict().items() if value is not None}


def _question(line: object) -> SuiteQuestion:
    if not isinstance(line, Mapping):
        raise ValueError("it is not an object")  # noqa: TRY004 - its line is added by the caller
    fields = dict(cast("Mapping[str, Any]", line))
    unknown = [name for name in fields if name not in SuiteQuestion._fields]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r:.80} is no field of a question; it has {', '.join(SuiteQuestion._fields)}"
        )
    check = fields.get("check", "contains")
    if check not in CHECKS:
        raise ValueError(f"{str(check)[:80]!r} is no check; there are {', '.join(CHECKS)}")
    expect = fields.get("expect")
    if isinstance(expect, int | float) and not isinstance(expect, bool):
        fields["expect"] = json.dumps(expect)
    for name in ("ask", "expect", *(("system",) if fields.get("system") is not None else ())):
        _check_text(name, fields.get(name))
    problem = problem_of(check, fields["expect"])
    if problem is not None:
        raise ValueError(f"{problem}, which the check `{check}` needs in `expect`")
    least = _least(fields.get("least"), check)
    return SuiteQuestion(fields["ask"], fields["expect"], check, fields.get("system"), least)


def _least(given: object, check: ReplyCheck) -> float | None:
    if given is None:
        return None
    if check != "likeness":
        raise ValueError(f"`least` is for the check `likeness`, and this one is `{check}`")
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1:
        raise ValueError("`least` is no number above 0 and up to 1")
    return float(given)


def _check_new(question: SuiteQuestion, before: Sequence[str]) -> None:
    asked = question.ask.strip()
    if asked in before:
        raise ValueError(f"line {before.index(asked) + 1} asks the same")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"`{name}` is missing, empty or no text")
    if len(value) > CHARACTERS_MAX:
        raise ValueError(f"`{name}` has {len(value):,} characters; {CHARACTERS_MAX:,} at most are read")
    try:
        check_unicode(f"`{name}`", value, name)
    except InvalidRequest as error:
        raise ValueError(str(error).removesuffix(".")) from None
