"""Parameters of OpenAI's Responses API that this server does not act on: accepted as hints, or refused.

The rule is that of ``gateway/parameters.py``: a hint changes nothing that the caller could miss.
"""

from typing import Annotated

from populace.gateway.completions.parameters import ANY, Hint, Refused, UnusedInTalk


class UnusedResponseParameters(UnusedInTalk):
    """What responses have besides; what would be missing from one is refused by name."""

    max_tool_calls: Annotated[ANY, Hint("it bounds calls of built-in tools, and there are none")] = None
    prompt_cache_options: Annotated[ANY, Hint("caches are kept as long as there is room")] = None

    background: Annotated[
        ANY, Refused("nothing runs in the background: leave it out, or stream the response", (False,))
    ] = None
    prompt: Annotated[ANY, Refused("no prompts are stored here: send `instructions` and `input`")] = None
    context_management: Annotated[
        ANY, Refused("earlier turns that do not fit are left out, and never summarised", ([],))
    ] = None
    moderation: Annotated[ANY, Refused("nothing is moderated here")] = None
    enable_response_messages: Annotated[
        ANY, Refused("ask `/v1/chat/completions` for the prompt, with `return_prompt_text`", (False,))
    ] = None
    previous_input_messages: Annotated[ANY, Refused("send them as `input`", ([],))] = None
