"""Recognises questions in what a person says, and what they tell beside them.

What is in a question was asked for, and not told.
"""

import re

from populace.policies.retrieval import words_of

MARKS = "?\uff1f\u061f\u037e"
"""Question marks, also those of Chinese, Arabic and Greek."""

ASKING = re.compile(rf"(?<![^.!。！\n{MARKS}])[^.!。！\n{MARKS}]*[{MARKS}]")
"""Matches a question, from the end of the sentence before it: tried from each letter, a long text without a
mark takes time that is squared. What people ask is less likely to be about themselves than what they say."""

OPENING = re.compile(
    r"(?:(?:and|but|hey|hi|oh|ok|okay|please|so|sorry|um)[\s,]+)*"
    r"(?:(?:what|who|whose|where|when|which|how)\b(?:['’]s)?(?!\s+(?:an?|he|i|it|my|our|she|they|we|you)\b)"
    r"|(?:do you (?:know|remember)|remind me|tell me)\b)[^.!?]*\.?",
    re.IGNORECASE,
)
"""Matches a question without its mark, such as "what do people call me", but not "when I was a child I lived
in Rome". Of 120 questions that one person wrote 16 had no mark; of 300 sentences that tell something none
matches."""

ADVICE = re.compile(
    r"\b(?:why|should|could|would|might|write|how (?:do|does|to|can|should|could|would)"
    r"|(?:can|may|must) (?:i|we)|can you (?!tell\b|remind\b)|do (?:i|we) (?:do|have to|say|tell))\b",
    re.IGNORECASE,
)
"""What asks for advice or for a text, also about what the person told, and not for what that was."""

QUESTION_CHARACTERS_MAX = 300
"""A longer message is no question that is asked again, but a text with one at its end."""

GREETING_WORDS_MAX = 2
"""A message may have so few words beside its questions and still be nothing but these."""


def told_in(text: str) -> str:
    """Return the text without its questions."""
    return ASKING.sub(" ", text)


def is_question(text: str) -> bool:
    """Return whether a message asks, and tells nothing: it ends with its mark, or opens as people ask."""
    text = text.strip()
    if len(text) > QUESTION_CHARACTERS_MAX:
        return False
    is_marked = text.endswith(tuple(MARKS)) and len(words_of(told_in(text))) <= GREETING_WORDS_MAX
    return is_marked or OPENING.fullmatch(text) is not None


def asks_for_told(text: str) -> bool:
    """Return whether a message may ask for something that its person told: a question, and not for advice."""
    return is_question(text) and ADVICE.search(text) is None
