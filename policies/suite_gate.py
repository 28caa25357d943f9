"""Whether a candidate still answers the questions of its person's own suite that were answered before."""

import re
from collections.abc import Collection, Sequence

NAMED_MAX = 3
"""Only the first questions that it fails are named."""

NAME_CHARACTERS_MAX = 80

_QUOTED = re.compile("“[^”]*(?:”|$)")


def suite_objection(before: Sequence[str], candidate: Collection[str]) -> str | None:
    """Say which questions are no longer answered; None if all that were passed ``before`` still are.

    Both have the questions that are passed, each by its own words.
    """
    lost = [question for question in before if question not in candidate]
    if not lost:
        return None
    named = [f"“{_name(question)}”" for question in lost[:NAMED_MAX]]
    more = len(lost) - len(named)
    last = f"{more:,} more" if more else named.pop()
    listed = f"{', '.join(named)} and {last}" if named else last
    return f"it no longer answers {listed} as the suite wants"


def without_words(objection: str) -> str:
    """Return an objection without the words of the questions, for what is kept or logged unsealed."""
    return _QUOTED.sub("“…”", objection)


def _name(question: str) -> str:
    words = " ".join(question.split()).replace("“", '"').replace("”", '"')
    return words if len(words) <= NAME_CHARACTERS_MAX else f"{words[: NAME_CHARACTERS_MAX - 1]}…"
