"""Says which replies to the questions of a suite pass."""

from collections.abc import Sequence

from populace.actors.suites import SuiteQuestion
from populace.policies.likeness import LEAST, likeness
from populace.policies.reply_checks import contains, is_exact, last_number
from populace.suites.matching import matched


def passed(suite: Sequence[SuiteQuestion], replies: Sequence[str]) -> list[bool]:
    """Say of the reply to each question whether it passes. Blocks if there are regular expressions."""
    pairs = list(zip(suite, replies, strict=True))
    matches = iter(
        matched([(question.expect, reply) for question, reply in pairs if question.check == "matches"])
    )
    return [
        next(matches) if question.check == "matches" else _passes(question, reply)
        for question, reply in pairs
    ]


def _passes(question: SuiteQuestion, reply: str) -> bool:
    match question.check:
        case "exact":
            return is_exact(reply, question.expect)
        case "number":
            return last_number(reply) == float(question.expect)
        case "likeness":
            least = LEAST if question.least is None else question.least
            return likeness(reply, question.expect) >= least
        case _:
            return contains(reply, question.expect)
