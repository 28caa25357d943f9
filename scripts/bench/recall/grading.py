"""Grades replies: right or outdated, broken off, an admission, or as an instruction asks. Pure functions."""

import json
import re
from typing import NamedTuple

from populace.actors.engine import FinishReason
from populace.policies.whole_replies import QUOTES, ends_open
from scripts.bench.recall.held_out import Check, Question

_FENCED = re.compile(r"```\w*\s*\n?(.*?)\n?\s*```", re.DOTALL)

_NOT = r"(?:\ not|n't|\ never|not)"
_NOT_TOLD = re.compile(
    rf"""
      \byou\ (?:(?:have|had|did|do|could){_NOT}|never|have\ yet\ to)\ (?:yet\ |ever\ |actually\ |been\ )*
        (?:told|tell|said|say|mention(?:ed)?|shared?|g[ai]ven?|provided?|specif(?:y|ied)|stated?)\b
    | \bI\ (?:was|have|had|did){_NOT}\ (?:yet\ |ever\ )?(?:been\ )?(?:told|given|informed)\b
    | \bI\ (?:do|did|can|could){_NOT}\ (?:really\ |actually\ |currently\ |yet\ |exactly\ )?
        (?:know|remember|recall|access|see|tell\ you|find\ out|look\ up)\b
    | \bI(?:\ am|'m)\ (?:not\ (?:sure|certain|aware)|unsure|unaware)\b
    | \bI(?:\ am|'m)\ (?:unable|not\ able)\ to
        \ (?:know|remember|recall|access|see|tell|find|determine|retrieve)\b
    | \bI\ (?:(?:do|did){_NOT}\ (?:currently\ |actually\ )?have|have\ no)
        \ (?:(?:any|the|that|this|enough|direct|specific|such|personal|real-time|your|an?|or)\ )*
        (?:access|information|info|data|details?|records?|knowledge|memory|memories|idea|way|means)\b
    | \b(?:not|never)\ (?:been\ )?(?:told|mentioned|shared|provided|specified)\ (?:to\ me|by\ you|me)\b
    | \b(?:there\ is|there's)\ no\ (?:information|mention|record)\b
    | \b(?:(?:could|can|would)\ you(?:\ please)?|please)
        \ (?:(?:tell|remind|give)\ me|provide(?:\ me\ with)?|share)\ (?:what|which|who|where|when|how|your)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLAIM = re.compile(
    r"\b(?:but|however|though),? (?:I (?:think|believe|guess) )?your [^.?!,]{1,40} (?:is|are|was|were) ",
    re.IGNORECASE,
)

_ONES = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


class Reply(NamedTuple):
    """A reply, and why it ended: ``length`` means that it reached the limit of tokens."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


def is_right(question: Question, reply: str) -> bool:
    """Return whether the reply has one of the question's values, if it has any, and no wrong one."""
    if _has_one(reply, question.wrong):
        return False
    return not question.value or _has_one(reply, question.value)


def is_outdated(question: Question, reply: str) -> bool:
    """Return whether the reply has a value that was corrected since, and not the current one."""
    return _has_one(reply, question.old) and not _has_one(reply, question.value)


def names_value(reply: str, value: str | None) -> bool:
    """Return whether the reply has the value as whole words, in any letter case; False for None."""
    return (
        value is not None and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", reply, re.IGNORECASE) is not None
    )


def admits(reply: str) -> bool:
    """Return whether the reply says that it was not told, does not know, or has to be told first.

    A reply that then claims a value nevertheless ("I'm not sure, but your bank is ...") does not count.
    """
    reply = _straight(reply)
    return _NOT_TOLD.search(reply) is not None and _CLAIM.search(reply) is None


def denies(reply: str, *, right: bool) -> bool:
    """Return whether a reply about a told fact says that it was not told; a right reply never does."""
    return not right and admits(reply)


def is_broken_off(reply: Reply, base: Reply) -> bool:
    """Return whether the model stopped in the middle of a sentence where the base did not.

    A reply that reached the limit of tokens was not stopped by the model.
    """
    return _stopped_open(reply) and not _stopped_open(base)


def follows(check: Check, reply: str) -> bool:
    """Return whether the reply passes the check; quotation marks around it are ignored."""
    text = reply.strip().strip(QUOTES).strip()
    letters = [character for character in text if character.isalpha()]
    if check.contains is not None:
        return all(_has_one(text, (part,)) for part in check.contains)
    if check.words is not None:
        return _words(text) == check.words
    if check.words_max is not None:
        return 0 < _words(text) <= check.words_max
    if check.uppercase is not None:
        return bool(letters) and all(letter.isupper() for letter in letters)
    if check.lowercase is not None:
        return bool(letters) and all(letter.islower() for letter in letters)
    if check.lines is not None:
        return sum(bool(line.strip()) for line in text.splitlines()) == check.lines
    if check.starts_with is not None:
        return text.startswith(check.starts_with)
    if check.ends_with is not None:
        return any(
            ending.endswith(check.ends_with) for ending in (text, text.removesuffix(".").rstrip(QUOTES))
        )
    if check.number is not None:
        return has_number(text, check.number)
    return _is_json(reply)


def has_number(text: str, number: int) -> bool:
    """Return whether the text has the number in digits or, up to 100, in words; 36 and 6.5 do not have 6."""
    digits = rf"(?<!\d)(?<!\d[.,]){number}(?!\d)(?![.,]\d)"
    return re.search(rf"{digits}|{_in_words(number)}", text, re.IGNORECASE) is not None


def _in_words(number: int) -> str:
    """Return a pattern of the number's words that is not found in those of a larger number.

    The pattern of a number beyond 100 matches nothing.
    """
    ends_here = rf"\b(?![- ](?:{'|'.join((*_ONES[1:], 'hundred', 'thousand'))})\b)"
    before = "".join(rf"(?<!{word}[- ])" for word in (*_TENS, "hundred", "hundred and"))
    if 0 <= number < 20:
        return rf"{before}\b{_ONES[number]}{ends_here}"
    if number == 100:
        return rf"\b(?:a|one) hundred{ends_here}(?! and )"
    if 20 <= number < 100:
        ones = f"[- ]{_ONES[number % 10]}" if number % 10 else ""
        return rf"{before}\b{_TENS[number // 10 - 2]}{ones}{ends_here}"
    return r"(?!)"


def _is_json(reply: str) -> bool:
    text = reply.strip()
    fenced = _FENCED.fullmatch(text)
    try:
        json.loads(text if fenced is None else fenced.group(1))
    except ValueError:
        return False
    return True


def _stopped_open(reply: Reply) -> bool:
    return reply.finish_reason == "stop" and ends_open(reply.text)


def _words(text: str) -> int:
    return sum(any(character.isalnum() for character in part) for part in text.split())


def _has_one(reply: str, parts: tuple[str, ...]) -> bool:
    folded = _straight(reply).casefold()
    return any(_straight(part).casefold() in folded for part in parts)


def _straight(text: str) -> str:
    return text.replace("’", "'")
