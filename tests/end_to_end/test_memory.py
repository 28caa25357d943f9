"""A person's memory through a running Populace: the gateway, the host, the engine and the store."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import populace
from populace.adapters.memory.state import Values
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]

TOLERANCE = 0.05
"""Of a state's norm. In bfloat16 what a layer reads is rounded, and otherwise in a prompt than token by
token: a state that is computed again was up to 0.02 of its norm away, in float32 1e-6."""


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def say(served: Served, name: str, *texts: str, **body: Any) -> dict[str, Any]:
    """Send a conversation: the person's and the model's messages in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    request = {"model": name, "messages": messages, "temperature": 0, "max_tokens": 12, **body}
    answer = served.call("POST", "/v1/chat/completions", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def reply_of(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"]["content"]


def memory_of(served: Served, name: str, **query: int) -> dict[str, Any]:
    answer = served.call("GET", f"/v1/personal-models/{name}/memory", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_turn_goes_into_the_memory_with_its_new_messages_only(served: Served, ada: str) -> None:
    first = reply_of(say(served, ada, "My city is Lisbon."))
    after_first = memory_of(served, ada)
    say(served, ada, "My city is Lisbon.", first, "And my dog is Bruno.")
    after_second = memory_of(served, ada)

    assert after_first["version"] == 1
    assert len(after_first["norms"]) == 30
    assert min(after_first["norms"]) > 0
    assert after_second["version"] == 2
    assert after_second["norms"] != after_first["norms"]
    assert [write["messages"] for write in after_second["writes"]] == [1, 1]
    assert [turn["memory"] for turn in served.log_of(ada)] == [
        {"read": True, "written_from": 0},
        {"read": True, "written_from": 2},
    ]


def test_a_streamed_turn_writes_as_a_whole_one_does(served: Served) -> None:
    whole, streamed = (served.create(f"twin-{uuid.uuid4().hex[:8]}") for _ in range(2))
    say(served, whole, "My city is Lisbon.")
    served.openai().chat.completions.create(
        model=streamed,
        messages=[{"role": "user", "content": "My city is Lisbon."}],
        temperature=0,
        max_tokens=12,
        stream=True,
    ).response.read()

    assert memory_of(served, streamed)["norms"] == pytest.approx(
        memory_of(served, whole)["norms"], rel=TOLERANCE
    )


def test_a_request_may_leave_the_memory_alone(served: Served, ada: str) -> None:
    say(served, ada, "My city is Lisbon.")
    before = memory_of(served, ada)["norms"]

    say(served, ada, "A secret.", memory={"write": False})
    say(served, ada, "Another one.", memory={"read": False, "write": False})
    assert memory_of(served, ada)["norms"] == before

    say(served, ada, "My dog is Bruno.", memory={"read": False})
    assert memory_of(served, ada)["norms"] != before
    assert [turn["memory"] for turn in served.log_of(ada)][1:] == [
        {"read": True, "written_from": None},
        None,
        {"read": False, "written_from": 0},
    ]


def test_the_log_says_the_memory_again_for_each_of_its_positions(served: Served, ada: str) -> None:
    states: list[Values | None] = []
    with populace.connect(data=served.data) as population:
        model = population.model(ada)
        for text in ("My city is Lisbon.", "My dog is Bruno.", "I like tea."):
            states.append(model.memory.state)
            model.chat(text, max_tokens=12, temperature=0)
        replayed = [model.memory_at(position).state for position in range(3)]

    assert states[0] is replayed[0] is None
    for state, again in zip(states[1:], replayed[1:], strict=True):
        assert state is not None
        assert again is not None
        assert np.linalg.norm(again - state) < TOLERANCE * np.linalg.norm(state)


def test_a_memory_is_set_back_once(served: Served, ada: str) -> None:
    say(served, ada, "My city is Lisbon.")
    early = memory_of(served, ada)["norms"]
    say(served, ada, "My dog is Bruno.")

    path, key = f"/v1/personal-models/{ada}/memory", {"Idempotency-Key": "back"}
    answers = [served.call("POST", path, json={"position": 1}, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["position"] == answers[1].json()["position"] == 2
    assert memory_of(served, ada)["norms"] == pytest.approx(early, rel=TOLERANCE)

    assert served.call("GET", f"/v1/personal-models/{ada}/memory", params={"position": 9}).status_code == 400


def test_the_command_line_shows_what_is_remembered_and_draws_it(
    served: Served, ada: str, tmp_path: Path
) -> None:
    say(served, ada, "My city is Lisbon.")
    picture = tmp_path / "ada.svg"

    shown = served.run("-m", "populace", "memory", "show", ada, "--picture", str(picture))

    assert shown.returncode == 0, shown.stderr
    assert "layer 29" in shown.stdout
    assert picture.read_text().startswith("<svg")
    forgotten = served.run("-m", "populace", "memory", "clear", ada, "--yes")
    assert forgotten.returncode == 0, forgotten.stderr
    assert "remembers nothing" in forgotten.stdout


def test_what_a_model_knows_is_the_same_over_http_in_python_and_at_the_command_line(
    served: Served, ada: str
) -> None:
    say(served, ada, "My city is Lisbon.")
    log = served.log_of(ada)
    path = f"/v1/personal-models/{ada}/memory/known"

    asked = served.call("GET", path, params={"question": ["What is my city?", "Why?"]})
    shown = served.run("-m", "populace", "model", "known", ada, "What is my city?")
    with populace.connect(data=served.data) as population:
        known = population.model(ada).memory.known(["What is my city?"])

    assert asked.status_code == 200, asked.text
    body = asked.json()
    assert len(body["facts"]) + len(body["unknown"]) == 2
    assert [one.answer for one in known.facts] == [
        one["answer"] for one in body["facts"] if one["question"] != "Why?"
    ]
    assert shown.returncode == 0, shown.stderr
    assert "What is my city?" in " ".join(shown.stdout.split())
    assert served.log_of(ada) == log
    assert served.call("GET", path, params={"question": " "}).status_code == 400


def test_a_state_of_another_module_fails_the_turn_and_is_kept(
    served: Served, ada: str, tmp_path: Path
) -> None:
    """As after a change of the served module: the person is told, and may go on without the memory."""
    say(served, ada, "My city is Lisbon.")
    foreign = f"{ada}-foreign"
    with populace.connect(data=served.data) as population:
        content = population.run(population.directory.export_model(population.model(ada).id))
        kept = population.model(ada).memory
        assert content.memory is not None
        assert kept.module is not None
        swapped = content._replace(memory=content.memory.replace(bytes.fromhex(kept.module), bytes(32)))
        population.run(population.directory.import_model(population.model(foreign).id, swapped))

    body = {"model": foreign, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    refused = served.call("POST", "/v1/chat/completions", json=body)
    without = {**body, "memory": {"read": False, "write": False}}

    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "memory_state_mismatch"
    assert served.call("POST", "/v1/chat/completions", json=without).status_code == 200
    assert memory_of(served, foreign)["module"] == "00" * 32


@pytest.mark.release("memory")
def test_the_example_tells_kills_and_asks(served: Served, memory_module: Path) -> None:
    """With a module that is not trained there is nothing to recall: the table is, and no process is left."""
    example = str(Path(__file__).parents[2] / "examples" / "remember.py")
    before = children()
    options = ("--people", "1", "--seeds", "1", "--engine", "torch")

    done = served.run(example, *options, "--memory-module", str(memory_module))

    assert done.returncode == 0, done.stderr
    for condition in (
        "memory alone",
        "no memory",
        "whole history",
        "by chance",
        "never told",
        "same as base",
    ):
        assert done.stdout.count(condition) == 3, done.stdout
    assert children() <= before


def children() -> set[int]:
    return {one.pid for one in psutil.Process().children(recursive=True)}
