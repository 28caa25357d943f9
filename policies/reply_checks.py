"""Checks whether a reply is right, for verifiable rewards and a person's own suite."""

import math
import re
import unicodedata
from typing import Literal

ReplyCheck = Literal["contains", "exact", "number", "matches", "likeness"]

_NUMBER = re.compile(
    r"(?:(?<!\w)[-+−])?"  # the minus of "10-12" and the hyphen of "COVID-19" are no signs
    r"(?:(?P<grouped>[1-9]\d*(?:,\d\d){0,6}(?:,\d{3})+(?!\d)(?:\.\d+)?)"  # 1,234.5 and 12,34,567
    r"|\d{1,3}(?:\.\d{3})+,\d+"  # 1.234,5
    r"|\d+(?:[.,]\d+)?)"
)


def is_exact(reply: str, wanted: str) -> bool:
    """Whether the reply equals the wanted text apart from surrounding white space."""
    return reply.strip() == wanted.strip()


def last_number(reply: str) -> float | None:
    """Return the last number in the reply, None without one; ``number_text`` says how it is read."""
    number = number_text(reply)
    return None if number is None else float(number)


def number_text(reply: str) -> str | None:
    """Return the last number in the reply as ``float`` reads it, None without one.

    A comma before exactly three digits parts thousands, as in 1,234.5, unless the number begins with 0. Any
    other comma begins decimals, as in 3,5 and 1.234,5 and 0,125. A minus after a letter or digit is no sign.
    """
    numbers = list(_NUMBER.finditer(reply))
    if not numbers:
        return None
    number = numbers[-1]
    text = number[0].replace("−", "-")
    if number["grouped"] or "," not in text:
        return text.replace(",", "")
    return text.replace(".", "").replace(",", ".")


def folded(text: str) -> str:
    """Return what texts have in common that differ in the case of letters or in how accents are stored."""
    return unicodedata.normalize("NFC", text.casefold())


def matches_whole(reply: str, pattern: str) -> bool:
    """Whether the whole reply, apart from surrounding white space, matches a Python regular expression.

    Some patterns take time that doubles with each character; ``runtime/suites/matching.py`` bounds it.
    """
    return re.fullmatch(pattern, reply.strip(), re.DOTALL) is not None


def contains(reply: str, wanted: str) -> bool:
    """Whether the wanted text is in the reply, whatever the case of either: ``STRASSE`` has ``Straße``."""
    return folded(wanted.strip()) in folded(reply)


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
