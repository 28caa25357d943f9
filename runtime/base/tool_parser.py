"""Chooses the parser of vLLM that reads a base's tool calls, by its chat template."""

import json
from pathlib import Path
from typing import Any

OFF = "none"

_BY_MARK = (("<function=", "qwen3_coder"), ("<tool_call>", "hermes"), ("<|python_tag|>", "llama3_json"))


def tool_parser(directory: Path, setting: str | None) -> str | None:
    """Return the name of the parser; None if the base's chat template takes no tools, or no known one.

    The ``setting`` names another one, or ``none``.
    """
    if setting is not None:
        return None if setting == OFF else setting
    template = _template(directory)
    if "tools" not in template:
        return None
    return next((parser for mark, parser in _BY_MARK if mark in template), None)


def _template(directory: Path) -> str:
    """Read the chat template, which is in one of two files; empty if there is none."""
    try:
        return (directory / "chat_template.jinja").read_text()
    except FileNotFoundError:
        pass
    try:
        config: dict[str, Any] = json.loads((directory / "tokenizer_config.json").read_bytes())
    except FileNotFoundError:
        return ""
    template = config.get("chat_template")
    return template if isinstance(template, str) else ""
