"""Generates episodes in people's own words, with facts in passing, small talk and requests.

Unlike the templates of ``facts.py``, a message may have sentences around its fact, two facts, or a request
that the base answers; some facts are dislikes or about other people; and a question may paraphrase what it
asks for, or be a request that only needs it. Held-out episodes have phrases that no training episode has.
Messages that tell nothing and requests that ask nothing about the person are marked, so that gates can be
fitted to them.
"""

import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from examples.memory_module.corpus_files import (
    AMBIGUOUS,
    distinct_attributes,
    lines,
    listed_values,
    never_told,
    personal_requests,
    phrases_of,
)
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
    filled,
)
from examples.memory_module.values import Part, ValueOptions, Values

FACT_COUNTS = (1, 1, 2, 2, 3, 3, 3, 3, 4, 5, 7, 10)
"""The number of an episode's facts is drawn from these."""

QUESTIONS_MAX = 5
"""An episode asks for at most this many of its facts."""

PLAIN_SHARE = 0.4
"""The probability that a fact is told and asked for with a template, "My city is Lisbon.", if it has one."""

FILLER_SHARE = 0.4
"""The probability that a message has one or two sentences around its facts."""

SECOND_FACT_SHARE = 0.15
"""The probability that a message tells two facts."""

REQUEST_SHARE = 0.1
"""The probability that a message also has a request that the base answers."""

CHANGE_SHARE = 0.3
"""The probability that one fact of the episode changes at the end."""

CHATTER_SHARE = 0.2
"""The probability that a message that tells nothing follows."""

FRESH_SHARE = 0.6
"""The probability that a message begins a new conversation."""

PERSONAL_REQUEST_SHARE = 0.15
"""The probability that a fact is not asked for, but needed by a request, if its attribute has one."""

NOT_TOLD_COUNTS = (0, 0, 1, 1, 2)
"""The number of an episode's questions about things that were not told is drawn from these."""

NEVER_TOLD_SHARE = 0.4
"""The probability that such a question is about something that no episode tells."""

GENERAL_SHARE = 0.3
"""The probability that an episode ends with a request that is not about the person."""

_A_VOWEL = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


class _Fact(NamedTuple):
    attribute: str
    value: str
    plain: bool


def own_words_episodes(words: Sequence[str], part: Part, *, seed: int) -> Iterator[Episode]:
    """Generate episodes without end; the same arguments give the same episodes."""
    maker = _Maker(words, part, seed)
    while True:
        yield maker.episode()


def with_article(text: str) -> str:
    """Return the text with "an" for "a" before a vowel, as a filled phrase may need it."""
    return _A_VOWEL.sub(r"\1n ", text)


class _Maker:
    def __init__(self, words: Sequence[str], part: Part, seed: int) -> None:
        self._source = random.Random(f"own words {part} {seed}")
        self._values = Values(words, part, ValueOptions(open_share=0.25), seed=seed, lists=listed_values())
        self._requests = (*lines("requests"), *GENERAL)
        self._phrases = phrases_of(part)
        self._never = [Question(ask=question.ask, answer=question.unknown) for question in never_told(part)]

    def episode(self) -> Episode:
        facts = self._facts(self._source.choice(FACT_COUNTS))
        turns = list(self._tellings(facts))
        if self._happens(CHANGE_SHARE):
            place = self._source.randrange(len(facts))
            facts[place] = changed = facts[place]._replace(value=self._value(facts[place].attribute))
            turns.append((self._changed(changed), True))
        return Episode(messages=tuple(self._messages(turns)), questions=tuple(self._questions(facts)))

    def _facts(self, count: int) -> list[_Fact]:
        names = list(self._phrases)
        self._source.shuffle(names)
        return [
            _Fact(name, self._value(name), name in ATTRIBUTES and self._happens(PLAIN_SHARE))
            for name in distinct_attributes(names, count)
        ]

    def _value(self, name: str) -> str:
        return self._values.draw(self._phrases[name].kind)

    def _tellings(self, facts: Sequence[_Fact]) -> Iterator[tuple[str, bool]]:
        """Yield user messages, each with whether it tells something about the person."""
        waiting = list(facts)
        while waiting:
            sentences = [self._told(waiting.pop(0))]
            if waiting and self._happens(SECOND_FACT_SHARE):
                sentences.append(self._told(waiting.pop(0)))
            if self._happens(FILLER_SHARE):
                for _ in range(self._source.randint(1, 2)):
                    sentences.insert(self._source.randint(0, len(sentences)), self._line("fillers"))
            if self._happens(REQUEST_SHARE):
                place = self._source.choice((0, len(sentences)))
                sentences.insert(place, self._source.choice(self._requests))
            yield " ".join(sentences), True
            if self._happens(CHATTER_SHARE):
                is_request = self._happens(0.4)
                yield self._source.choice(self._requests) if is_request else self._line("chatter"), False

    def _told(self, fact: _Fact) -> str:
        ways = ANY.tell if fact.plain else self._phrases[fact.attribute].tell
        return self._filled(self._source.choice(ways), fact)

    def _changed(self, fact: _Fact) -> str:
        ways = CHANGE if fact.plain else self._phrases[fact.attribute].change
        return self._filled(self._source.choice(ways), fact)

    def _filled(self, phrase: str, fact: _Fact) -> str:
        return with_article(filled(phrase, fact.attribute, fact.value))

    def _messages(self, turns: Sequence[tuple[str, bool]]) -> Iterator[SaidMessage]:
        for number, (text, tells) in enumerate(turns):
            fresh = number > 0 and self._happens(FRESH_SHARE)
            if number > 0 and not fresh:  # the last reply of a conversation would have no effect
                yield SaidMessage(role="assistant", content=self._reply())
            yield SaidMessage(role="user", content=text, fresh=fresh, tells=tells)

    def _reply(self) -> str:
        source = self._source
        ways = (ACKNOWLEDGEMENTS, lines("replies"), [reply for _, reply in CHATTER])
        chosen = source.choice(source.choices(ways, (3, 5, 1))[0])
        return chosen.replace("{v}", "it").replace("{a}", "that")

    def _questions(self, facts: Sequence[_Fact]) -> Iterator[Question]:
        source = self._source
        count = min(len(facts), QUESTIONS_MAX)
        known = {fact.attribute for fact in facts}
        for fact in source.sample(list(facts), count):
            yield self._question(fact)
        names = [
            name
            for name in self._phrases
            if not any(name in group and group & known for group in (known, *AMBIGUOUS))
        ]
        for _ in range(source.choice(NOT_TOLD_COUNTS)):
            is_never = self._happens(NEVER_TOLD_SHARE)
            yield source.choice(self._never) if is_never else self._not_told(source.choice(names))
        if self._happens(GENERAL_SHARE):
            yield Question(ask=source.choice(self._requests), answer=None)

    def _question(self, fact: _Fact) -> Question:
        phrases = self._phrases[fact.attribute]
        requests = [request for request in personal_requests() if request.attribute == fact.attribute]
        if requests and self._happens(PERSONAL_REQUEST_SHARE):
            chosen = self._source.choice(requests)
            return Question(ask=chosen.ask, answer=self._filled(chosen.reply, fact), value=fact.value)
        if fact.plain and self._happens(0.6):
            ask = self._filled(self._source.choice(ANY.ask), fact)
            return Question(ask=ask, answer=filled(ANSWER, fact.attribute, fact.value), value=fact.value)
        answer = self._filled(phrases.answer[0], fact)
        return Question(ask=self._source.choice(phrases.ask), answer=answer, value=fact.value)

    def _not_told(self, name: str) -> Question:
        phrases = self._phrases[name]
        if name in ATTRIBUTES and self._happens(PLAIN_SHARE):
            ask = filled(self._source.choice(ANY.ask), name)
            return Question(ask=ask, answer=filled(NOT_TOLD, name))
        return Question(ask=self._source.choice(phrases.ask), answer=phrases.unknown[0])

    def _line(self, name: str) -> str:
        return self._source.choice(lines(name))

    def _happens(self, share: float) -> bool:
        return self._source.random() < share
