"""Finds the turn that tells what a question asks for, and asks a model to read it there.

Which turn tells it is decided by words: the share of the weight of the question's words that the turn has,
as ``policies/word_weights.py`` weighs them, and whose thing both speak of. Where these find none, by how
alike a sentence encoder finds them. Most of a log is no telling:
questions, and long texts, which may be a stranger's.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from populace.policies.common_words import is_content
from populace.policies.corrections import NOTHING_ALIKE
from populace.policies.ownership import OwnQuestion, OwnText
from populace.policies.questions import asks_for_told, is_question, told_in
from populace.policies.retrieval import TEXT_CHARACTERS_MAX, Exchange, words_of
from populace.policies.same_question import asks_model, is_english
from populace.policies.told_answers import named, value_words
from populace.policies.word_weights import WordWeights

ASKED_SHARE = 0.5
"""A turn that has less of the weight of a question's words does not tell what is asked for.

Of hand-written tellings, each among nine others and 200 lines of small talk, a third of the questions find
theirs, one in 30 another one, and one in 60 general requests finds any.
"""

AS_GOOD = 0.8
"""A newer turn that fits a question nearly as well as the best one tells the same anew."""

LIKENESS_MIN = 0.45
"""The least likeness in meaning, the cosine of their vectors, of a question and a turn that tells it.

docs/retrieval.md has what this finds, and what it takes for something else.
"""

AS_ALIKE = 0.9
"""A newer turn that is nearly as alike as the most alike one tells the same anew."""

READING_TASK = (
    "The user tells you something and asks for it. Answer in one short sentence with what the user told you."
)
READING_SHOWN = (
    ("I live in Porto. Where do I live?", "You live in Porto."),
    ("My boss is called Hana, she is very kind. What's the name of my boss?", "Your boss is called Hana."),
    ("I bought a red bike for 300 euros. What did my bike cost?", "Your bike cost 300 euros."),
)
"""Examples of what is told and asked, and of the answer: without them a small base rarely reads it there."""


_INTRODUCTION = re.compile(
    r"\W*(?i:(?:hi|hello|hey|good (?:morning|afternoon|evening))(?: there)?\b[\s,.!-]*"
    r"(?:i['’]m|i am|this is)) (?P<name>[^\W\d_a-z][\w'’-]+)"
)
"""Only after a greeting: "I'm Italian" tells no name."""


_MOVE = re.compile(
    r"\b(?P<who>[Ii]|[Ww]e|[Mm]y \w+)(?:['’]ve| have| has)?(?: just| recently| now)? moved (?:\w+ )?"
    r"(?:to|into) (?P<place>[^\W\d_a-z][\w'’-]+(?: [^\W\d_a-z][\w'’-]+)*)"
)
"""A place begins with a capital: "I moved to the second floor" tells no home."""


def what_it_means(said: str) -> str:
    """Return a name or a home that is told in other words than people ask for them, in those; else nothing.

    Those are a name after a greeting ("Hi, I'm Nora.") and a place that someone moved to.
    """
    introduced, moved = _INTRODUCTION.match(said), _MOVE.search(said)
    name = "" if introduced is None else f" My name is {introduced['name']}."
    home = "" if moved is None else f" {moved['who']} live in {moved['place']}."
    return name + home


class Tellings:
    """Turns that tell something, by the beginnings of their words."""

    def __init__(self, turns: Sequence[tuple[int, str]]) -> None:
        """``turns`` are positions and what their person said there; those that tell nothing are left out."""
        telling: list[tuple[int, frozenset[str]]] = []
        turns = [(position, said + what_it_means(said)) for position, said in turns]
        for position, said in turns:
            words = words_of(told_in(said)) if len(said) <= TEXT_CHARACTERS_MAX else []
            if any(map(is_content, words)) and not is_question(said):
                telling.append((position, named(words)))
        # Told again and again, a word does not become a common one.
        self._weights = WordWeights(list({words for _, words in telling}))
        self._said = {position: OwnText(said) for position, said in turns}
        self._having: defaultdict[str, list[int]] = defaultdict(list)
        for position, words in telling:
            for word in words:
                self._having[word].append(position)

    def fitting(self, question: str) -> dict[int, float]:
        """Return the share of the weight of the question's words that each turn has, by its position.

        Only turns are returned that have one of the words that say what the question is about, and that tell
        of the person's own what it asks for as theirs (``ownership.py``).
        """
        words = words_of(question)
        about = named([word for word in words if is_content(word)])
        asked = named(words)
        whole = self._weights.of(asked)
        shares = dict.fromkeys((position for word in about for position in self._having.get(word, ())), 0.0)
        for word in asked:
            share = self._weights.of([word]) / whole
            for position in self._having.get(word, ()):
                if position in shares:
                    shares[position] += share
        own = OwnQuestion(question)
        return {at: share for at, share in shares.items() if own.is_told_in(self._said[at])}


def says_something(exchange: Exchange) -> bool:
    """Whether a prompt that shows this turn says more than that its user asked something.

    A turn is shown without the model's reply, unless that is a correction; a question alone tells nothing.
    """
    return exchange.is_corrected or not is_question(exchange.said)


def telling_for(
    question: str, exchanges: Sequence[Exchange], likeness: Mapping[int, float] = NOTHING_ALIKE
) -> Exchange | None:
    """Return the newest of the exchanges that tells what the question asks for; None if none does.

    The words decide, and if they find none the ``likeness`` in meaning of those that are ``comparable``, by
    their positions. None as well if one of the exchanges is a question with a corrected reply: that is to be
    read then.
    """
    if not asks_for_told(question) or any(one.is_corrected and is_question(one.said) for one in exchanges):
        return None
    fitting = Tellings([(exchange.position, exchange.said) for exchange in exchanges]).fitting(question)
    best = max(fitting.values(), default=0.0)
    if best >= ASKED_SHARE:
        newest = newest_as_good(fitting, best)
    else:
        best = max(likeness.values(), default=0.0)
        if best < LIKENESS_MIN:
            return None
        newest = max(at for at, like in likeness.items() if like >= max(LIKENESS_MIN, AS_ALIKE * best))
    told = next(exchange for exchange in exchanges if exchange.position == newest)
    return told if value_words(told.said, question) else None


def comparable(question: str, exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Return the turns that may tell what the question asks for, if they are alike in meaning."""
    if not asks_for_told(question) or asks_model(question) or not is_english(question):
        return []
    own = OwnQuestion(question)
    return [
        exchange
        for exchange in exchanges
        if len(exchange.said) <= TEXT_CHARACTERS_MAX
        and not is_question(exchange.said)
        and own.may_be_told_in(exchange.said)
    ]


def newest_as_good(fitting: Mapping[int, float], best: float) -> int:
    """Return the position of the newest turn that fits nearly as well as the ``best`` one."""
    return max(position for position, share in fitting.items() if share >= AS_GOOD * best)
