"""What a personal model answers when it is asked about its person, and which turn it has each answer from.

Where an answer comes from is told by its words: those that the person said in a turn of the log, that the
question has not, that the base does not say to it by itself, and that few turns and few other answers have
(as in BM25, a word that is everywhere counts next to nothing). An answer with no such word may be right, but
nothing shows that the person ever said it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.actors.engine import TokenLogprob
from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId
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
    "What pets do I have, and what are they called?",
    "What is my favorite food?",
    "What can't I eat?",
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
"""Asked if no others are."""

QUESTIONS_MAX = 64
QUESTION_CHARACTERS_MAX = 500

ALIKE_MAX = 2
"""A word that more answers have is of how answers are put, not of what they say."""

SHORT_WORD = 2

ASKING = re.compile(r"[^.!?\n]*\?")
"""A question. What somebody asks is less likely to be about themselves than what they say."""


class Answer(NamedTuple):
    """What the model said to a question, and the probability of each of its tokens.

    ``base_text`` is what its base says to it, with no memory and no adapter.
    """

    question: str
    text: str
    tokens: tuple[TokenLogprob, ...]
    base_text: str


@dataclass(frozen=True, slots=True)
class KnownFact:
    """An answer with words that the person said in the turn ``position``; ``said`` is all they said there.

    ``sure`` is the probability, 0 to 1, that the model gave to each token of these words (geometric mean).
    """

    question: str
    answer: str
    sure: float
    position: int
    said: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a model knows of its person, surest first.

    ``unknown`` are the questions to whose answers no turn of the log has the words: the model said that it
    does not know, or made it up.
    """

    model: ModelId
    facts: tuple[KnownFact, ...]
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        if not self.facts:
            return f"{self.model.name} knows nothing that it was told."
        return "\n".join(
            f"{one.answer} ({one.sure:.0%} sure, from turn {one.position}: {one.said})" for one in self.facts
        )


def checked_questions(questions: Sequence[str]) -> tuple[str, ...]:
    """Return the questions to ask. Raises ``InvalidRequest`` for too many, and for empty or too long ones."""
    if len(questions) > QUESTIONS_MAX:
        raise InvalidRequest(f"At most {QUESTIONS_MAX} questions are asked at once.", "question")
    for one in questions:
        if not one.strip() or len(one) > QUESTION_CHARACTERS_MAX:
            raise InvalidRequest(
                f"A question has 1 to {QUESTION_CHARACTERS_MAX} characters and is not only spaces.",
                "question",
            )
    return tuple(questions) or QUESTIONS


def known_of(model: ModelId, answers: Sequence[Answer], turns: Sequence[tuple[int, str]]) -> Known:
    """Find for each answer the turn that it is from; ``turns`` are position and words, oldest first.

    Of turns with the same words that one counts which does not only ask with them, and of those the newest.
    """
    said = [
        (*turn, frozenset(words_of(turn[1])), frozenset(words_of(ASKING.sub(" ", turn[1])))) for turn in turns
    ]
    often = Counter(word for _, _, words, _ in said for word in words)
    alike = Counter(word for one in answers for word in set(words_of(one.text)))
    asked = {word for one in (*QUESTIONS, *(one.question for one in answers)) for word in words_of(one)}
    facts: list[KnownFact] = []
    unknown: list[str] = []
    for answer in answers:
        telling = {
            word: math.log(1 + len(said) / often[word])
            for word in set(words_of(answer.text)) - asked - set(words_of(answer.base_text))
            if often[word] and alike[word] <= ALIKE_MAX and _is_telling(word, answer.text)
        }
        scores = [
            (sum(telling[word] for word in told & telling.keys()), bool(words & telling.keys()), place)
            for place, (_, _, words, told) in enumerate(said)
        ]
        _, any_said, place = max(scores, default=(0.0, False, 0))
        if not any_said:
            unknown.append(answer.question)
            continue
        position, text, words, _ = said[place]
        sure = _probability(answer, words & telling.keys())
        facts.append(KnownFact(answer.question, answer.text, sure, position, text))
    facts.sort(key=lambda one: -one.sure)
    return Known(model, tuple(facts), tuple(unknown))


def _is_telling(word: str, text: str) -> bool:
    """Whether a word may say something: short ones do as names and numbers, in capitals or digits."""
    if len(word) > SHORT_WORD or not word.isascii() or not word.isalpha():
        return True
    return re.search(rf"(?<!^)\b{re.escape(word.capitalize())}\b", text) is not None


def _probability(answer: Answer, words: Iterable[str]) -> float:
    """The mean probability of the tokens that have a character of these words."""
    text = answer.text.casefold()
    spans = [found.span() for word in words for found in re.finditer(re.escape(word), text)]
    chosen: list[float] = []
    end = 0
    for token in answer.tokens:
        start, end = end, end + len(token.text)
        if any(start < stop and begin < end for begin, stop in spans):
            chosen.append(token.logprob)
    return math.exp(sum(chosen) / len(chosen)) if chosen else 0.0
