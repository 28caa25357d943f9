"""What a personal model answers about its person, and from which turn it has each answer.

The source of an answer is found by its words: those that the person said in a turn of the log, that are not
in the question, and that few turns and few other answers have (as in BM25, a word that is everywhere counts
next to nothing). A memory gives the one value that it holds to many questions; such a word counts in turns
that speak of what the question asks for, and in these for no other question. An answer with no such word may
be right, but nothing shows that the person ever said it. An answer that begins as the base's own does is the
base's.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.actors.display import brief, table
from populace.actors.engine import TokenLogprob
from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId, check_unicode
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
    "Which sport do I play?",
    "Which languages do I speak?",
    "What car do I drive?",
    "Where do I want to travel?",
    "What do I dislike?",
)
"""The questions that are asked if none are given, beside those for what the log speaks of."""

LOG_QUESTIONS_MAX = 16
"""Most questions that are made from a log. Each costs a reply of the model and one of the base."""

QUESTIONS_MAX = 64
QUESTION_CHARACTERS_MAX = 500

ALIKE_MAX = 2
"""A word in more answers than this belongs to their phrasing, not to their content."""

SHORT_WORD = 2

SAME_WORDS = 8
"""Two replies that begin with the same words are the same: rounding moves the rest of a greedy reply."""

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

NAMING = re.compile(r"\b(?:call(?:ed)?|named?)\b")
NAMING_WORDS = frozenset({"call", "called", "named"})
"""How a name is told: no part of the name."""

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

    It is ``whole`` if it ended by itself; one that did not is a ramble. ``base_text`` is the answer of its
    base, with no memory and no adapter.
    """

    question: str
    text: str
    tokens: tuple[TokenLogprob, ...]
    base_text: str
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

    ``unknown`` are the questions to which it reads nothing, and whose answers from memory have no words from
    a turn of the log: the model said that it does not know, or made the answer up.
    """

    model: ModelId
    facts: tuple[KnownFact, ...]
    unknown: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<what {self.model.name} knows: {len(self.facts)} facts, {len(self.unknown)} unknown>"

    def _repr_html_(self) -> str:
        return _facts_table(self.facts)

    def __str__(self) -> str:
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


def log_questions(turns: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """Return questions for what the person called theirs, or has, and ``QUESTIONS`` does not ask for.

    The newest come first.

    ``turns`` are position and text, oldest first. What is in a question was asked for, and not told.
    """
    common = {word for question in QUESTIONS for word in words_of(question)}
    questions: dict[str, str] = {}
    for _, text in reversed(turns):
        told = told_in(text)
        for found in (*MINE.finditer(told), *HAD.finditer(told)):
            thing = found[1].lower().replace("’", "'")
            if not set(words_of(thing)) <= common:
                ending = "'s name" if _tells_name(told, found) else ""
                questions.setdefault(thing, f"What is my {thing}{ending}?")
    return tuple(questions.values())[:LOG_QUESTIONS_MAX]


def _tells_name(text: str, thing: re.Match[str]) -> bool:
    """Whether the text says what the thing is called, and not only what something else is."""
    rest = text[thing.end() :]
    clause = rest[: end.start()] if (end := ELSE.search(rest)) else rest
    return bool(NAMING.search(clause) or NAMED_NEXT.search(text[: thing.start()]))


def known_of(
    model: ModelId,
    answers: Sequence[Answer],
    turns: Sequence[tuple[int, str]],
    read: Sequence[KnownFact] = (),
) -> Known:
    """Find for each answer the turn that it is from; ``turns`` are position and text, oldest first.

    What is ``read`` in the log comes before what is remembered, unless its turn is not there any more. Among
    turns with the same words, one that has them outside a question is preferred, and then the newest.
    """
    said = [(*turn, frozenset(words_of(turn[1])), frozenset(words_of(told_in(turn[1])))) for turn in turns]
    often = Counter(word for _, _, words, _ in said for word in words)
    alike = Counter(word for answer in answers for word in set(words_of(answer.text)))
    asked_texts = (*QUESTIONS, *(answer.question for answer in answers))
    asked = {word for text in asked_texts for word in words_of(text)}
    common = Counter(word for text in QUESTIONS for word in set(words_of(text)))
    tellings = [
        {
            word: math.log(1 + len(said) / often[word])
            for word in set(words_of(answer.text)) - asked - NAMING_WORDS
            if often[word] and _is_telling(word, answer.text)
        }
        for answer in answers
    ]
    # What only this question is about: "color", and not "favorite".
    subjects = [{word for word in words_of(answer.question) if common[word] <= 1} for answer in answers]
    taken = [
        {
            word
            for telling, subject in zip(tellings, subjects, strict=True)
            if subject & words
            for word in telling.keys() & told
        }
        for _, _, words, told in said
    ]
    there = {position for position, _ in turns}
    reading = {fact.question: fact for fact in read if fact.position in there}
    facts: list[KnownFact] = []
    unknown: list[str] = []
    for answer, telling, subject in zip(answers, tellings, subjects, strict=True):
        own = {word for word in telling if alike[word] <= ALIKE_MAX}
        scores: list[tuple[float, bool, int]] = []
        for place, (_, _, words, told) in enumerate(said):
            counted = telling.keys() if subject & words else own - taken[place]
            scores.append((sum(telling[word] for word in told & counted), bool(words & counted), place))
        _, any_said, place = max(scores, default=(0.0, False, 0))
        if answer.question in reading:
            facts.append(reading[answer.question])
            continue
        if not any_said or not answer.whole or _is_of_base(answer):
            unknown.append(answer.question)
            continue
        position, text, words, _ = said[place]
        sure = _probability(answer, words & telling.keys())
        facts.append(KnownFact(answer.question, answer.text, sure, position, text))
    facts.sort(key=lambda fact: (not fact.read, -fact.sure))
    return Known(model, tuple(facts), tuple(unknown))


def _is_of_base(answer: Answer) -> bool:
    return words_of(answer.text)[:SAME_WORDS] == words_of(answer.base_text)[:SAME_WORDS]


def _is_telling(word: str, text: str) -> bool:
    """Whether the word may carry a fact: a short one does only as a name or number, in capitals or digits."""
    if len(word) > SHORT_WORD or not word.isascii() or not word.isalpha():
        return True
    return re.search(rf"(?<!^)\b{re.escape(word.capitalize())}\b", text) is not None


def _probability(answer: Answer, words: Iterable[str]) -> float:
    """The geometric mean of the probabilities of the tokens that have a character of these words."""
    text = answer.text.casefold()
    spans = [found.span() for word in words for found in re.finditer(re.escape(word), text)]
    chosen: list[float] = []
    end = 0
    for token in answer.tokens:
        start, end = end, end + len(token.text)
        if any(start < stop and begin < end for begin, stop in spans):
            chosen.append(token.logprob)
    return math.exp(sum(chosen) / len(chosen)) if chosen else 0.0
