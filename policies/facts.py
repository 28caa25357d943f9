"""Decides whether a turn bears out an answer about its person: whether both say the same of the same one.

That they share words is not enough: "My son is allergic to peanuts" does not bear out "You are allergic to
peanuts", nor does "I am not allergic to peanuts", nor a question. So a turn is taken apart into clauses with
the one that each speaks of. A clause tells what a question asks for if it speaks of the same one and has the
words that say what is asked for right beside it; an answer has to be made of the words of such a clause. It
is made to show less rather than something wrong: what was so once, may be so, or is told in another way bears
out nothing. All words are English.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from populace.policies.common_words import is_content
from populace.policies.ownership import FUNCTION, meant, sentences
from populace.policies.questions import told_in
from populace.policies.retrieval import TEXT_CHARACTERS_MAX, words_of
from populace.policies.tellings import what_it_means
from populace.policies.told_answers import NEGATION, OF_ANSWERS, is_answer
from populace.policies.word_weights import beginning, beginnings

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")

_APART = re.compile(
    r"([,;:()—–]|\s-\s|\b(?:and|as|because|but|if|or|so|than|that|though|although|when|where|whether|which|while"
    r"|who|whose|whom)\b)",
    re.IGNORECASE,
)
"""What stands between two clauses."""

_OF_ANOTHER = frozenset(["if", "than", "that", "when", "whether", "which", "who", "whom", "whose", "where"])
"""What follows one of these speaks of another one, or of what may be."""

_OPENING = re.compile(
    r"\W*(?:(?:actually|also|anyway|by the way|btw|currently|for now|hello|here|hey|hi|in fact|no|now|oh"
    r"|ok|okay|these days|thanks|today|well|yes|yo)\b\W*)*",
    re.IGNORECASE,
)
_SELF = frozenset(["i", "im", "ive", "we"])
_OWNING = frozenset(["my", "our"])
_NAME = frozenset(["name", "names"])
_BEING = frozenset(["is", "are", "isn", "aren", "s"])
_NAMING = _BEING | _NAME | {"called", "named"}
_DOING = frozenset(["from", "like", "live", "work"])
"""Those that say what is asked for in a question such as "where do I live"."""

_SUBJECT_WORDS = (
    "a an anybody each every everybody everyone he her hers his it its many mine most no nobody one our "
    "ours she some somebody someone that the their there these they this those us you your yours"
)
_SUBJECTS = frozenset(_SUBJECT_WORDS.split())
"""What another subject begins with."""

_NEUTRAL = frozenset(["dear", "new", "own"])
_BETWEEN_WORDS = (
    "a also always am are be been bit both can cannot come could currently deathly do don does from gave had "
    "just longer mainly may might mostly never no not now often once only quit really severely should "
    "still stopped terribly thought up used usually very was were will would"
)
_BETWEEN = frozenset(_BETWEEN_WORDS.split())
"""What may stand between "I" and the words that say what is asked for."""

_MAY_BE = re.compile(
    r"['’](?:d|ll)\b|\bcan\b(?!['’]t)|\b(?:almost|before|could|former|formerly|gave up|going to|gonna|had"
    r"|late|longer|maybe|might|nearly|once|perhaps|quit|should|stopped|thought|till|until|used|was|were|wish"
    r"|would|(?-i:may|will))\b",
    re.IGNORECASE,
)
"""What was so, may be so, or will be."""

_JOKE = re.compile(r"\b(?:haha|joke|joking|kidding|lol)\b", re.IGNORECASE)
_NAMES = re.compile(r"\b(?:called|named)\b|\bnames? (?:is|are)\b|\b(?:is|are) (?=[A-Z])")
"""What an answer gives a name with."""

_GOING_ON = frozenset(["and", "but"])
"""What stands before something else that "I" do."""

_IN_OTHER_WORDS = (
    (r"\bI(?:['’]m| am) (\d{1,3})(?= years old|\s*[.,;!)]|\s*$| and | but )", r"I am old \1"),
    (
        r"\b(?:I|[Ww]e)(?: have|['’]ve got| got| own| adopted| bought) an? ([\w ]{1,30}?),? (called|named) ",
        r"My \1 is \2 ",
    ),
    (r"\bI (?:hate|can['’]?t stand|cannot stand|do(?:n['’]t| not) like) ", "I dislike "),
    (r"\bI(?:['’]m| am) from ", "I come from "),
    (r"\bused to\b", "used"),
    (
        r"\bI(?: want to|['’]d (?:love|like) to| would (?:love|like) to) (?:go to|see|visit) ",
        "I want to travel to ",
    ),
    (r"\bI(?: work as|['’]m working as) ", "I do for a living "),
)
"""What is asked for in other words than people tell it: those of the question."""


_ALSO = {
    "colour": "color",
    "favourite": "favorite",
    "film": "movie",
    "hobby": "hobbies",
    "kids": "children",
    "neighbour": "neighbor",
}
"""What is asked for, or answered, as the other."""


class _Word(NamedTuple):
    text: str
    """Case-folded, and without what follows an apostrophe."""
    is_capital: bool
    is_owner: bool

    @property
    def key(self) -> str:
        """What a word for a thing is compared by: "dog's" is not "dog"."""
        return _ALSO.get(self.text, self.text) + "'" * self.is_owner


class Clause(NamedTuple):
    """What a text says of its person, or of a thing of theirs: the words behind "I" or "my".

    ``before`` are the words before a thing, as in "Rex is my dog". ``texts`` are the clause and those that go
    on without another subject. It ``is_meant`` unless it is made up, wished, quoted or no more.
    """

    is_of_self: bool
    words: tuple[_Word, ...]
    before: tuple[_Word, ...]
    texts: tuple[str, ...]
    is_meant: bool = True


class FactQuestion:
    """A question for something about the person, taken apart once."""

    def __init__(self, question: str) -> None:
        self._question = question
        words = _words(question)
        own = next((place for place, word in enumerate(words) if word.text in _OWNING), len(words))
        me = next((place for place, word in enumerate(words) if word.text in _SELF), len(words))
        behind = [word for word in words[own + 1 :] if word.text not in _NEUTRAL]
        thing = list(takewhile(lambda word: word.text not in FUNCTION, behind))
        self._is_of_name = bool(thing) and thing[-1].text in _NAME
        # What is asked for of the person follows "I", and what is asked for of a thing is around that.
        said = [*words[:own], *behind[len(thing) :]] if thing else words[me + 1 :] or words
        # The thing in "my dog's name" is the dog, and in "my name" the name.
        thing = thing[:-1] if len(thing) > 1 and self._is_of_name else thing
        self._thing = [word.key for word in _without_owner(thing)]
        self._about = frozenset(beginning(word.text) for word in said if word.text not in FUNCTION - _DOING)
        self._is_of_self = me < len(words) and not self._thing

    def is_told(self, clause: Clause) -> bool:
        """Return whether the clause tells what is asked for, or that it was so or may be so."""
        if self._is_of_self:
            return clause.is_of_self and bool(self._about) and _stand_beside(self._about, clause.words)
        return (
            bool(self._thing)
            and not clause.is_of_self
            and self._begins(clause.words)
            and self._about <= {beginning(word.text) for word in clause.words}
            and (not self._is_of_name or _name(clause, len(self._thing)) is not None)
        )

    def is_borne_out_last(self, clauses: Iterable[Clause], answer: str) -> bool:
        """Return whether the last clause that tells what is asked for bears out the answer."""
        told = [clause for clause in clauses if self.is_told(clause)]
        return bool(told) and self.is_borne_out(told[-1], answer)

    def is_borne_out(self, clause: Clause, answer: str) -> bool:
        """Return whether the answer says of the same one what this clause says."""
        values = value_words(self._question, answer)
        texts = [text for text in clause.texts if not values.isdisjoint(words_of(text))]
        is_denied = NEGATION.search(self._question) is not None
        is_name = self._is_of_name or _NAMES.search(answer) is not None
        return (
            clause.is_meant
            and self._is_subject_of(answer)
            and values <= {word for text in texts for word in words_of(text)}
            and all((NEGATION.search(text) is not None) == is_denied for text in (answer, *texts))
            and not any(map(_MAY_BE.search, (answer, *clause.texts)))
            and (not is_name or _name(clause, len(self._thing)) in values)
            and is_answer(", ".join(clause.texts), self._question, answer)
        )

    def _begins(self, words: Sequence[_Word]) -> bool:
        """Return whether the words begin with the thing that is asked for, and not with one of its things."""
        words = [word for word in words if word.text not in _NEUTRAL]
        thing, behind = words[: len(self._thing)], words[len(self._thing) :]
        if behind and behind[0].text in _NAME:
            thing = _without_owner(thing)
        ends = not behind or behind[0].is_capital or behind[0].text in FUNCTION | _NAMING
        return [word.key for word in thing] == self._thing and ends

    def _is_subject_of(self, answer: str) -> bool:
        """Return whether the answer speaks of the same one; "what car do I drive" asks for "your car"."""
        words = _words(answer)
        your = next((place for place, word in enumerate(words) if word.text == "your"), len(words))
        of = words[your + 1 :]
        if self._thing or not of:
            return not of or self._begins(of)
        return beginning(of[0].text) in beginnings(words_of(self._question)) and not of[0].is_owner


def value_words(question: str, answer: str) -> frozenset[str]:
    """Return the words of an answer that say what was asked for."""
    asked = beginnings(words_of(question))
    return frozenset(
        word
        for word in words_of(answer)
        if is_content(word) and word not in OF_ANSWERS and beginning(word) not in asked
    )


def bears_out(said: str, question: str, answer: str) -> bool:
    """Return whether a turn in which this was said bears out the answer."""
    asked = FactQuestion(question)
    return asked.is_borne_out_last(clauses_of(said), answer)


def _without_owner(words: list[_Word]) -> list[_Word]:
    return [*words[:-1], *(word._replace(is_owner=False) for word in words[-1:])]


def _stand_beside(about: frozenset[str], words: Sequence[_Word]) -> bool:
    """Return whether all that is asked for stands right behind "I"."""
    missing = set(about)
    for word in words:
        is_asked = beginning(word.text) in missing
        missing.discard(beginning(word.text))
        if not missing:
            return True
        # "I want to travel", but not "I have to work".
        goes_on = is_asked or word.text in _BETWEEN or (word.text == "to" and len(missing) < len(about))
        if not goes_on:
            return False
    return False


def _name(clause: Clause, size: int) -> str | None:
    """Return how the name begins that is given to a thing of so many words: "my dog Rex", "Rex is my dog"."""
    behind = [word for word in clause.words if word.text not in _NEUTRAL][size:]
    names = clause.before or [word for word in behind if word.text not in _NAMING][:1]
    return names[0].text if names and all(word.is_capital for word in names) else None


def clauses_of(said: str) -> Iterator[Clause]:
    """Take apart what is said of the person and of what is theirs."""
    if len(said) > TEXT_CHARACTERS_MAX:
        return
    text = f"{what_it_means(said)} {told_in(said)}"
    are_meant = frozenset(() if _JOKE.search(said) else meant(text))
    for sentence in sentences(text):
        is_meant = sentence in are_meant
        for wording, plain in _IN_OTHER_WORDS:
            sentence = re.sub(wording, plain, sentence)
        found: Clause | None = None
        mark = ""
        for place, piece in enumerate(_APART.split(sentence)):
            if place % 2:
                mark = piece.casefold().strip()
                continue
            clause = None if mark in _OF_ANOTHER else _clause(piece)
            if clause is None and found is not None and mark not in _OF_ANOTHER and _goes_on(found, piece):
                if found.is_of_self and mark in _GOING_ON:
                    yield found._replace(words=tuple(_words(piece)), texts=(piece,))
                found = found._replace(texts=(*found.texts, piece))
                continue
            if found is not None:
                yield found
            found = clause and clause._replace(is_meant=is_meant)
        if found is not None:
            yield found


def _clause(text: str) -> Clause | None:
    words = _words(text[opening.end() :] if (opening := _OPENING.match(text)) else text)
    if not words:
        return None
    if words[0].text in _SELF:
        return Clause(True, tuple(words[1:]), (), (text,))
    own = next((place for place, word in enumerate(words) if word.text in _OWNING), None)
    if own is None or (own > 0 and words[own - 1].text not in _BEING):
        return None
    return Clause(False, tuple(words[own + 1 :]), tuple(words[: max(0, own - 1)]), (text,))


def _goes_on(clause: Clause, text: str) -> bool:
    """Return whether a clause without "I" and "my" still speaks of what the one before it did.

    It does if it begins with no other subject, or is one more name; "it" is a thing that was just named.
    """
    words = _words(text)
    if not words or words[0].text in _SUBJECTS:
        return not words or (words[0].text == "it" and not clause.is_of_self)
    return not words[0].is_capital or all(word.is_capital for word in words)


def _words(text: str) -> list[_Word]:
    words: list[_Word] = []
    for match in _WORD.finditer(unicodedata.normalize("NFKC", text)):
        stem, _, suffix = match[0].replace("’", "'").partition("'")
        text = stem.casefold()
        words.append(_Word(text, stem[0].isupper(), suffix.casefold() == "s" and text not in FUNCTION))
    return words
