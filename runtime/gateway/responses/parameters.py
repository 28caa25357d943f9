"""Parameters of OpenAI's Responses API that this server does not act on: accepted as hints, or refused.

The rule is that of ``gateway/parameters.py``: a hint changes nothing that the caller could miss.
"""

from typing import Annotated

from pydantic import BaseModel

from populace.gateway.completions.parameters import ANY, NO_REASONING, Hint, Refused


class UnusedResponseParameters(BaseModel):
    """``reasoning`` and others are hints; what would be missing from a response is refused by name."""

    reasoning: Annotated[ANY, Hint(NO_REASONING)] = None
    max_tool_calls: Annotated[ANY, Hint("it bounds calls of built-in tools, and there are none")] = None
    service_tier: Annotated[ANY, Hint("there is one tier")] = None
    prompt_cache_key: Annotated[ANY, Hint("what is cached of a prompt is found by its owner's key")] = None
    prompt_cache_retention: Annotated[ANY, Hint("caches are kept as long as there is room")] = None
    prompt_cache_options: Annotated[ANY, Hint("caches are kept as long as there is room")] = None
    safety_identifier: Annotated[ANY, Hint("who calls is known by the API key")] = None
    user: Annotated[ANY, Hint("who calls is known by the API key, and who replies by `model`")] = None

    background: Annotated[
        ANY, Refused("nothing runs in the background: leave it out, or stream the response", (False,))
    ] = None
    prompt: Annotated[ANY, Refused("no prompts are stored here: send `instructions` and `input`")] = None
    context_management: Annotated[
        ANY, Refused("earlier turns that do not fit are left out, and never summarised", ([],))
    ] = None
    moderation: Annotated[ANY, Refused("nothing is moderated here")] = None
