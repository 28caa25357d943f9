"""From a JSON schema or a pattern to a grammar of ``llguidance``, which vLLM's guidance backend uses too.

Schemas and patterns are those that ``actors/response_schema.py`` let pass. No torch here: the gateway checks
them as well.
"""

import asyncio
import functools
import json

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import PARAMETER

OPTIONS = {
    # A model that may write any white space can write nothing else until its tokens are used up, and
    # small ones do. These separators are those of Python's `json` and of most JSON that models have read.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Read as anyOf, which is the same where the alternatives have a discriminator, as pydantic's do.
    "coerce_one_of": True,
}
CHECKED_MAX = 256

_BYTES = LLTokenizer("byte")
_LIMITS = LLParserLimits(verbose_errors=False)


def guided_schema(schema: str) -> str:
    """Return the schema with the options of its grammar inside, the same for every engine."""
    return json.dumps({**json.loads(schema), "x-guidance": OPTIONS}, ensure_ascii=False)


def grammar_of(schema: str | None, pattern: str | None) -> str:
    """Write the grammar of the one that is given. Raises ``ValueError`` for a schema that has none."""
    if pattern is not None:
        return LLMatcher.grammar_from_regex(pattern)
    assert schema is not None
    return LLMatcher.grammar_from_json_schema(guided_schema(schema))


async def check_form(
    schema: str | None, pattern: str | None = None, parameter: str | None = PARAMETER
) -> None:
    """Raise ``InvalidRequest`` if no grammar can be made of the schema or pattern that ``parameter`` gave.

    Does not block the event loop.
    """
    if schema is None and pattern is None:
        return
    problem = await asyncio.to_thread(problem_of, schema, pattern)
    if problem:
        raise refused(problem, parameter)


@functools.lru_cache(CHECKED_MAX)
def problem_of(schema: str | None, pattern: str | None) -> str:
    """Say why no grammar can be made of the schema or the pattern; empty if one can."""
    try:
        grammar = grammar_of(schema, pattern)
    except ValueError as error:
        return str(error)
    # The first step, over a vocabulary of bytes: schemas without any valid value fail no earlier.
    matcher = LLMatcher(_BYTES, grammar, log_level=0, limits=_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error() if matcher.is_error() else ""


def refused(problem: str, parameter: str | None = PARAMETER) -> InvalidRequest:
    """Make the error for a schema or a pattern with this problem."""
    problem = " ".join(problem.partition("\n<")[0].split()).replace(
        "NoExtensionBias", "no value satisfies it"
    )
    return InvalidRequest(f"Replies cannot be held to this schema or pattern: {problem:.500}.", parameter)
