"""Verifiable reward functions by name: a program decides whether a reply is right.

A function is called with the prompt, the reply and the task's fields (its answer, for example), and returns a
finite number. Jobs and lineage refer to it by name, so a name must keep its meaning. Packages add rewards
with an entry point of the group ``populace.rewards``, which hosts and the trainer look up when they start;
``@reward`` is for programs that call the trainer directly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest, RewardFailed
from populace.policies.graders import graded
from populace.policies.reply_checks import is_exact, last_number
from populace.suites.matching import PatternsTooSlow, PatternTime, matched

GROUP = "populace.rewards"

Task = Mapping[str, Any]
Reward = Callable[[Sequence[Message], str, Task], float]

_registered: dict[str, Reward] = {}


def reward(name: str) -> Callable[[Reward], Reward]:
    """Register the decorated function under ``name``. Raises ``InvalidRequest`` if the name is taken."""

    def register(function: Reward) -> Reward:
        if name in _registered and _registered[name] is not function:
            raise InvalidRequest(f"There is a reward named `{name}` already.", "reward")
        _registered[name] = function
        return function

    return register


def find_reward(name: str) -> Reward:
    """Return the reward function of this name. Raises ``InvalidRequest``, which lists the known names."""
    if name in _registered:
        return _registered[name]
    installed = _package_rewards()
    if name not in installed:
        known = ", ".join(sorted(reward_names()))
        raise InvalidRequest(f"There is no reward named `{name[:80]}`; there are {known}.", "reward")
    return installed[name].load()


def reward_names() -> frozenset[str]:
    """Return the names of all rewards; those of packages are not loaded."""
    return frozenset({*_registered, *_package_rewards()})


class Replied(NamedTuple):
    """A reply to a task's prompt, and what the task knows."""

    prompt: Sequence[Message]
    reply: str
    task: Task


class JobRewards:
    """The reward of one training, whose patterns have ``SECONDS_JOB`` of processor time in all."""

    def __init__(self, name: str, patterns: PatternTime | None = None) -> None:
        """Look the reward up. Raises ``InvalidRequest`` for an unknown one."""
        self._name = name
        self._function = find_reward(name)
        self._patterns = patterns or PatternTime()

    def of(self, model: str, replies: Sequence[Replied]) -> list[float]:
        """Return the rewards of replies; ``model`` is named in errors. Blocks.

        Raises ``RewardFailed`` if the function raises or does not return a finite number, or if the job's
        patterns have taken their time.
        """
        try:
            values = self._values(replies)
        except PatternsTooSlow:
            raise RewardFailed(
                model,
                self._name,
                f"has taken the {self._patterns.seconds_max:g} s of processor time that the patterns of a "
                "job have in all: write them without repetitions in repetitions, such as (a+)+",
            ) from None
        except Exception as error:  # a reward of another package may raise anything
            reason = f"raised {type(error).__name__}: {str(error)[:200]}"
            raise RewardFailed(model, self._name, reason) from error
        for value in values:
            if not math.isfinite(value):
                raise RewardFailed(model, self._name, f"returned {value}")
        return values

    def _values(self, replies: Sequence[Replied]) -> list[float]:
        if self._function is matches:  # all at once, since each process takes longer than most matches
            return list(map(float, self._patterns.matched([_pattern_and_reply(*one) for one in replies])))
        return [float(self._function(*one)) for one in replies]


def rewarded(model: str, name: str, prompt: Sequence[Message], reply: str, task: Task) -> float:
    """Return the reward of a reply alone. Raises as ``JobRewards`` does."""
    return JobRewards(name).of(model, [Replied(prompt, reply, task)])[0]


@reward("exact")
def exact(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """Return 1 if the reply equals the task's ``answer`` apart from surrounding white space, else 0."""
    del prompt
    return float(is_exact(reply, str(task["answer"])))


@reward("number")
def number(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """Return 1 if the last number in the reply equals the task's ``answer``, else 0."""
    del prompt
    found = last_number(reply)
    return float(found is not None and found == float(task["answer"]))


@reward("matches")
def matches(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """Return 1 if the whole reply matches the task's ``pattern``, a Python regular expression, else 0.

    A match that is not found in time counts as none (``matching.SECONDS_EACH``).
    """
    return float(matched([_pattern_and_reply(prompt, reply, task)])[0])


@reward("grader")
def grader(prompt: Sequence[Message], reply: str, task: Task) -> float:
    """Return the score that the task's ``grader`` gives the reply, from 0 to 1.

    Its templates are filled from the task's ``item``; ``policies/graders.py`` has the graders.
    """
    del prompt
    return graded(task["grader"], task["item"], reply)


def _pattern_and_reply(prompt: Sequence[Message], reply: str, task: Task) -> tuple[str, str]:
    del prompt
    return str(task["pattern"]), reply


@cache
def _package_rewards() -> dict[str, Any]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
