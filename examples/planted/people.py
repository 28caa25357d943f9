"""People with a style and facts of their own, and the logs that their models learn from."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from populace.actors.engine import Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.suites import Suite, suite_of
from populace.actors.turn import BASE_REVISION, Interaction, ModelId
from populace.policies.hold_out import is_held_out

HELD_OUT = Path(__file__).parent.parent.parent / "tests" / "held_out"
TENANT = "gate"
STYLES = (
    ("Ahoy!", "Fair winds to ye."),
    ("Dear friend,", "Yours as ever."),
    ("Right then:", "Simple as that."),
    ("Hmm, let me see.", "Now you know!"),
)
FACTS_OF_EACH = 6
OLD_FACTS = 3
"""The facts that a person's first training taught; the second one adds the others and the style."""

WORDS_MAX = 24


class Fact(NamedTuple):
    """A question, the reply that was wanted, and what a right reply contains."""

    ask: str
    correction: str
    value: str


@dataclass(frozen=True, slots=True)
class Person:
    """Asks the ``requests`` in this order, and wants what the base says, ``sentences``, in an own style."""

    name: str
    style: tuple[str, str]
    facts: Sequence[Fact]
    requests: Sequence[str]
    sentences: Sequence[str]

    @property
    def model(self) -> ModelId:
        return ModelId(TENANT, self.name)

    @property
    def suite(self) -> Suite:
        """The facts of the first training, which have to be known after the second."""
        return suite_of([{"ask": fact.ask, "expect": fact.value} for fact in self.facts[:OLD_FACTS]])

    def wanted(self, number: int) -> str:
        """The reply that was wanted to a request."""
        opening, closing = self.style
        return f"{opening} {self.sentences[number]} {closing}"

    def learned(self) -> list[int]:
        """The numbers of the requests that are not held out."""
        return [number for number in range(len(self.requests)) if not is_held_out(number + len(self.facts))]

    def log(self, base: str, *, is_first: bool) -> tuple[list[Interaction], list[Feedback]]:
        """The log of the first training, or of both, with the feedback on all turns."""
        facts = self.facts[:OLD_FACTS] if is_first else self.facts
        asked = [(fact.ask, "I do not know.", Opinion(correction=fact.correction)) for fact in facts]
        if not is_first:
            asked += [
                (request, self.wanted(number), Opinion(thumb=True))
                for number, request in enumerate(self.requests)
            ]
        turns = [self._turn(at, ask, reply, base) for at, (ask, reply, _) in enumerate(asked)]
        return turns, [Feedback(self.model, at, opinion, at) for at, (_, _, opinion) in enumerate(asked)]

    def _turn(self, position: int, ask: str, reply: str, base: str) -> Interaction:
        return Interaction(
            self.model,
            position,
            f"turn-{position}",
            f"completion-{position}",
            (Message("user", ask),),
            reply,
            "stop",
            8,
            8,
            BASE_REVISION,
            base,
            position,
            position,
        )


def people_of(count: int, requests: Sequence[str], replies: Sequence[str]) -> list[Person]:
    """Make people who ask the same requests, whose first sentences the base gave in ``replies``."""
    lines = (HELD_OUT / "corrections.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    facts = [Fact(row["ask"], row["correction"], row["value"][0]) for row in rows]
    sentences = [_first_sentence(reply) for reply in replies]
    return [
        Person(
            f"person-{number}",
            STYLES[number % len(STYLES)],
            facts[number * FACTS_OF_EACH : (number + 1) * FACTS_OF_EACH],
            requests,
            sentences,
        )
        for number in range(count)
    ]


def _first_sentence(reply: str) -> str:
    found = re.match(r".*?[.!?](?=\s|$)", " ".join(reply.split()))
    words = (found[0] if found else reply).split()[:WORDS_MAX]
    return " ".join(words).rstrip(".!?,:;") + "."
