# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Faker's providers are found at run time.
"""Episodes of personal facts: what people tell an assistant about themselves, and ask it later.

Many attributes, told and asked in many ways, with chatter in between and facts that change; values from
lists of names, places, jobs and dates and from every word of the base's vocabulary, one to three of them,
so that what is learned is to remember and not a list. Some values are held out: no training episode has
them, nor any that contains one of their words.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from populace.learning.memory.episodes import Episode, Question, SaidMessage

Part = Literal["train", "held-out"]

HELD_OUT_SHARE = 0.08
"""Of all words, by a hash of each."""

ATTRIBUTES: dict[str, str] = {
    "city": "city",
    "home town": "city",
    "country": "country",
    "street": "street",
    "job": "job",
    "company": "company",
    "boss": "person",
    "teacher": "person",
    "doctor": "person",
    "neighbor": "person",
    "best friend": "first",
    "brother": "first",
    "sister": "first",
    "daughter": "first",
    "son": "first",
    "dog": "first",
    "cat": "first",
    "horse": "first",
    "parrot": "first",
    "hero": "person",
    "birthday": "date",
    "favorite color": "color",
    "favorite food": "words",
    "favorite drink": "words",
    "favorite movie": "words",
    "favorite song": "words",
    "favorite book": "words",
    "favorite flower": "words",
    "favorite sport": "words",
    "favorite game": "words",
    "hobby": "words",
    "instrument": "words",
    "language": "words",
    "team": "words",
    "school": "words",
    "band": "words",
    "car": "words",
    "boat": "words",
    "nickname": "words",
    "password": "words",
    "dream": "words",
    "project": "words",
    "garden": "words",
    "village": "city",
}

TELL = (
    "My {a} is {v}.",
    "{v} is my {a}.",
    "I want you to know that my {a} is {v}.",
    "By the way, my {a} is {v}.",
    "Please remember: my {a} is {v}.",
    "You should know my {a} is {v}.",
    "Let me tell you, my {a} is {v}.",
    "As for my {a}, it is {v}.",
    "Remember that my {a} is {v}.",
    "Just so you know, my {a} is {v}.",
    "For the record, my {a} is {v}.",
    "About my {a}: {v}.",
)
CHANGE = (
    "My {a} is now {v}.",
    "I changed my mind: my {a} is {v}.",
    "Correction: my {a} is {v}.",
    "From now on my {a} is {v}.",
    "That has changed, my {a} is {v} now.",
)
TAKEN_IN = ("Okay.", "Got it.", "Thanks, I will remember that.", "Noted.", "I see.", "Good to know.", "Sure.")
ASK = (
    "What is my {a}?",
    "Do you remember my {a}?",
    "Tell me my {a}.",
    "Can you say what my {a} is?",
    "Do you know my {a}?",
    "What did I say my {a} is?",
    "Remind me of my {a}.",
)
ANSWER = "Your {a} is {v}."
CHATTER = (
    ("The weather is nice today.", "It is, enjoy it!"),
    ("I had a long day.", "I hope you can rest now."),
    ("How are you?", "I am fine, thank you."),
    ("I am reading now.", "Enjoy your reading."),
    ("Let us talk later.", "Whenever you like."),
    ("That was funny.", "I am glad you liked it."),
    ("I slept well.", "That is good to hear."),
    ("Lunch was great.", "Nice."),
    ("It rains again.", "Take an umbrella with you."),
    ("I am on the train.", "Have a good trip."),
)
GENERAL = (
    "What is the capital of France?",
    "Write a short sentence about the sea.",
    "How many days are in a week?",
    "What is two plus three?",
    "Name a fruit.",
    "Why is the sky blue?",
    "What does a baker do?",
    "Give me a tip for better sleep.",
    "What is water made of?",
    "Say hello in Spanish.",
    "Who wrote Romeo and Juliet?",
    "What is the largest planet?",
    "Explain what a verb is.",
    "Tell me something about cats.",
    "How do plants grow?",
    "What is a bicycle?",
)


@dataclass(frozen=True, slots=True)
class FactsOptions:
    """How episodes are made. Shares are probabilities.

    An episode has up to ``facts_max`` facts; a value of kind ``words`` has up to ``words_max`` words, and
    one of another kind is replaced by such words with ``open_share``.
    """

    facts_max: int = 3
    words_max: int = 3
    open_share: float = 0.5
    single_share: float = 0.6
    chatter_share: float = 0.2
    change_share: float = 0.15
    general_share: float = 0.1


class Values:
    """Values of one part of the vocabulary, drawn with a seed."""

    def __init__(self, words: Sequence[str], part: Part, options: FactsOptions, seed: int) -> None:
        from faker import Faker  # only those who make a corpus have it

        self._random = random.Random(f"values {part} {seed}")  # noqa: S311 - a corpus, not a secret
        self._words = [word for word in words if is_held_out(word) == (part == "held-out")]
        self._part = part
        self._options = options
        faker: Any = Faker("en_US")
        faker.seed_instance(self._random.randrange(2**32))
        self._makers: dict[str, Callable[[], str]] = {
            "city": faker.city,
            "country": faker.country,
            "street": faker.street_name,
            "job": lambda: str(faker.job()).split(",")[0].lower(),
            "company": faker.company,
            "person": lambda: f"{faker.first_name()} {faker.last_name()}",
            "first": faker.first_name,
            "color": lambda: str(faker.safe_color_name()),
            "date": lambda: f"{faker.month_name()} {self._random.randint(1, 28)}",
        }

    def draw(self, kind: str) -> str:
        """Draw a value. One made of words that are all in this part of the vocabulary."""
        if kind == "words" or self._random.random() < self._options.open_share:
            return self._phrase()
        for _ in range(100):
            value = self._makers[kind]()
            held_out = [is_held_out(word) for word in value.split()]
            if (any(held_out) if self._part == "held-out" else not any(held_out)) and "." not in value:
                return value
        return self._phrase()

    def _phrase(self) -> str:
        count, most = 1, self._options.words_max
        if most > 1 and self._random.random() >= self._options.single_share:
            count = self._random.randint(2, most)
        return " ".join(self._random.choice(self._words) for _ in range(count))


def is_held_out(word: str) -> bool:
    digest = hashlib.sha256(word.strip(".,").lower().encode()).digest()
    return digest[0] / 256 < HELD_OUT_SHARE


def fact_episodes(
    words: Sequence[str],
    part: Part,
    *,
    seed: int,
    options: FactsOptions | None = None,
    facts: int | None = None,
) -> Iterator[Episode]:
    """Make episodes without end; the same arguments make the same ones. ``facts`` fixes their number."""
    options = options or FactsOptions()
    source = random.Random(f"episodes {part} {seed}")  # noqa: S311 - a corpus, not a secret
    values = Values(words, part, options, seed)
    while True:
        yield _episode(source, values, options, facts or source.randint(1, options.facts_max))


def _episode(source: random.Random, values: Values, options: FactsOptions, facts: int) -> Episode:
    chosen = {name: values.draw(ATTRIBUTES[name]) for name in source.sample(sorted(ATTRIBUTES), facts)}
    said: list[tuple[str, str]] = [
        (_told(source, TELL, name, value), _answered(source)) for name, value in chosen.items()
    ]
    if source.random() < options.change_share:
        name = source.choice(sorted(chosen))
        chosen[name] = values.draw(ATTRIBUTES[name])
        said.append((_told(source, CHANGE, name, chosen[name]), _answered(source)))
    turns: list[tuple[str, str]] = []
    for turn in said:
        turns.append(turn)
        if source.random() < options.chatter_share:
            turns.append(source.choice(CHATTER))
    questions = [
        Question(ask=source.choice(ASK).format(a=name), answer=ANSWER.format(a=name, v=value), value=value)
        for name, value in source.sample(sorted(chosen.items()), facts)
    ]
    if source.random() < options.general_share:
        questions.append(Question(ask=source.choice(GENERAL), answer=None))
    messages = [
        message
        for user, reply in turns
        for message in (SaidMessage(role="user", content=user), SaidMessage(role="assistant", content=reply))
    ]
    return Episode(messages=tuple(messages), questions=tuple(questions))


def _told(source: random.Random, ways: Sequence[str], name: str, value: str) -> str:
    return source.choice(ways).format(a=name, v=value)


def _answered(source: random.Random) -> str:
    return source.choice(TAKEN_IN)
