"""From a JSON schema to a grammar of ``llguidance``, which vLLM's guidance backend uses too.

The schemas are those that ``actors/response_schema.py`` let pass. No torch here: the gateway checks
schemas as well.
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


async def check_schema(schema: str | None, parameter: str = PARAMETER) -> None:
    """Raise ``InvalidRequest`` if no grammar can be made of the schema; does not block the event loop."""
    if schema is None:
        return
    problem = await asyncio.to_thread(problem_of, schema)
    if problem:
        raise refused(problem, parameter)


@functools.lru_cache(CHECKED_MAX)
def problem_of(schema: str) -> str:
    """Say why no grammar can be made of the schema; empty if one can."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(guided_schema(schema))
    except ValueError as error:
        return str(error)
    # The first step, over a vocabulary of bytes: schemas without any valid value fail no earlier.
    matcher = LLMatcher(_BYTES, grammar, log_level=0, limits=_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error() if matcher.is_error() else ""


def refused(problem: str, parameter: str = PARAMETER) -> InvalidRequest:
    """Make the error for a schema with this problem."""
    problem = " ".join(problem.partition("\n<")[0].split()).replace(
        "NoExtensionBias", "no value satisfies it"
    )
    return InvalidRequest(f"Replies cannot be held to this JSON schema: {problem:.500}.", parameter)
