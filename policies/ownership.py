"""Decides whose thing a question asks for: the person's own, which a text tells, or anything else.

Nearly the same words ask for quite different things: "What is my dog called?", "What is her dog called?",
"What is a dog called in French?". What a person told or corrected answers the first one alone. All words here
are English; a question without them asks for nothing of one's own.
"""

import re
import unicodedata
from typing import NamedTuple

from populace.policies.common_words import is_content
from populace.policies.word_weights import beginning, beginnings

_OWNING = frozenset(["my", "our"])
_SUBJECTS = frozenset(["i", "we", "im", "ive", "mine", "ours", "myself", "ourselves"])
_OBJECTS = frozenset(["me", "us"])
_AT_HOME = frozenset(["home"])
_SELF = _OWNING | _SUBJECTS | _OBJECTS
_SELF_AT_HOME = _SELF | _AT_HOME
_OTHERS = frozenset(["his", "her", "their", "your", "its", "whose", "someone", "somebody"])

_FUNCTION_WORDS = """
    a about actually after again all also always am an and any are as at be been before being but by
    call called can did do does for from get gets go going got had has have he her him his how i if in
    into is it its know like live lives me my named need no not now of on one ones or our own please
    remember remind she so still tell that the their them then there these they this those to up us was
    we were what when where which who whose why will with work works you your
"""
FUNCTION = frozenset(_FUNCTION_WORDS.split())
"""Words that name no thing; a phrase for a thing ends at one."""

_DOING = frozenset(["call", "calls", "called", "live", "lives", "work", "works", "like", "likes", "need"])
"""Those that still say what "I" do in a question such as "where do I live"."""

_ADJECTIVES_WORDS = """
    best big current dear elder eldest entire favorite favourite final first good great last late little
    main maternal new next nice old only older oldest other own paternal present previous second small third
    usual whole young younger youngest
"""
_BEING = frozenset(["is", "was"])
_NAMED = frozenset(["called", "named"])

ADJECTIVES = frozenset(_ADJECTIVES_WORDS.split())

_PIECE = re.compile(r"(\w+(?:['’]\w+)?)|([.;:!?()\n])")
_SENTENCE_END = re.compile(r"(?<=[.!?\n。！？])\s+")
_NAME = re.compile(r"(?<=[\w,] )([A-Z]\w+)")

FRAGMENT_WORDS = 4
"""A question of so few words may leave out what it does not need: "sister's name?"."""

NEAR = 6
"""Words up to this place after "I" or "my" speak of the person or of their things."""

_TO_KEEP = (
    r"(?:(?:(?:can|could|would|will) you|please)\s+)*(?:remember|note|keep in mind|do(?:n['’]t| not) forget"
    r"|write (?:(?:this|that|it) )?down)\b"
)
"""How people begin what is to be kept, such as "Please remember: my dog is called Rex"."""

_UNSURE = re.compile(
    rf"^\W*(?!{_TO_KEEP})"
    r"(?:(?:can|could|would|will) you|please|translate|imagine|suppose|pretend|assume|let['’]?s|say|if"
    r"|write|give|make|draft|correct|rewrite|rephrase|proofread|summari[sz]e|explain|complete|continue|fix"
    r"|spell|act|put|you are|for example|what if"
    r"|in (?:my|the|a) (?:book|novel|story|film|movie|play|game|dream))\b"
    r"|\b(?:novel|fiction|fictional|story|character|imaginary|hypothetical(?:ly)?|pretend|imagine|example"
    r"|exercise|sentence|grammar|grammatical(?:ly)?|spelling|translate|dream(?:t|ed)"
    r"|used to|no longer|any ?more|former(?:ly)?|cancel(?:l?ed)?|called off"
    r"|when (?:\w+ ){1,2}(?:was|were) (?:small|young|little|kids|children|a (?:child|kid|girl|boy)))\b"
    r"|\b(?:said|says|saying|told everyone|telling everyone)\b.{0,40}(?:[:'\"“]|\bmy\b)"
    r"|\b(?:begins|reads|goes|writes|wrote)\b.{0,40}:|\b(?:i wish|if only|maybe|perhaps|might)\b"
    r"|[\"“”].{3,}[\"“”]|(?<!\w)['‘][^'’]{8,}['’](?!\w)",
    re.IGNORECASE | re.DOTALL,
)
"""What asks for a text, makes something up, wishes, quotes, or tells what is no more."""

_PASTED = re.compile(
    rf"\A\W*(?!{_TO_KEEP})(?:(?:(?:can|could|would|will) you|please)\s+)*"
    r"(?:answer|check|complete|continue|correct|explain|fix|improve|polish|proofread|read|rephrase|reply"
    r"|respond|rewrite|shorten|summari[sz]e|translate|write)\b[^.!?\n]*(?::|\n)"
    r"|^\s*>|^(?:from|to|cc|sent|subject):\s|\bwrote\b[^.!?\n]{0,40}:|^-{3,}\s*(?:original|forwarded)",
    re.IGNORECASE | re.MULTILINE,
)
"""What a task is given with, and mails: all of such a message may be another one's words."""


class Thing(NamedTuple):
    """A thing of the person's own: the beginning of the word for it, and those of the words beside that."""

    noun: str
    words: frozenset[str]


class _Word(NamedTuple):
    text: str
    """Empty for a mark at which a phrase ends."""
    is_owner: bool
    """Whether it has an 's, so that what follows is this one's."""

    @property
    def beginning(self) -> str:
        return beginning(self.text)


def speaks_of_self(text: str) -> bool:
    """Return whether the text has a word for the person or for what is theirs."""
    return any(word.text in _SELF for word in _words(text))


def owned(text: str) -> tuple[Thing, ...]:
    """Return what the text names as the person's own.

    "When is my sister's birthday?" names the sister, "my old dog" the dog, "my favourite" nothing; of "my
    office locker" the noun is the office, as nothing tells it from "my sister allergic".
    """
    words = _words(text)
    things: list[Thing] = []
    for place, word in enumerate(words):
        if word.text in _OWNING:
            nouns: list[str] = []
            for following in words[place + 1 : place + 4]:
                if not following.text or following.text in FUNCTION:
                    break
                if following.text not in ADJECTIVES:
                    nouns.append(following.beginning)
                if following.is_owner:
                    break
            if nouns:
                things.append(Thing(nouns[0], frozenset(nouns)))
    return tuple(things)


def owners_in(text: str) -> frozenset[str]:
    """Return the beginnings of the words with an 's: "Teresa's dog" has Teresa."""
    return frozenset(word.beginning for word in _words(text) if word.is_owner)


def names_in(text: str) -> frozenset[str]:
    """Return the beginnings of the words with a capital letter within a sentence."""
    return beginnings([match[1].casefold() for match in _NAME.finditer(text)])


def words_in(text: str) -> frozenset[str]:
    """Return the beginnings of all words."""
    return frozenset(word.beginning for word in _words(text) if word.text)


class OwnText:
    """A text, taken apart once, of which any number of questions may ask."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._near: dict[frozenset[str], set[str]] = {}
        self._named: set[str] | None = None

    def near(self, marks: frozenset[str]) -> set[str]:
        """Return the beginnings of the words near to one of the marks, in the sentences that are meant."""
        if marks not in self._near:
            self._near[marks] = _near_self(self.text, marks)
        return self._near[marks]

    def named(self) -> set[str]:
        """Return the beginnings of the names that the text gives to the person's own."""
        if self._named is None:
            self._named = _named_own(self.text)
        return self._named


class OwnQuestion:
    """A question, taken apart once, for which any number of texts are looked at.

    Each thing of the person's in the question has to be near to a word for the person in a sentence of the
    text that is meant, with no other owner between them. A question with "I" alone has to share such a word.
    One without may begin with the thing itself, or has nothing but words of the text, with the name that this
    gives to someone of the person's.
    """

    def __init__(self, question: str) -> None:
        self._things = owned(question)
        self._words = words = _words(question)
        self._owners = frozenset(word.beginning for word in words if word.is_owner)
        said = {word.text for word in words}
        self._is_of_self = not said.isdisjoint(_SELF)
        self._marks = _SUBJECTS | _OBJECTS if said & _OBJECTS else _SUBJECTS
        if self._is_of_self:
            about = [word for word in words if word.text not in FUNCTION | _SELF or word.text in _DOING]
        else:
            about = [word for word in words if is_content(word.text) and word.text not in ADJECTIVES]
        self._about = frozenset(word.beginning for word in about if word.text)

    def is_told_in(self, told: OwnText) -> bool:
        """Return whether the text tells of what the question asks for as the person's own."""
        if self._things:
            near = told.near(_SELF_AT_HOME)
            return all(thing.noun in near for thing in self._things)
        if self._is_of_self:
            return not self._about.isdisjoint(told.near(self._marks))
        if self._begins_with_thing_of(told.text):
            return True
        return not self._about.isdisjoint(told.named()) and self._about <= words_in(told.text)

    def may_be_told_in(self, text: str) -> bool:
        """Return whether a text that is alike in meaning may tell it, in words of its own.

        The question has to ask for something of the person's own, of no other owner than the text has, and
        the text to tell something of the person in a sentence that is meant.
        """
        words = words_in(text)
        is_of_these = self._owners <= words and all(thing.noun in words for thing in self._things)
        return self._is_of_self and is_of_these and any(map(speaks_of_self, meant(text)))

    def _begins_with_thing_of(self, text: str) -> bool:
        words = self._words
        is_fragment = 0 < len(words) <= FRAGMENT_WORDS and words[0].text not in FUNCTION
        return is_fragment and any(words[0].beginning == thing.noun for thing in owned(text))


def _named_own(text: str) -> set[str]:
    """Return the beginnings of the names that the text gives to the person's own.

    As in "my sister Lena", "Rex is my" and "my dog is called Bruno".
    """
    found = set[str]()
    for sentence in meant(text):
        words = _words(sentence)
        for place, word in enumerate(words):
            if word.text not in _OWNING:
                continue
            before, behind = words[:place], _behind_thing(words[place + 1 : place + 6])
            if len(before) == 2 and before[1].text in _BEING:
                found.add(before[0].beginning)
            if behind and behind[0].text not in _BEING | FUNCTION:
                found.add(behind[0].beginning)
            if len(behind) > 2 and behind[0].text in _BEING and behind[1].text in _NAMED:
                found.add(behind[2].beginning)
    return found


def _behind_thing(words: list[_Word]) -> list[_Word]:
    """Return what follows the first word that is no adjective."""
    noun = next((place for place, word in enumerate(words) if word.text not in ADJECTIVES), len(words))
    return words[noun + 1 :]


def sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text)


def meant(text: str) -> list[str]:
    """Return the sentences of the text that tell what is so."""
    if _PASTED.search(text):
        return []
    return [one for one in sentences(text) if not one.endswith("?") and _UNSURE.search(one) is None]


def _near_self(text: str, marks: frozenset[str]) -> set[str]:
    """Return the beginnings of the words near to one of the marks, in the sentences that are meant."""
    found = set[str]()
    for sentence in meant(text):
        words = _words(sentence)
        for place, word in enumerate(words):
            if word.text not in marks:
                continue
            for following in words[place + 1 : place + 1 + NEAR]:
                if not following.text or following.text in _OTHERS:
                    break
                found.add(following.beginning)
                if following.is_owner:
                    break
            if word.text in _OBJECTS | _AT_HOME:
                found.update(before.beginning for before in words[max(0, place - NEAR) : place])
    return found


def _words(text: str) -> list[_Word]:
    """Split into words; an empty one stands for a mark at which a phrase ends."""
    words: list[_Word] = []
    for piece in _PIECE.finditer(unicodedata.normalize("NFKC", text.casefold())):
        stem, _, suffix = (piece[1] or "").replace("’", "'").partition("'")
        words.append(_Word(stem, suffix == "s" and stem not in FUNCTION))
    return words
