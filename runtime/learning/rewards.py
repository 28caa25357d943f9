"""Reward functions that can be verified, by name: a reply is right or it is not, and anybody can check.

A function gets the prompt, the reply and what the task knows (an answer, say), and returns a finite number.
Its name is how jobs and lineage refer to it, so that it must mean the same for ever. Packages add their own
by an entry point of the group ``populace.rewards``; ``@reward`` is for programs that train by themselves.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest, RewardFailed

GROUP = "populace.rewards"

Task = Mapping[str, Any]
Reward = Callable[[Sequence[Message], str, Task], float]

_registered: dict[str, Reward] = {}
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def reward(name: str) -> Callable[[Reward], Reward]:
    """Register the function that is decorated. A name is taken once."""

    def register(function: Reward) -> Reward:
        if name in _registered and _registered[name] is not function:
            raise InvalidRequest(f"There is a reward named `{name}` already.", "reward")
        _registered[name] = function
        return function

    return register


def find_reward(name: str) -> Reward:
    """Find a reward by its name. Raises ``InvalidRequest`` that lists those that there are."""
    if name in _registered:
        return _registered[name]
    found = _of_packages()
    if name not in found:
        known = ", ".join(sorted({*_registered, *found}))
        raise InvalidRequest(f"There is no reward named `{name[:80]}`; there are {known}.", "reward")
    return found[name].load()


def rewarded(model: str, name: str, prompt: Sequence[Message], reply: str, task: Task) -> float:
    """Reward a reply. Raises ``InvalidRequest`` for an unknown name, ``RewardFailed`` for no number."""
    function = find_reward(name)
    try:
        value = float(function(prompt, reply, task))
    except Exception as error:  # whatever somebody else's function raises
        raise RewardFailed(model, name, f"raised {type(error).__name__}: {str(error)[:200]}") from error
    if not math.isfinite(value):
        raise RewardFailed(model, name, f"returned {value}")
    return value


@reward("exact")
def exact(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """1 if the reply is the task's ``answer``, but for the space around it."""
    del prompt
    return float(reply.strip() == str(task["answer"]).strip())


@reward("number")
def number(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """1 if the last number in the reply is the task's ``answer``."""
    del prompt
    numbers = _NUMBER.findall(reply)
    return float(bool(numbers) and float(numbers[-1].replace(",", "")) == float(task["answer"]))


@reward("matches")
def matches(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """1 if the whole reply matches the task's ``pattern``, a regular expression of Python's."""
    del prompt
    return float(re.fullmatch(str(task["pattern"]), reply.strip(), re.DOTALL) is not None)


@cache
def _of_packages() -> dict[str, Any]:
    return {one.name: one for one in entry_points(group=GROUP)}
