"""Hand-written tellings, and questions about them in other words."""

from collections.abc import Sequence
from typing import NamedTuple

from scripts.bench.recall.asking import Asker, alone, side_by_side
from scripts.bench.recall.grading import denies, is_outdated, is_right
from scripts.bench.recall.held_out import Question, QuestionKind, Telling, TellingKind
from scripts.bench.recall.person import Person, Way
from scripts.bench.recall.tables import Table, share_aim, share_row

NAME = "tellings"
RECALLED_MIN = 75.0
DENIED_MAX = 3.0


class Answered(NamedTuple):
    """The grades of a reply from memory; ``base_right`` is the base's, None if it was not asked."""

    telling: TellingKind
    question: QuestionKind
    has_value: bool
    right: bool
    outdated: bool
    denied: bool
    base_right: bool | None


async def measure_tellings(asker: Asker, way: Way, tellings: Sequence[Telling]) -> list[Answered]:
    """Have a person tell each telling in one conversation, and ask each question in a new one."""
    asker.progress.begin(
        "Hand-written tellings",
        sum(len(telling.tell) + len(telling.questions) + _by_chance(telling) for telling in tellings),
    )

    async def answered(person: Person, telling: Telling, question: Question) -> Answered:
        reply = await person.ask(question.ask)
        right = is_right(question, reply.text)
        base_right: bool | None = None
        if question.kind == "used":
            base_right = is_right(question, (await asker.base(alone(question.ask))).text)
        return Answered(
            telling.kind,
            question.kind,
            bool(question.value),
            right,
            is_outdated(question, reply.text),
            denies(reply.text, right=right),
            base_right,
        )

    async def answers_of(telling: Telling) -> list[Answered]:
        person = Person(asker, way)
        await person.tell_all(telling.tell, together=True)
        return await side_by_side([answered(person, telling, question) for question in telling.questions])

    by_telling = await side_by_side([answers_of(telling) for telling in tellings])
    return [answer for answers in by_telling for answer in answers]


def tellings_table(answered: Sequence[Answered]) -> Table:
    """Return rows by kind of telling and of question; questions without a value have rows of their own."""
    table = Table()
    valued = [answer for answer in answered if answer.has_value]
    unvalued = [answer for answer in answered if not answer.has_value]
    table.rows += share_row(NAME, "all", "recalled", [answer.right for answer in valued])
    for kind in dict.fromkeys(answer.telling for answer in valued):
        right = [answer.right for answer in valued if answer.telling == kind]
        table.rows += share_row(NAME, kind, "recalled", right)
    for kind in ("named", "unnamed", "used"):
        right = [answer.right for answer in valued if answer.question == kind]
        table.rows += share_row(NAME, f"asked {kind}", "recalled", right)
    for of, answers in (("asked used", valued), ("only to be avoided", unvalued)):
        base = [answer.base_right for answer in answers if answer.base_right is not None]
        if answers is unvalued:
            table.rows += share_row(NAME, of, "right", [answer.right for answer in answers])
        table.rows += share_row(NAME, of, "right without a memory", base)
    corrected = [answer.outdated for answer in valued if answer.telling == "corrected"]
    denied = [answer.denied for answer in valued if answer.question != "used"]
    table.rows += share_row(NAME, "corrected", "outdated", corrected)
    table.rows += share_row(NAME, "asked named or unnamed", "told, but denied", denied)
    table.aims += share_aim(
        "hand-written tellings recalled", [answer.right for answer in valued], RECALLED_MIN
    )
    table.aims += share_aim("hand-written tellings, but denied", denied, DENIED_MAX, at_most=True)
    return table


def _by_chance(telling: Telling) -> int:
    """Return the number of questions that the base is asked too, as it may guess their answers."""
    return sum(question.kind == "used" for question in telling.questions)
