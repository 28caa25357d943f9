"""Tasks are read or refused by name, and come back as they were kept."""

from collections.abc import Mapping
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.reward_tasks import (
    TASKS_BYTES_MAX,
    TASKS_MAX,
    RewardTask,
    pack_tasks,
    tasks_of,
    unpack_tasks,
)

SUM = RewardTask((Message("user", "What is 3 + 4?"),), {"answer": 7})
BRIEF = RewardTask(
    (Message("system", "Be brief."), Message("user", "Été ?")), {"pattern": "y.*", "n": [1, None]}
)


def test_tasks_are_read_and_come_back_as_they_were_kept() -> None:
    asked: list[Mapping[str, Any]] = [
        {"prompt": "What is 3 + 4?", "answer": 7},
        {"messages": [message._asdict() for message in BRIEF.prompt], **BRIEF.known},
    ]

    assert tasks_of(asked) == (SUM, BRIEF)
    assert unpack_tasks(pack_tasks([SUM, BRIEF])) == (SUM, BRIEF)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"answer": 7}, "either a `prompt` or `messages`"),
        ({"prompt": "", "answer": 7}, "a text as `content`"),
        ({"prompt": "a", "messages": []}, "either"),
        ({"messages": []}, "not a list of messages"),
        ({"messages": [{"role": "judge", "content": "a"}]}, "a `role`"),
    ],
)
def test_the_first_wrong_task_is_named(wrong: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refusal:
        tasks_of([{"prompt": "What is 3 + 4?", "answer": 7}, wrong])

    assert refusal.value.parameter == "tasks[1]"


def test_more_than_is_kept_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="too many"):
        tasks_of([{"prompt": "a"}] * (TASKS_MAX + 1))
    with pytest.raises(InvalidRequest, match="bytes of JSON"):
        pack_tasks([RewardTask((Message("user", "a" * TASKS_BYTES_MAX),), {})])


@pytest.mark.parametrize("known", [{"answer": float("nan")}, {"answer": {1, 2}}])
def test_what_is_no_json_is_refused(known: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="has to be JSON"):
        pack_tasks([RewardTask(SUM.prompt, known)])
