"""Recognises questions in what a person says, and what they tell beside them.

What is in a question was asked for, and not told.
"""

import re

from populace.policies.retrieval import words_of

ASKING = re.compile(r"[^.!?\n]*\?")
"""Matches a question. What people ask is less likely to be about themselves than what they say."""

QUESTION_CHARACTERS_MAX = 300
"""A longer message is no question that is asked again, but a text with one at its end."""

GREETING_WORDS_MAX = 2
"""A message may have so few words beside its questions and still be nothing but these."""


def told_in(text: str) -> str:
    """Return the text without its questions."""
    return ASKING.sub(" ", text)


def is_question(text: str) -> bool:
    """Return whether a message asks, and tells nothing: it ends with a question mark."""
    text = text.strip()
    is_asking = text.endswith("?") and len(text) <= QUESTION_CHARACTERS_MAX
    return is_asking and len(words_of(told_in(text))) <= GREETING_WORDS_MAX
