"""What a model is asked to learn from its own replies: tasks with a reward, and queries with a context.

A file of tasks has one JSON object a line, as ``actors/reward_tasks.py`` says. A file of queries has what the
teacher knows beside what is asked::

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
    """A prompt, and what the teacher has at hand when it judges a reply to it: any text."""

    prompt: tuple[Message, ...]
    context: str

    @property
    def taught(self) -> tuple[Message, ...]:
        """The prompt as the teacher reads it: the context is a system message, behind what was one."""
        system = [one.content for one in self.prompt if one.role == "system"]
        rest = [one for one in self.prompt if one.role != "system"]
        # One message: many templates refuse a second one.
        return (Message("system", "\n\n".join([*system, self.context])), *rest)


def read_tasks(path: Path) -> tuple[RewardTask, ...]:
    """Read a file of tasks. Raises ``TasksInvalid``, which names the first wrong line."""
    return _read(path, lambda prompt, rest: RewardTask(prompt, rest))


def read_queries(path: Path) -> tuple[ContextQuery, ...]:
    """Read a file of queries. Raises ``TasksInvalid``, which names the first wrong line."""
    return _read(path, _query)


def _query(prompt: tuple[Message, ...], rest: dict[str, Any]) -> ContextQuery:
    context = rest.pop("context", None)
    if not isinstance(context, str) or not context.strip():
        raise ValueError("`context` is not a text")
    if rest:
        raise ValueError(f"`{next(iter(rest))}` is unknown")
    return ContextQuery(prompt, context)


def _read(path: Path, made_of: Callable[[tuple[Message, ...], dict[str, Any]], T]) -> tuple[T, ...]:
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TasksInvalid(str(path), f"it cannot be read ({error})") from error
    if lines == [""]:
        raise TasksInvalid(str(path), "it is empty")
    return tuple(_made(path, number, line, made_of) for number, line in enumerate(lines, start=1))


def _made(
    path: Path, number: int, line: str, made_of: Callable[[tuple[Message, ...], dict[str, Any]], T]
) -> T:
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("it is not an object")  # noqa: TRY004, TRY301 - told with its line below
        rest = cast("dict[str, Any]", fields)
        return made_of(prompt_of(rest), rest)
    except ValueError as error:
        raise TasksInvalid(str(path), f"line {number}: {error}") from error
