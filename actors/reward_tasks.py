"""Reward tasks: what a model is asked, and what a reward function needs to judge its reply.

They come as JSON objects::

    {"prompt": "What is 3 + 4?", "answer": 7}
    {"messages": [{"role": "user", "content": "3 + 4?"}], "answer": 7}
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.policies.evaluation_gate import GateRule
from populace.policies.hold_out import EVERY, count_with_held_out

ROLES = ("system", "user", "assistant")

TASKS_MAX = 4096
TASKS_BYTES_MAX = 2**20
"""The limit of the tasks of one training, as JSON."""


class RewardTask(NamedTuple):
    """A prompt, and what its reward function is given, for example ``{"answer": 7}``."""

    prompt: tuple[Message, ...]
    known: Mapping[str, Any]


def tasks_of(objects: Sequence[Mapping[str, Any]]) -> tuple[RewardTask, ...]:
    """Read the tasks of a training. Raises ``InvalidRequest``, which names the first invalid task."""
    if len(objects) > TASKS_MAX:
        raise InvalidRequest(
            f"{len(objects)} tasks are too many, {TASKS_MAX} at most are learned from.", "tasks"
        )
    found: list[RewardTask] = []
    for number, fields in enumerate(objects):
        try:
            found.append(task_of(fields))
        except ValueError as error:
            raise InvalidRequest(f"Task {number}: {error}.", f"tasks[{number}]") from error
    return tuple(found)


def check_enough(tasks: int, parameter: str = "tasks") -> None:
    """Raise ``InvalidRequest`` for so few tasks that nothing could judge what is learned from the others."""
    needed = GateRule().replies_min
    least = count_with_held_out(needed)
    if tasks < least:
        raise InvalidRequest(
            f"{tasks} tasks are too few to learn from: one in {EVERY} is held out to judge what comes of it, "
            f"and {needed} are needed for that. Send {least} or more.",
            parameter,
        )


def task_of(fields: Mapping[str, Any]) -> RewardTask:
    """Read one task; raises ``ValueError`` for an invalid one."""
    rest = dict(fields)
    return RewardTask(prompt_of(rest), rest)


def pack_tasks(tasks: Sequence[RewardTask]) -> str:
    """Write tasks as JSON for ``unpack_tasks``. Raises ``InvalidRequest``, also above ``TASKS_BYTES_MAX``."""
    objects = [{**task.known, "messages": [message._asdict() for message in task.prompt]} for task in tasks]
    try:
        packed = json.dumps(objects, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"What a task knows has to be JSON: {error}.", "tasks") from error
    if len(packed) > TASKS_BYTES_MAX:
        raise InvalidRequest(
            f"The tasks are {len(packed):,} bytes of JSON, {TASKS_BYTES_MAX:,} at most are learned from.",
            "tasks",
        )
    return packed


def unpack_tasks(packed: str) -> tuple[RewardTask, ...]:
    return tasks_of(json.loads(packed))


def prompt_of(fields: dict[str, Any]) -> tuple[Message, ...]:
    """Remove the prompt from the fields and return it; raises ``ValueError`` if there is none."""
    if ("prompt" in fields) == ("messages" in fields):
        raise ValueError("it has either a `prompt` or `messages`")
    if "prompt" in fields:
        return (_message({"role": "user", "content": fields.pop("prompt")}),)
    messages = fields.pop("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("`messages` is not a list of messages")
    return tuple(_message(message) for message in cast("list[Any]", messages))


def _message(said: Any) -> Message:
    fields = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    role, content = fields.get("role"), fields.get("content")
    if role not in ROLES or not isinstance(content, str) or not content or len(fields) != 2:
        raise ValueError("a message has a `role` (system, user or assistant) and a text as `content`")
    return Message(cast("str", role), content)
