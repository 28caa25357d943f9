"""Generates episodes of personal facts from templates: what people tell an assistant, and ask it later.

There are many attributes and phrases, various replies, small talk in between, and facts that change. A
conversation may end after any turn; the next message begins another one. Some questions are about things that
were not told, and some are not about the person.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from examples.memory_module.episodes import Episode, Question, SaidMessage
from examples.memory_module.general import GENERAL
from examples.memory_module.phrases import (
    ACKNOWLEDGEMENTS,
    ANSWER,
    ANY,
    ATTRIBUTES,
    CHANGE,
    CHATTER,
    NOT_TOLD,
    REPLIES,
    filled,
    own_ways,
)
from examples.memory_module.values import Part, ValueOptions, Values

REPLY_WORDS_MAX = 14


@dataclass(frozen=True, slots=True)
class FactsOptions(ValueOptions):
    """Options of the generator. Shares are probabilities; ``ValueOptions`` has those of values.

    An episode has ``facts_min`` to ``facts_max`` facts. After a turn a new conversation begins with
    ``fresh_share``, and small talk follows with ``chatter_share``. A reply is one of ``REPLIES`` with
    ``long_share``, else a few words. One fact changes with ``change_share``.

    The attribute of a fact is any word of the vocabulary with ``open_attribute_share``. It is told, and asked
    for, in phrases of its own with ``own_share`` each. An episode asks for something that was not told with
    ``not_told_share`` and something general with ``general_share``. With ``written_share`` the questions are
    written into the memory too, as in a chat.
    """

    facts_min: int = 1
    facts_max: int = 3
    own_share: float = 0.3
    open_attribute_share: float = 0.1
    chatter_share: float = 0.15
    change_share: float = 0.15
    not_told_share: float = 0.25
    general_share: float = 0.3
    written_share: float = 0.3
    fresh_share: float = 0.7
    long_share: float = 0.5


class _Fact(NamedTuple):
    attribute: str
    value: str


def fact_episodes(
    words: Sequence[str], part: Part, *, seed: int, options: FactsOptions | None = None
) -> Iterator[Episode]:
    """Generate episodes without end; the same arguments give the same episodes."""
    options = options or FactsOptions()
    source = random.Random(f"episodes {part} {seed}")
    maker = _Maker(source, Values(words, part, options, seed=seed), options)
    while True:
        yield maker.episode()


class _Maker:
    """Generates one episode after the other from one random source."""

    def __init__(self, source: random.Random, values: Values, options: FactsOptions) -> None:
        self._source = source
        self._values = values
        self._options = options

    def episode(self) -> Episode:
        source, options = self._source, self._options
        names = source.sample(sorted(ATTRIBUTES), source.randint(options.facts_min, options.facts_max))
        known = {fact.attribute: fact for fact in map(self._fact, names)}
        told = [(fact, self._phrase(fact, "tell")) for fact in known.values()]
        if self._happens(options.change_share):
            name = source.choice(sorted(known))
            known[name] = _Fact(name, self._value(name))
            told.append((known[name], filled(source.choice(CHANGE), *known[name])))
        turns: list[tuple[str, str]] = []
        for fact, text in told:
            reply = (
                self._reply(fact) if self._happens(options.long_share) else source.choice(ACKNOWLEDGEMENTS)
            )
            turns.append((text, reply))
            if self._happens(options.chatter_share):
                turns.append(source.choice(CHATTER))
        return Episode(
            messages=tuple(self._messages(turns)),
            questions=tuple(self._questions(known)),
            asked_with_writes=self._happens(options.written_share),
        )

    def _fact(self, name: str) -> _Fact:
        if self._happens(self._options.open_attribute_share):
            name = self._values.word()
        return _Fact(name, self._value(name))

    def _value(self, name: str) -> str:
        return self._values.draw(ATTRIBUTES.get(name, "words"))

    def _phrase(self, fact: _Fact, purpose: Literal["tell", "ask"]) -> str:
        ways = own_ways(fact.attribute) if self._happens(self._options.own_share) else ANY
        return filled(self._source.choice(getattr(ways, purpose)), *fact)

    def _reply(self, fact: _Fact) -> str:
        words = filled(self._source.choice(REPLIES), *fact).split()
        most = min(len(words), REPLY_WORDS_MAX)
        return " ".join(words[: self._source.randint(min(3, most), most)])

    def _messages(self, turns: Sequence[tuple[str, str]]) -> Iterator[SaidMessage]:
        for number, (user, reply) in enumerate(turns):
            fresh = number > 0 and self._happens(self._options.fresh_share)
            yield SaidMessage(role="user", content=user, fresh=fresh)
            yield SaidMessage(role="assistant", content=reply)

    def _questions(self, known: Mapping[str, _Fact]) -> list[Question]:
        source, options = self._source, self._options
        questions = [
            Question(ask=self._phrase(fact, "ask"), answer=filled(ANSWER, *fact), value=fact.value)
            for fact in source.sample(sorted(known.values()), len(known))
        ]
        if self._happens(options.not_told_share):
            fact = _Fact(source.choice(sorted(ATTRIBUTES.keys() - known.keys())), "")
            question = Question(ask=self._phrase(fact, "ask"), answer=filled(NOT_TOLD, *fact))
            questions.insert(source.randint(0, len(questions)), question)
        if self._happens(options.general_share):
            question = Question(ask=source.choice(GENERAL), answer=None)
            questions.insert(source.randint(0, len(questions)), question)
        return questions

    def _happens(self, share: float) -> bool:
        return self._source.random() < share
