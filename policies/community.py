"""Decides what of people's replies everybody's model learns, and what it must not say.

Only liked replies are learned. A correction teaches what its person knows, "my dog is called Bruno", and is
true for them alone; a liked reply shows how people want to be answered. What is left of a person in a liked
reply are words that they told: a reply with a word that one person alone told is not learned, and the model
that comes of it must not say such a word to strangers.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from statistics import median_low
from typing import NamedTuple

from populace.policies.common_words import SHARES
from populace.policies.retrieval import words_of

LIKED_MAX = 512
"""At most this many liked replies of a person, the newest, are looked at."""

HELD_OUT_MAX = 16
"""At most this many held-out replies of a person, the newest, judge a candidate."""

LAST_LETTER = "\u309f"
"""Letters of scripts without spaces end here: hiragana, Thai, Lao, Burmese, Khmer. Behind it are katakana,
of foreign words and names, and Chinese characters."""


class ToldWords:
    """The words that people told, each with whether one person alone did.

    In scripts without spaces it is parts of words, see ``_parts``.
    """

    def __init__(self) -> None:
        self._by: dict[str, int | None] = {}

    def add(self, person: int, text: str) -> None:
        """Note that the person of this number, from 0, told the text."""
        for word in {*words_of(text), *_parts(text)}:
            # Function words and single letters are nobody's, however few people there are.
            if word not in SHARES and not (len(word) == 1 and word.isascii()):
                self._by[word] = person if self._by.get(word, person) == person else None

    def private_in(self, text: str) -> set[str]:
        """Return the words of the text that one person alone told."""
        return {word for word in _parts(text) if self._by.get(word) is not None}

    def leaks(self, replies: Iterable[str], known: Iterable[str]) -> set[str]:
        """Return the private words of the replies that are in none of the texts ``known`` to everybody."""
        said = {word for reply in replies for word in self.private_in(reply)}
        return said.difference(*map(_parts, known))


def _parts(text: str) -> Iterator[str]:
    """Yield the words of a text, and where a script has no spaces what stands for them.

    One character in a row says nothing: one person tells of 王小明, and soon all have used 王, 小 and 明. So
    three of them in a row count, and two if they are no letters: a sentence has many pairs of letters, and in
    most there would be one that one person alone told.
    """
    folded = unicodedata.normalize("NFKC", text.casefold())
    # Marks belong to the letters that they stand at.
    spoken = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in folded)
    for run in spoken.split():
        words = words_of(run)
        yield from (word for word in words if len(words) == 1 or not _is_character(word))
        for row in chain(pairwise(words), zip(words, words[1:], words[2:], strict=False)):
            if all(map(_is_character, row)) and (len(row) > 2 or min(row) > LAST_LETTER):
                yield "".join(row)


def _is_character(word: str) -> bool:
    """Whether a word that others follow without a space is one character of a script without spaces."""
    return len(word) == 1 and not word.isascii()


class Liked(NamedTuple):
    """A liked reply, what was asked, and the place of its example."""

    asked: str
    reply: str
    place: int


def for_everybody(people: Sequence[Sequence[Liked]], told: ToldWords) -> list[list[int]]:
    """Return for each person the places of the replies that everybody may learn, in their order.

    Left out are replies with private words, and those to the same question in the same words, whatever case
    and marks, that a person before gave already.
    """
    known: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    chosen: list[list[int]] = []
    for liked in people:
        places: list[int] = []
        for asked, reply, place in liked:
            exchange = (tuple(words_of(asked)), tuple(words_of(reply)))
            if exchange not in known and not told.private_in(reply):
                known.add(exchange)
                places.append(place)
        chosen.append(places)
    return chosen


def equal_shares(people: Sequence[Sequence[int]]) -> list[int]:
    """Return how many replies of each person, the newest, are learned, given the tokens of each reply.

    No person gives more tokens than the one in the middle has, to within a reply: who talks a lot counts as
    much as others do, and who talks little does not make everybody's text little.
    """
    totals = [sum(tokens) for tokens in people if tokens]
    most = median_low(totals) if totals else 0
    counts: list[int] = []
    for tokens in people:
        count = given = 0
        while count < len(tokens) and given < most:
            count += 1
            given += tokens[-count]
        counts.append(count)
    return counts
