"""What is asked comes from a file, and what is wrong with one is said by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.errors import TasksInvalid
from populace.actors.reward_tasks import RewardTask
from populace.learning.on_policy.tasks import ContextQuery, read_queries, read_tasks

ASKED = (Message("user", "What is 3 + 4?"),)
GOOD = {"prompt": "What is 3 + 4?", "answer": 7}


def file_of(tmp_path: Path, *lines: Any) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def test_a_task_is_a_prompt_and_what_its_reward_knows(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3 + 4?"}]
    path = file_of(tmp_path, GOOD, {"messages": messages, "pattern": "7", "weight": 2})

    first, second = read_tasks(path)

    assert first == RewardTask(ASKED, {"answer": 7})
    assert second.prompt == (Message("system", "Be brief."), Message("user", "3 + 4?"))
    assert second.known == {"pattern": "7", "weight": 2}


def test_a_query_is_a_prompt_and_what_the_teacher_knows(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"prompt": "What is 3 + 4?", "context": "It is 7."})

    [query] = read_queries(path)

    assert query == ContextQuery(ASKED, "It is 7.")
    assert query.taught == (Message("system", "It is 7."), *ASKED)


def test_a_context_comes_behind_what_the_system_says_anyway() -> None:
    query = ContextQuery((Message("system", "Be brief."), *ASKED), "It is 7.")

    assert query.taught == (Message("system", "Be brief.\n\nIt is 7."), *ASKED)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("{", "line 2: Expecting property name"),
        ("[1]", "line 2: it is not an object"),
        ({"answer": 7}, "line 2: it has either a `prompt` or `messages`"),
        ({**GOOD, "messages": []}, "line 2: it has either a `prompt` or `messages`"),
        ({"prompt": 7}, "line 2: a message has a `role`"),
        ({"prompt": ""}, "line 2: a message has a `role`"),
        ({"messages": []}, "line 2: `messages` is not a list of messages"),
        ({"messages": [{"role": "tool", "content": "7"}]}, "line 2: a message has a `role`"),
        ({"messages": [{"role": "user", "content": "7", "name": "x"}]}, "line 2: a message has a `role`"),
    ],
)
def test_a_line_that_is_no_task_is_an_error_by_its_number(tmp_path: Path, wrong: Any, says: str) -> None:
    path = file_of(tmp_path, GOOD, wrong)

    with pytest.raises(TasksInvalid) as caught:
        read_tasks(path)

    assert str(caught.value).startswith(f"{path}: {says}")


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ({}, "`context` is missing, empty or not a text"),
        ({"context": " "}, "`context` is missing, empty or not a text"),
        ({"context": ["a"]}, "`context` is missing, empty or not a text"),
        ({"context": "It is 7.", "answer": 7}, "`answer` is not a field of a query"),
    ],
)
def test_a_line_that_is_no_query_is_an_error_by_its_number(
    tmp_path: Path, rest: dict[str, Any], says: str
) -> None:
    path = file_of(tmp_path, {"prompt": "What is 3 + 4?", **rest})

    with pytest.raises(TasksInvalid, match=f"line 1: {says}"):
        read_queries(path)


def test_a_file_without_tasks_or_that_is_missing_is_an_error_by_name(tmp_path: Path) -> None:
    with pytest.raises(TasksInvalid, match="it is empty"):
        read_tasks(file_of(tmp_path))
    with pytest.raises(TasksInvalid, match="it cannot be read"):
        read_tasks(tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(TasksInvalid, match="it cannot be read"):
        read_tasks(tmp_path / "latin.jsonl")
