"""Recognises messages that say nothing without what was said before them: "Yes.", "and now?", "which one".

What answers one of them is no answer to it anywhere else.
"""

from collections.abc import Sequence

from populace.policies.common_words import is_content
from populace.policies.ingestion import RoleAndContent, turn_start
from populace.policies.retrieval import spoken_in, words_of
from populace.policies.same_question import asks_for_something, asks_model, is_english

_GOING_ON = (
    "yes yep yeah yup no nope nah ok okay sure right exactly correct wrong true false maybe perhaps really"
    " please thanks thank continue go going on more again further next now then stop done wait hm hmm oh well"
    " first second third last former latter other another both neither none all any either here there"
    " good great fine nice cool"
)
GOING_ON = frozenset(_GOING_ON.split())
"""Words that go on with what was said, beside those that are in most requests."""

_GREETINGS = frozenset(["hello", "hi", "hey", "hiya", "goodbye", "bye"])
_OF_SELF = frozenset(["i", "my", "mine", "we", "our", "ours"])

FOREIGN_WORDS_MAX = 2
"""A message of so few words in another language is taken for one that goes on: "ja bitte"."""
CHARACTERS_MAX = 4
"""This many characters of a script without spaces count as these words do."""


def is_follow_up(messages: Sequence[RoleAndContent], history_turns: int) -> bool:
    """Return whether a turn's message follows up on what its prompt had before it, and says nothing else.

    ``messages`` are the turn's own, and ``history_turns`` counts the earlier turns before these.
    """
    is_later = history_turns > 0 or turn_start(messages) > 0
    return is_later and follows_up("\n".join(spoken_in(messages)))


def follows_up(text: str) -> bool:
    """Return whether a message in the middle of a conversation says nothing by itself.

    What asks about the person or the model does, as "Who am I?", and a sum or a greeting.
    """
    words = words_of(text)
    is_asked = asks_for_something(text) and (asks_model(text) or not _OF_SELF.isdisjoint(words))
    if is_asked or not _GREETINGS.isdisjoint(words) or any(map(str.isdigit, text)):
        return False
    if all(word in GOING_ON or not is_content(word) for word in words):
        return True
    characters = [word for word in words if len(word) == 1 and not word.isascii()]
    are_few = len(words) <= (CHARACTERS_MAX if len(characters) == len(words) else FOREIGN_WORDS_MAX)
    return are_few and not is_english(text)
