"""Names texts of people's in a sentence by quoting their beginnings, and takes the quotations out again."""

import re
from collections.abc import Sequence

NAMED_MAX = 3
"""Only the first texts are named."""

NAME_CHARACTERS_MAX = 80

_QUOTED = re.compile("“[^”]*(?:”|$)")


def listed(texts: Sequence[str]) -> str:
    """Return “the first”, “the second” and 7 more; there must be one at least."""
    named = [f"“{_name(text)}”" for text in texts[:NAMED_MAX]]
    more = len(texts) - len(named)
    last = f"{more:,} more" if more else named.pop()
    return f"{', '.join(named)} and {last}" if named else last


def without_words(sentence: str) -> str:
    """Return a sentence without the words that it quotes, for what is kept or logged unsealed."""
    return _QUOTED.sub("“…”", sentence)


def _name(text: str) -> str:
    words = " ".join(text.split()).replace("“", '"').replace("”", '"')
    return words if len(words) <= NAME_CHARACTERS_MAX else f"{words[: NAME_CHARACTERS_MAX - 1]}…"
