"""A question to the population: how many members answer it, which, and how their answers become one."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.policies.diversity.answers import AnswerKind, extractor

Kind = Literal["choice", "number", "words", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Select = Literal["diverse", "best", "information", "random"]
SELECTS: tuple[Select, ...] = get_args(Select)

Combine = Literal["majority", "weighted"]
COMBINES: tuple[Combine, ...] = get_args(Combine)

MEMBERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and how it is answered.

    ``k`` members are chosen as ``select`` says. With the ``kind`` choice, number or words their replies are
    votes, which count alike or by the members' log-odds on the probes; with the kind text, the reply that is
    most like all others is the answer. A member that has not replied after ``seconds_max`` is reported as
    late.
    """

    messages: tuple[Message, ...]
    k: int = 8
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    select: Select = "diverse"
    combine: Combine = "majority"
    reply_tokens: int = 64
    temperature: float = 0.0
    seconds_max: float = 30.0
    seed: int = 0

    def in_words(self, vote: str) -> str:
        """The vote as callers know it: members choose by letters, which stand for ``choices``."""
        return self.choices[ord(vote) - ord("A")] if self.kind == "choice" else vote

    def check(self) -> None:
        """Raise ``InvalidRequest`` for values that are out of range or contradict each other."""
        if not self.messages or self.messages[-1].role != "user":
            raise InvalidRequest("The last message of a question must have the role `user`.", "messages")
        if not self.messages[-1].content:
            raise InvalidRequest("There is nothing to answer: the question is empty.", "messages")
        for name, value, known in (
            ("kind", self.kind, KINDS),
            ("select", self.select, SELECTS),
            ("combine", self.combine, COMBINES),
        ):
            if value not in known:
                raise InvalidRequest(f"There is no {name} {value!r} but {', '.join(known)}.", name)
        if (self.kind == "choice") != bool(self.choices):
            raise InvalidRequest("Choices are what the kind `choice` is asked with, and no other.", "choices")
        self.check_choices()
        limits = {
            "k": (self.k, 1, MEMBERS_MAX),
            "reply_tokens": (self.reply_tokens, 1, 4096),
            "temperature": (self.temperature, 0, 2),
            "seconds_max": (self.seconds_max, 0.1, 600),
            "seed": (self.seed, 0, 2**63 - 1),
        }
        for name, (value, least, most) in limits.items():
            if not (math.isfinite(value) and least <= value <= most):
                raise InvalidRequest(f"{name} is from {least} to {most}, not {value}.", name)

    def check_choices(self) -> None:
        if self.kind == "choice":
            try:
                extractor("choice", self.choices)
            except ValueError as error:
                raise InvalidRequest(f"{str(error).capitalize()}.", "choices") from error

    @property
    def vote_kind(self) -> AnswerKind | None:
        """How a reply is read as a vote; None for text."""
        return None if self.kind == "text" else self.kind

    @property
    def prompt(self) -> tuple[Message, ...]:
        """What each member reads: the choices are below the question, each behind its label."""
        if self.kind != "choice":
            return self.messages
        labels = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        listed = "\n".join(f"{label}. {choice}" for label, choice in zip(labels, self.choices, strict=False))
        last = self.messages[-1]
        asked = f"{last.content}\n{listed}\nAnswer with one letter."
        return (*self.messages[:-1], Message(last.role, asked))
