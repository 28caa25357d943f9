# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# vLLM's parsers are partly untyped.
"""Calls that a model makes in the format that it learned, read by vLLM's parsers.

What leaves the engine is the text of ``actors/tool_calls.py`` for every base, so the log, the memory and the
gateway know one format.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.tool_parsers import ToolParserManager

from populace.actors.engine import Delta
from populace.actors.errors import InvalidRequest
from populace.actors.tool_calls import ToolCall, with_calls
from populace.actors.tool_choice import CALLS_MAX


class CallText:
    """The text of one reply. Words are shown as they come, calls together at the reply's end.

    With ``parallel`` False only the first call is shown.
    """

    def __init__(self, parser: str, tokenizer: Any, tools: Sequence[Any], *, parallel: bool = True) -> None:
        made = ToolParserManager.get_tool_parser(parser)
        asked = {"model": "base", "messages": [{"role": "user", "content": ""}], "tools": list(tools)}
        self._request = ChatCompletionRequest.model_validate(asked)
        # Streaming keeps a state, which must not be that of the whole text.
        self._words, self._whole = (made(tokenizer, list(self._request.tools or ())) for _ in range(2))
        self._calls_max = CALLS_MAX if parallel else 1
        self._text, self._shown = "", ""
        self._ids: list[int] = []

    def shown(self, delta: Delta) -> Delta:
        """Return the delta with the text that is to be shown instead."""
        before, ids = self._text, list(self._ids)
        self._text += delta.text
        self._ids += delta.token_ids
        told = self._words.extract_tool_calls_streaming(
            before, self._text, delta.text, ids, self._ids, delta.token_ids, self._request
        )
        words = "" if told is None else told.content or ""
        if delta.finish_reason is not None:
            words = self._end().removeprefix(self._shown)
        self._shown += words
        return replace(delta, text=words)

    def _end(self) -> str:
        found = self._whole.extract_tool_calls(self._text, self._request)
        if not found.tools_called:
            return self._text
        calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in found.tool_calls]
        return with_calls(self._shown or (found.content or "").strip(), calls[: self._calls_max])


def check_parser(parser: str | None) -> None:
    """Raise ``InvalidRequest`` if vLLM has no parser of this name."""
    if parser is None:
        return
    try:
        ToolParserManager.get_tool_parser(parser)
    except KeyError as error:
        raise InvalidRequest(f"vLLM has no tool parser {parser!r}: {error}", "tool_parser") from None


async def with_call_text(deltas: AsyncGenerator[Delta, None], text: CallText) -> AsyncGenerator[Delta, None]:
    """Show the calls of a reply as text."""
    async with aclosing(deltas):
        async for delta in deltas:
            yield text.shown(delta)
