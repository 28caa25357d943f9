"""Facts that a model knows about its person, each with the turn that it comes from.

An answer is a fact only if a turn of the log bears it out (``policies/facts.py``): where it does not, the
model may be right, but nothing shows that the person ever said it. So nothing is asked that no turn tells.
Less certain facts than asked for are not shown.
"""

import math
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.actors.display import brief, table
from populace.actors.engine import TokenLogprob
from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId, check_unicode
from populace.policies.facts import FactQuestion, clauses_of, value_words
from populace.policies.ownership import ADJECTIVES, FUNCTION
from populace.policies.questions import told_in
from populace.policies.retrieval import words_of

QUESTIONS = (
    "What is my name?",
    "How old am I?",
    "When is my birthday?",
    "Where do I live?",
    "Where do I come from?",
    "What do I do for a living?",
    "Where do I work?",
    "What am I studying?",
    "What is my partner's name?",
    "What are my children's names?",
    "What is my best friend's name?",
    "What is my dog's name?",
    "What is my cat's name?",
    "What is my favorite food?",
    "What can't I eat?",
    "What am I allergic to?",
    "What is my favorite drink?",
    "What is my favorite color?",
    "What is my favorite music?",
    "What is my favorite book?",
    "What is my favorite movie?",
    "What are my hobbies?",
    "What do I play?",
    "Which languages do I speak?",
    "What do I drive?",
    "Where do I want to travel?",
    "What do I dislike?",
)
"""The questions that are asked if none are given, beside those for what the log speaks of."""

LOG_QUESTIONS_MAX = 16
"""Most questions that are made from a log. Each costs a reply of the model and one of the base."""

QUESTIONS_MAX = 64
QUESTION_CHARACTERS_MAX = 500

SURE_MIN = 0.8
"""A fact that is less certain is not shown, unless it is asked for."""

MINE = re.compile(
    r"\bmy ((?:[a-z]+['’]s )?[a-z]+(?: (?:address|code|date|number|password|size))?)\b", re.IGNORECASE
)
"""Matches what people call their own: "my brother", "my sister's dog", "my locker code"."""

HAD = re.compile(
    r"\b(?:i|we)(?: have|['’]ve(?: got)?| own| got| adopted| bought) an? ((?:[a-z]+ ){0,2}?[a-z]+)"
    r"(?= (?:called|named)\b)",
    re.IGNORECASE,
)
"""Matches what people have and name: "I have a tortoise called Klaus"."""

PLURAL = re.compile(r"[^\Wisu]s$")

NAMING = re.compile(r"\b(?:call(?:ed)?|named?)\b")
NAMED_NEXT = re.compile(r"\b(?:call|named?)\s*$", re.IGNORECASE)
"""Matches the end of what is before a thing that gets its name: "I named my boat Bella"."""

ELSE = re.compile(
    r"\bmy\b|(?:[.!,;:\n]|\b(?:and|but)\b)"
    r"(?!\s*(?:(?:and|but) )?(?:it|he|she|they|who|which|is|called|named)\b)",
    re.IGNORECASE,
)
"""Matches where a text goes on to something else than the thing that it spoke of."""


class Answer(NamedTuple):
    """The model's answer to a question, and the probability of each of its tokens.

    It is ``whole`` if it ended by itself; one that did not is a ramble.
    """

    question: str
    text: str
    tokens: tuple[TokenLogprob, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class KnownFact:
    """An answer with words that the person said in the turn ``position``; ``said`` is its whole text.

    ``sure`` is the probability, 0 to 1, that the model gave to each token of these words (geometric mean). An
    answer that is ``read`` is one to which the model is shown that turn, as in a chat; it is sure (1).
    """

    question: str
    answer: str
    sure: float
    position: int
    said: str
    read: bool = False

    @property
    def how(self) -> str:
        """How the model comes to the answer, in words."""
        return "read there" if self.read else f"{self.sure:.0%} sure"

    def __repr__(self) -> str:
        return f"<fact {brief(self.question)}: {brief(self.answer)}, {self.how}, turn {self.position}>"

    def _repr_html_(self) -> str:
        return _facts_table([self])


@dataclass(frozen=True, slots=True)
class Known:
    """What a model knows of its person: what it reads in its log, then what it remembers, surest first.

    It is of the log before ``position``, None if the model was not asked yet. If it is ``refreshing``, the
    model is being asked anew. No fact is less certain than ``sure_min``; ``unknown`` are the questions to
    which none is shown.
    """

    model: ModelId
    facts: tuple[KnownFact, ...]
    unknown: tuple[str, ...]
    position: int | None = None
    refreshing: bool = False
    sure_min: float = SURE_MIN

    def __repr__(self) -> str:
        return f"<what {self.model.name} knows: {len(self.facts)} facts, {len(self.unknown)} unknown>"

    def _repr_html_(self) -> str:
        return _facts_table(self.facts)

    def __str__(self) -> str:
        if self.position is None:
            return f"{self.model.name} was not asked yet{', and is being asked now' * self.refreshing}."
        if not self.facts:
            return f"{self.model.name} knows nothing that it was told."
        return "\n".join(
            f"{fact.answer} ({fact.how}, from turn {fact.position}: {fact.said})" for fact in self.facts
        )


def _facts_table(facts: Sequence[KnownFact]) -> str:
    rows = [(fact.question, fact.answer.strip(), fact.how, fact.position, fact.said) for fact in facts]
    return table(("question", "answer", "how", "turn", "what was said there"), rows)


def checked_questions(questions: Sequence[str]) -> tuple[str, ...]:
    """Return the questions that a caller gives.

    Raises ``InvalidRequest`` for too many, for empty or too long ones, and for what is no Unicode text.
    """
    if len(questions) > QUESTIONS_MAX:
        raise InvalidRequest(f"At most {QUESTIONS_MAX} questions are asked at once.", "question")
    for question in questions:
        if not isinstance(question, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"A question is a text, not {question!r:.80}.", "question")
        check_unicode("A question", question, "question")
        if not question.strip() or len(question) > QUESTION_CHARACTERS_MAX:
            raise InvalidRequest(
                f"A question has 1 to {QUESTION_CHARACTERS_MAX} characters and is not only spaces.",
                "question",
            )
    return tuple(questions)


def check_sure_min(sure_min: float) -> None:
    """Raise ``InvalidRequest`` unless the certainty is a number from 0 to 1."""
    if isinstance(sure_min, bool) or not isinstance(sure_min, int | float) or not 0 <= sure_min <= 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"A certainty is a number from 0 to 1, not {sure_min!r:.80}.", "sure_min")


def log_questions(turns: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """Return questions for what the person called theirs, or has, and ``QUESTIONS`` does not ask for.

    The newest come first.

    ``turns`` are position and text, oldest first. What is in a question was asked for, and not told.
    """
    common = ADJECTIVES.union(*(words_of(question) for question in QUESTIONS))
    questions: dict[str, str] = {}
    for _, text in reversed(turns):
        told = told_in(text)
        for found in (*MINE.finditer(told), *HAD.finditer(told)):
            thing = found[1].lower().replace("’", "'")
            words = words_of(thing)
            if not common.issuperset(words) and words[-1] not in FUNCTION:
                is_name, are_many = _tells_name(told, found), PLURAL.search(thing) is not None
                ending = ("' names" if are_many else "'s name") if is_name else ""
                questions.setdefault(thing, f"What {'are' if are_many else 'is'} my {thing}{ending}?")
    return tuple(questions.values())[:LOG_QUESTIONS_MAX]


def _tells_name(text: str, thing: re.Match[str]) -> bool:
    """Whether the text says what the thing is called, and not only what something else is."""
    rest = text[thing.end() :]
    clause = rest[: end.start()] if (end := ELSE.search(rest)) else rest
    return bool(NAMING.search(clause) or NAMED_NEXT.search(text[: thing.start()]))


def told_questions(questions: Iterable[str], turns: Sequence[tuple[int, str]]) -> frozenset[str]:
    """Return the questions that a turn tells something for: no others have an answer that is shown."""
    clauses = [clause for _, text in turns for clause in clauses_of(text)]
    return frozenset(question for question in questions if any(map(FactQuestion(question).is_told, clauses)))


def known_facts(
    answers: Sequence[Answer], turns: Sequence[tuple[int, str]], read: Container[str] = ()
) -> tuple[KnownFact, ...]:
    """Return the answers that the newest turn which tells what is asked for bears out.

    ``turns`` are position and text, oldest first; the questions in ``read`` were answered from one of them.
    """
    said = [(position, text, tuple(clauses_of(text))) for position, text in reversed(turns)]
    facts: list[KnownFact] = []
    for question, text, tokens, whole in answers:
        asked, values = FactQuestion(question), value_words(question, text)
        tellings = (turn for turn in said if any(map(asked.is_told, turn[2])))
        position, told, clauses = next(tellings, (0, "", ()))
        if values and whole and asked.is_borne_out_last(clauses, text):
            sure = 1.0 if question in read else _probability(text, tokens, values)
            facts.append(KnownFact(question, text, sure, position, told, question in read))
    return tuple(facts)


def shown(
    model: ModelId,
    asked: Sequence[str],
    facts: Iterable[KnownFact],
    sure_min: float,
    *,
    position: int | None,
    refreshing: bool = False,
) -> Known:
    """Return the facts that are certain enough, and those of the questions ``asked`` that none answers."""
    certain = [fact for fact in facts if fact.sure >= sure_min]
    certain.sort(key=lambda fact: (not fact.read, -fact.sure))
    answered = {fact.question for fact in certain}
    unknown = tuple(question for question in asked if question not in answered)
    return Known(model, tuple(certain), unknown, position, refreshing, sure_min)


def _probability(answer: str, tokens: Sequence[TokenLogprob], words: Iterable[str]) -> float:
    """The geometric mean of the probabilities of the tokens that have a character of these words."""
    text = answer.casefold()
    spans = [found.span() for word in words for found in re.finditer(re.escape(word), text)]
    chosen: list[float] = []
    end = 0
    for token in tokens:
        start, end = end, end + len(token.text)
        if any(start < stop and begin < end for begin, stop in spans):
            chosen.append(token.logprob)
    return math.exp(sum(chosen) / len(chosen)) if chosen else 0.0
