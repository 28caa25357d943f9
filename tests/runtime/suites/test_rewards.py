# pyright: reportUnknownMemberType=false
# pytest's `syspath_prepend` is partly untyped.
"""A reward is a finite number under a name, or an error that says whose it is."""

import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest, RewardFailed
from populace.suites import rewards
from populace.suites.matching import SECONDS_EACH, PatternTime
from populace.suites.rewards import (
    JobRewards,
    Replied,
    Task,
    find_reward,
    reward,
    reward_names,
    rewarded,
)

PROMPT = (Message("user", "How many?"),)


@pytest.fixture
def named() -> Generator[str]:
    """A name that is free again after the test."""
    yield "of-this-test"
    rewards._registered.pop("of-this-test", None)


@pytest.mark.parametrize(
    ("name", "reply", "task", "value"),
    [
        ("exact", " Lisbon\n", {"answer": "Lisbon"}, 1.0),
        ("exact", "Lisbon.", {"answer": "Lisbon"}, 0.0),
        ("number", "3 and 4 make 7.", {"answer": 7}, 1.0),
        ("number", "It is 1,234.50", {"answer": "1234.5"}, 1.0),
        ("number", "-3", {"answer": -3}, 1.0),
        ("number", "7 is 3 and 4", {"answer": 7}, 0.0),
        ("number", "seven", {"answer": 7}, 0.0),
        ("matches", "yes", {"pattern": "yes|no"}, 1.0),
        ("matches", "yes, or no", {"pattern": "yes|no"}, 0.0),
        # Python takes 2⁴⁰ steps to say that this does not match.
        ("matches", "a" * 40, {"pattern": "(a|aa)+b|(a|a)+b"}, 0.0),
    ],
)
def test_a_reply_is_right_or_it_is_not(name: str, reply: str, task: Task, value: float) -> None:
    assert rewarded("ada", name, PROMPT, reply, task) == value


def test_a_reward_of_somebodys_own_is_found_by_its_name(named: str) -> None:
    @reward(named)
    def length(prompt: Sequence[Message], reply: str, task: Task) -> float:
        return len(reply) / task["longest"] + len(prompt)

    assert find_reward(named) is length
    assert rewarded("ada", named, PROMPT, "1234", {"longest": 8}) == 1.5


def test_a_reward_of_a_package_is_known_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_rewards.py").write_text("def short(prompt, reply, task):\n    return -len(reply)\n")
    about = tmp_path / "their_rewards-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rewards\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[populace.rewards]\nshort = their_rewards:short\n")
    monkeypatch.syspath_prepend(tmp_path)
    rewards._package_rewards.cache_clear()
    try:
        assert {"short", "number"} <= reward_names()
        assert "their_rewards" not in sys.modules
        assert rewarded("ada", "short", PROMPT, "1234", {}) == -4.0
    finally:
        rewards._package_rewards.cache_clear()
        sys.modules.pop("their_rewards", None)


def test_a_name_is_taken_once(named: str) -> None:
    reward(named)(lambda prompt, reply, task: 0.0)

    with pytest.raises(InvalidRequest, match="already"):
        reward(named)(lambda prompt, reply, task: 1.0)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (float("nan"), "returned nan"),
        (float("inf"), "returned inf"),
        ("good", "raised ValueError"),
        (None, "raised TypeError"),
        (ZeroDivisionError("by zero"), "raised ZeroDivisionError: by zero"),
    ],
)
def test_a_reward_that_is_no_number_fails_by_name(named: str, result: Any, says: str) -> None:
    @reward(named)
    def broken(prompt: Sequence[Message], reply: str, task: Task) -> float:
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(RewardFailed, match=says) as caught:
        rewarded("ada", named, PROMPT, "", {})

    assert "`ada`" in str(caught.value)
    assert f"`{named}`" in str(caught.value)


def test_a_batch_is_rewarded_in_its_order() -> None:
    replies = [Replied(PROMPT, reply, {"pattern": "yes|no"}) for reply in ("yes", "maybe", "no")]

    assert JobRewards("matches").of("ada", replies) == [1.0, 0.0, 1.0]
    assert JobRewards("matches").of("ada", []) == []
    exact = [one._replace(task={"answer": one.reply[:2]}) for one in replies]
    assert JobRewards("exact").of("ada", exact) == [0.0, 0.0, 1.0]


def test_the_patterns_of_a_job_have_a_time_and_the_job_fails_by_name_after_it() -> None:
    """Each of them ends in its own time, and a job may have hundreds of thousands of replies."""
    slow = Replied(PROMPT, "a" * 200, {"pattern": "(a|a)*b"})
    rewards = JobRewards("matches", PatternTime(2.5 * SECONDS_EACH))

    assert rewards.of("ada", [slow]) == [0.0]
    with pytest.raises(RewardFailed, match=r"`matches` has taken the 0.5 s .* write them without") as caught:
        rewards.of("ada", [slow] * 1000)

    assert "`ada`" in str(caught.value)
    fine = Replied(PROMPT, "yes", {"pattern": "yes"})
    assert JobRewards("matches").of("ada", [fine]) == [1.0]


def test_a_task_without_a_pattern_or_with_none_fails_by_name() -> None:
    for task, says in (
        ({}, "raised KeyError: 'pattern'"),
        ({"pattern": "("}, "'\\(' is no regular expression"),
    ):
        with pytest.raises(RewardFailed, match=says):
            JobRewards("matches").of("ada", [Replied(PROMPT, "yes", task)])


def test_a_grader_scores_the_reply_by_the_fields_of_its_line() -> None:
    check = {"input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "ilike"}
    task = {"grader": check, "item": {"answer": "ghent"}}

    assert [rewarded("ada", "grader", (), reply, task) for reply in ("In Ghent.", "In Rome.")] == [1.0, 0.0]
    with pytest.raises(RewardFailed, match=r"there is no 'item.answer'"):
        rewarded("ada", "grader", (), "In Ghent.", {**task, "item": {}})


def test_an_unknown_reward_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match="named `best`; there are exact, grader, matches, number"):
        rewarded("ada", "best", PROMPT, "", {})
