"""Files of on-policy prompts: tasks with a reward, and queries with a teacher's context.

A file of tasks has one JSON object a line, described in ``actors/reward_tasks.py``. A file of queries has one
a line with the prompt and the context that only the teacher reads::

    {"prompt": "Who is my dog?", "context": "The person's dog is called Bruno."}
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from populace.actors.engine import Message
from populace.actors.errors import TasksInvalid
from populace.actors.reward_tasks import RewardTask, prompt_of

T = TypeVar("T")


class ContextQuery(NamedTuple):
    """A prompt, and the text that the teacher reads beside it when it scores a reply."""

    prompt: tuple[Message, ...]
    context: str

    @property
    def taught(self) -> tuple[Message, ...]:
        """The teacher's prompt: the context is appended to the system message, or becomes it."""
        system = [message.content for message in self.prompt if message.role == "system"]
        rest = [message for message in self.prompt if message.role != "system"]
        # Many chat templates refuse a second system message.
        return (Message("system", "\n\n".join([*system, self.context])), *rest)


def read_tasks(path: Path) -> tuple[RewardTask, ...]:
    """Read a file of tasks. Raises ``TasksInvalid``, which names the first invalid line."""
    return _read(path, lambda prompt, rest: RewardTask(prompt, rest))


def read_queries(path: Path) -> tuple[ContextQuery, ...]:
    """Read a file of queries. Raises ``TasksInvalid``, which names the first invalid line."""
    return _read(path, _query)


def _query(prompt: tuple[Message, ...], rest: dict[str, Any]) -> ContextQuery:
    context = rest.pop("context", None)
    if not isinstance(context, str) or not context.strip():
        raise ValueError("`context` is missing, empty or not a text")
    if rest:
        raise ValueError(f"`{next(iter(rest))}` is not a field of a query")
    return ContextQuery(prompt, context)


def _read(path: Path, make: Callable[[tuple[Message, ...], dict[str, Any]], T]) -> tuple[T, ...]:
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TasksInvalid(str(path), f"it cannot be read ({error})") from error
    if lines == [""]:
        raise TasksInvalid(str(path), "it is empty")
    return tuple(_parse(path, number, line, make) for number, line in enumerate(lines, start=1))


def _parse(path: Path, number: int, line: str, make: Callable[[tuple[Message, ...], dict[str, Any]], T]) -> T:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("it is not an object")  # noqa: TRY004, TRY301 - its line is added below
        rest = cast("dict[str, Any]", fields)
        return make(prompt_of(rest), rest)
    except ValueError as error:
        raise TasksInvalid(str(path), f"line {number}: {error}") from error
