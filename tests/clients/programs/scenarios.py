"""What the programs in Python share: scenarios, one line of JSON for each, and what they ask for.

Standard library only, because each program runs in its client's environment. A line is
``{"scenario", "ok", "turns", "error"}``. ``turns`` are the replies that the model's log must have, in their
order; null is a turn without words of its own, such as the call of a tool.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable
from typing import Any

Turns = list[str | None]

BASE_URL = os.environ["OPENAI_BASE_URL"]
API_KEY = os.environ["OPENAI_API_KEY"]
MODEL = os.environ["MODEL"]

SYSTEM = "You are a helpful assistant. Answer in one short sentence."
FIRST = "My cat is called Minka. Say hello to her."
SECOND = "What is my cat called?"

TOOL_NAME = "get_weather"
TOOL_TEXT = "Return the weather of a city."
TOOL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": TOOL_NAME, "description": TOOL_TEXT, "parameters": TOOL_SCHEMA},
}
TOOL_QUESTION = "What is the weather in Paris?"
WEATHER = "18 degrees and sunny"

_SCENARIOS: list[tuple[str, Callable[[Turns], None]]] = []


def scenario(name: str) -> Callable[[Callable[[Turns], None]], Callable[[Turns], None]]:
    """Register a function that talks to the server and appends to its argument each turn that it made."""

    def register(function: Callable[[Turns], None]) -> Callable[[Turns], None]:
        _SCENARIOS.append((name, function))
        return function

    return register


def run_scenarios() -> None:
    """Run all, whatever fails, and print what became of each as soon as it is known."""
    for name, function in _SCENARIOS:
        turns: Turns = []
        outcome: dict[str, Any] = {"scenario": name, "ok": True, "turns": turns}
        try:
            function(turns)
        except Exception as error:
            outcome |= {"ok": False, "error": words(error)}
        print(json.dumps(outcome), flush=True)


def words(error: BaseException) -> str:
    """Return what the server said, if the client kept it, or else what the client made of it."""
    body = getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return body["message"]
    text = f"{type(error).__name__}: {error}"
    # Some show the whole body, whose request id is another each time.
    if shown := re.search(r"\{.*\}", text, re.DOTALL):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return text[: shown.start()] + json.loads(shown.group())["error"]["message"]
    return text


def arguments_of(text: str) -> dict[str, Any]:
    """Return a call's arguments; an assertion fails if they do not keep the tool's schema."""
    arguments = json.loads(text)
    assert list(arguments) == ["city"], text
    assert isinstance(arguments["city"], str), text
    return arguments


def filled(text: str | None) -> str:
    """Return a reply that has words; an assertion fails if it has none."""
    assert text, f"the reply is {text!r}"
    assert text.strip(), f"the reply is {text!r}"
    return text
