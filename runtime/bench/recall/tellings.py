"""What people tell in their own words, written by hand, and what they ask of it in others."""

from collections.abc import Sequence
from typing import NamedTuple

from populace.bench.recall.asking import Asker, alone, side_by_side
from populace.bench.recall.grading import denies, is_outdated, is_right
from populace.bench.recall.held_out import Question, QuestionKind, Telling, TellingKind
from populace.bench.recall.person import Person, Way
from populace.bench.recall.tables import Table, share_aim, share_row

NAME = "tellings"
RECALLED_MIN = 75.0
DENIED_MAX = 3.0


class Answered(NamedTuple):
    """An answer from memory. ``base_right`` is of the base without one, None where it was not asked."""

    telling: TellingKind
    question: QuestionKind
    has_value: bool
    right: bool
    outdated: bool
    denied: bool
    base_right: bool | None


async def measure_tellings(asker: Asker, way: Way, tellings: Sequence[Telling]) -> list[Answered]:
    """A person for each telling: tells it in one conversation, asks every question in a new one."""
    asker.progress.begin(
        "Hand-written tellings", sum(len(one.tell) + len(one.questions) + _by_chance(one) for one in tellings)
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

    async def one(telling: Telling) -> list[Answered]:
        person = Person(asker, way)
        await person.tell_all(telling.tell, together=True)
        return await side_by_side([answered(person, telling, question) for question in telling.questions])

    return [
        answer for of_one in await side_by_side([one(telling) for telling in tellings]) for answer in of_one
    ]


def tellings_table(answered: Sequence[Answered]) -> Table:
    """Rows by kind of telling and of question. Questions without a value are reported apart."""
    table = Table()
    valued = [one for one in answered if one.has_value]
    silent = [one for one in answered if not one.has_value]
    table.rows += share_row(NAME, "all", "recalled", [one.right for one in valued])
    for kind in dict.fromkeys(one.telling for one in valued):
        table.rows += share_row(NAME, kind, "recalled", [one.right for one in valued if one.telling == kind])
    for kind in ("named", "unnamed", "used"):
        table.rows += share_row(
            NAME, f"asked {kind}", "recalled", [one.right for one in valued if one.question == kind]
        )
    for of, answers in (("asked used", valued), ("only to be avoided", silent)):
        base = [one.base_right for one in answers if one.base_right is not None]
        if answers is silent:
            table.rows += share_row(NAME, of, "right", [one.right for one in answers])
        table.rows += share_row(NAME, of, "right without a memory", base)
    corrected = [one.outdated for one in valued if one.telling == "corrected"]
    denied = [one.denied for one in valued if one.question != "used"]
    table.rows += share_row(NAME, "corrected", "outdated", corrected)
    table.rows += share_row(NAME, "asked named or unnamed", "told, but denied", denied)
    table.aims += share_aim("hand-written tellings recalled", [one.right for one in valued], RECALLED_MIN)
    table.aims += share_aim("hand-written tellings, but denied", denied, DENIED_MAX, at_most=True)
    return table


def _by_chance(telling: Telling) -> int:
    """How many of its questions the base is asked as well: those that may be right by chance."""
    return sum(question.kind == "used" for question in telling.questions)
