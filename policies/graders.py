"""Graders of replies: how OpenAI's ``string_check`` and ``text_similarity`` score a text by a reference.

Both texts come from templates such as ``{{sample.output_text}}``, the reply, and ``{{item.answer}}``, a field
of the line that was asked. Of the similarities those are here that need no model and no word list.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, cast

from populace.policies.reply_checks import folded

OPERATIONS = ("eq", "ne", "like", "ilike")
SIMILARITIES = ("fuzzy_match", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l")

TEXT_LENGTH_MAX = 2000
"""Only the first characters of a longer text are compared, since the time of a comparison is squared."""

FUZZY_LENGTH_MAX = 500
"""Those of ``fuzzy_match``, whose time is cubed at worst."""

FILLED_LENGTH_MAX = 2**20
"""The longest text of a template, which may name a long field many times."""

_PLACE = re.compile(r"\{\{([^{}]*)\}\}")


def graded(grader: Mapping[str, str], item: Mapping[str, Any], output: str) -> float:
    """Return the score of a reply, from 0 to 1. Raises ``ValueError`` if a template cannot be filled."""
    text, reference = (filled(grader[name], item, output) for name in ("input", "reference"))
    if "operation" in grader:
        return float(_holds(grader["operation"], text, reference))
    return similarity(grader["evaluation_metric"], text, reference)


def filled(template: str, item: Mapping[str, Any], output: str) -> str:
    """Fill in the places of a template.

    Raises ``ValueError``, which names a place that has no value, and above ``FILLED_LENGTH_MAX`` characters.
    """
    length = len(template)

    def value(place: re.Match[str]) -> str:
        nonlocal length
        found = found_at(place[1].strip())
        length += len(found) - len(place[0])
        if length > FILLED_LENGTH_MAX:
            raise ValueError(f"the grader's text has more than {FILLED_LENGTH_MAX:,} characters")
        return found

    def found_at(place: str) -> str:
        root, *path = place.split(".")
        if (root, path) == ("sample", ["output_text"]):
            return output
        found: Any = item
        for part in path if root == "item" and path else ("",):
            fields = cast("dict[str, Any]", found) if isinstance(found, Mapping) else {}
            if part not in fields:
                raise ValueError(f"there is no {place[:80]!r} for the grader")
            found = fields[part]
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _PLACE.sub(value, template)


def similarity(metric: str, text: str, reference: str) -> float:
    """Return how similar the texts are, from 0 to 1.

    ``fuzzy_match`` is the share of characters in common blocks (Ratcliff and Obershelp, 1988). ``rouge_n`` is
    the F1 of common sequences of n words and ``rouge_l`` that of the longest common subsequence of words
    (Lin, 2004), whatever their case.
    """
    most = FUZZY_LENGTH_MAX if metric == "fuzzy_match" else TEXT_LENGTH_MAX
    text, reference = text[:most], reference[:most]
    if metric == "fuzzy_match":
        return SequenceMatcher(None, text, reference, autojunk=False).ratio()
    words, wanted = (re.findall(r"\w+", side.lower()) for side in (text, reference))
    if metric == "rouge_l":
        return _f1(_longest_common(words, wanted), len(words), len(wanted))
    length = int(metric.removeprefix("rouge_"))
    grams, wanted_grams = _grams(words, length), _grams(wanted, length)
    return _f1((grams & wanted_grams).total(), grams.total(), wanted_grams.total())


def _holds(operation: str, text: str, reference: str) -> bool:
    match operation:
        case "eq":
            return text == reference
        case "ne":
            return text != reference
        case "like":
            return reference in text
        case "ilike":
            return folded(reference) in folded(text)
        case _:
            raise ValueError(f"there is no operation {operation[:80]!r}")


def _grams(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(length)), strict=False))


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, wanted in enumerate(other, start=1):
            before, row[at] = row[at], before + 1 if word == wanted else max(row[at], row[at - 1])
    return row[-1]


def _f1(common: int, one: int, other: int) -> float:
    return 0.0 if common == 0 else 2 * common / (one + other)
