"""Decides whether a reply is whole, or stops in the middle of a sentence."""

import re
import unicodedata

SENTENCE_WORDS_MIN = 4
"""A reply of fewer words ("Lisbon", "About two hours") needs no full stop."""

QUOTES = "\"'“”‘’«»`"
CLOSING = QUOTES + ")]}*_~ \n\t"
FINAL = ".!?…"

_ITEM = re.compile(r"\s*(?:[-*•+]|\d+[.)])\s")


def ends_open(text: str) -> bool:
    """Return whether the text stops in the middle of a sentence.

    It does not if it ends with final punctuation (before any quotes, brackets and emphasis), a symbol such as
    an emoji, a block of code or a "[placeholder]", if it has few words, or if it is a list whose earlier
    items have no final punctuation either. An empty text does.
    """
    text = text.strip()
    if text.endswith(("```", "]")):
        return False
    bare = text.rstrip(CLOSING)
    if not bare:
        return True
    if bare[-1] in FINAL or unicodedata.category(bare[-1]) == "So":
        return False
    lines = [line for line in text.splitlines() if line.strip()]
    items = [line for line in lines if _ITEM.match(line)]
    if len(items) > 1 and items[-1] == lines[-1]:
        return items[-2].rstrip(CLOSING)[-1:] in FINAL
    return len(text.split()) >= SENTENCE_WORDS_MIN
