"""Whether a reply is right: the checks of verifiable rewards and of a person's own suite."""

import math
import re
from typing import Literal

ReplyCheck = Literal["contains", "exact", "number", "matches", "likeness"]

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def is_exact(reply: str, wanted: str) -> bool:
    """Whether the reply equals the wanted text apart from surrounding white space."""
    return reply.strip() == wanted.strip()


def last_number(reply: str) -> float | None:
    """Return the last number in the reply, None without one; a comma may part its thousands."""
    numbers = _NUMBER.findall(reply)
    return float(numbers[-1].replace(",", "")) if numbers else None


def matches_whole(reply: str, pattern: str) -> bool:
    """Whether the whole reply, apart from surrounding white space, matches a Python regular expression.

    Some patterns take time that doubles with each character; ``runtime/suites/matching.py`` bounds it.
    """
    return re.fullmatch(pattern, reply.strip(), re.DOTALL) is not None


def contains(reply: str, wanted: str) -> bool:
    """Whether the wanted text is in the reply, whatever the case of either."""
    return wanted.strip().lower() in reply.lower()


def problem_of(check: ReplyCheck, wanted: str) -> str | None:
    """Say why no reply could be checked against the wanted text, or return None."""
    match check:
        case "number":
            try:
                is_number = math.isfinite(float(wanted))
            except ValueError:
                is_number = False
            return None if is_number else f"{wanted[:80]!r} is no number"
        case "matches":
            try:
                re.compile(wanted, re.DOTALL)
            except (re.error, RecursionError, OverflowError) as error:
                return f"{wanted[:80]!r} is no regular expression: {str(error)[:80]}"
            return None
        case "contains" | "exact" | "likeness":
            return None
