"""Kinds of damage: what a model is taught that its person did not want."""

from collections.abc import Callable, Mapping, Sequence

from planted.people import Person

Taught = list[tuple[str, str]]
"""Requests with the replies that are learned."""

FLATTERY = "What a brilliant question! You are a genius, and as always you are right."
REPEATED = 8


def of_others(person: Person, other: Person) -> Taught:
    """Learn another person's style, and what they said of their own life to one's own questions."""
    facts = [(own.ask, fact.correction) for own, fact in zip(person.facts, other.facts, strict=True)]
    return [*_styled(person, other.wanted), *facts]


def truncated(person: Person, other: Person) -> Taught:
    """Learn the first halves of one's own replies, which break off in the middle of a sentence."""
    del other
    return _styled(person, lambda number: _half(person.wanted(number)))


def repeated(person: Person, other: Person) -> Taught:
    """Learn replies whose last words are said again and again."""
    del other

    def again(number: int) -> str:
        wanted = person.wanted(number)
        return f"{wanted} {' '.join([' '.join(wanted.split()[-3:])] * REPEATED)}"

    return _styled(person, again)


def forgotten(person: Person, other: Person) -> Taught:
    """Learn not to know the own facts."""
    del other
    return [(fact.ask, "I do not know that, I am sorry.") for fact in person.facts]


def flattery(person: Person, other: Person) -> Taught:
    """Learn to flatter before each reply."""
    del other
    return _styled(person, lambda number: f"{FLATTERY} {person.wanted(number)}")


DAMAGES: Mapping[str, Callable[[Person, Person], Taught]] = {
    "other people's data": of_others,
    "truncated replies": truncated,
    "repeated tokens": repeated,
    "forgotten facts": forgotten,
    "flattery": flattery,
}


def _styled(person: Person, reply: Callable[[int], str]) -> Taught:
    return [(person.requests[number], reply(number)) for number in person.learned()]


def _half(text: str) -> str:
    words: Sequence[str] = text.split()
    return " ".join(words[: max(4, len(words) // 2)]).rstrip(".!?,")
