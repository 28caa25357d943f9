"""A person talks to a model of their own through the official client, the command line and Python."""

import json
import uuid
from pathlib import Path

import pytest
from openai import BadRequestError, NotFoundError

import populace
from populace import Message
from tests.end_to_end.served import Served, ask

pytestmark = [pytest.mark.engine, pytest.mark.ray]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_every_reply_names_the_weights_and_the_log_position_it_came_from(served: Served, ada: str) -> None:
    body = {"model": ada, "messages": ask("Hello"), "max_tokens": 4}

    replies = [served.call("POST", "/v1/chat/completions", json=body) for _ in range(2)]

    assert [reply.headers["x-populace-log-position"] for reply in replies] == ["0", "1"]
    assert [reply.headers["x-populace-revision"] for reply in replies] == ["base", "base"]
    assert [reply.json()["populace"]["log_position"] for reply in replies] == [0, 1]
    assert len(replies[0].headers["x-populace-base"]) == 64


def test_the_same_operation_twice_gives_one_turn(served: Served, ada: str) -> None:
    client = served.openai()
    once = {"Idempotency-Key": "op-1"}

    first, second = (
        client.chat.completions.create(
            model=ada, messages=ask("Say something."), max_tokens=12, extra_headers=once
        )
        for _ in range(2)
    )

    assert first.id == second.id
    assert first.choices[0].message.content == second.choices[0].message.content
    assert len(served.log_of(ada)) == 1


def test_the_same_operation_over_http_and_from_python_gives_one_turn(served: Served, ada: str) -> None:
    with populace.connect(data=served.data) as population:
        made = population.model(ada).chat(
            [Message("user", "What is the capital of France?")],
            operation="op-1",
            temperature=0,
            max_tokens=30,
        )

    again = served.openai().chat.completions.create(
        model=ada,
        messages=ask("What is the capital of France?"),
        temperature=0,
        max_tokens=30,
        extra_headers={"Idempotency-Key": "op-1"},
    )

    assert (again.id, again.choices[0].message.content) == (made.completion_id, made.reply)
    assert len(served.log_of(ada)) == 1


def test_the_clients_own_errors_tell_what_is_wrong(served: Served, ada: str) -> None:
    client = served.openai()

    with pytest.raises(NotFoundError, match="does not exist"):
        client.chat.completions.create(model="nobody", messages=ask("Hi"))
    with pytest.raises(BadRequestError, match="context") as raised:
        client.chat.completions.create(model=ada, messages=ask("long " * 5000))

    assert raised.value.code == "context_length_exceeded"
    assert served.log_of(ada) == []


def test_the_base_answers_and_keeps_no_log(served: Served) -> None:
    reply = served.openai().chat.completions.create(
        model="base", messages=ask("What is the capital of France?"), temperature=0, max_tokens=30
    )

    assert reply.choices[0].message.content == "The capital of France is Paris."


@pytest.mark.parametrize("name", ["quickstart.py", "openai_client.py", "two_people.py"])
def test_the_examples_run(served: Served, name: str) -> None:
    done = served.run(str(EXAMPLES / name))

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_command_line_creates_shows_chats_lists_and_erases(served: Served) -> None:
    created = served.run("-m", "populace", "model", "create", "cli-ada", "--json")
    asked = served.run("-m", "populace", "chat", "cli-ada", "-m", "What is the capital of France?", "--json")
    shown = served.run("-m", "populace", "model", "show", "cli-ada", "--json")
    listed = served.run("-m", "populace", "model", "list", "--json")
    erased = served.run("-m", "populace", "model", "erase", "cli-ada", "--yes")
    missing = served.run("-m", "populace", "model", "show", "cli-ada")
    deleted = served.run("-m", "populace", "model", "delete", "cli-ada", "--yes")

    assert json.loads(created.stdout)["id"] == "cli-ada"
    assert json.loads(asked.stdout)["choices"][0]["message"]["content"]
    assert json.loads(shown.stdout)["log_position"] == 1
    assert "cli-ada" in [model["id"] for model in json.loads(listed.stdout)]
    assert erased.returncode == 0
    assert [missing.returncode, deleted.returncode] == [1, 1]
    assert all("does not exist" in one.stderr for one in (missing, deleted))


def test_a_chat_takes_a_turn_back_and_records_no_command(served: Served, ada: str) -> None:
    typed = "What is the capital of France?\n/undo\n/undo\n/help\n/hlep\n//help is a word\n/quit\n"

    talked = served.run("-m", "populace", "chat", ada, "--max-tokens", "8", typed=typed)

    assert talked.returncode == 0, talked.stderr
    assert "forget the last turn" in talked.stdout
    assert "No turn of this chat is left to forget" in talked.stderr
    assert "There is no command '/hlep'" in talked.stderr
    log = served.log_of(ada)
    said = [one["content"] for turn in log for one in turn["messages"] if one["role"] == "user"]
    assert said == ["/help is a word"]
    assert log[0]["forgotten"]
    resumed = served.run("-m", "populace", "chat", ada, typed="/log\n/quit\n").stdout
    assert "goes on from its last 1 turn." in " ".join(resumed.split())
    assert "had turn 0 forgotten" in resumed


def test_a_key_of_another_tenant_opens_another_tenants_models_only(served: Served, ada: str) -> None:
    made = served.run("-m", "populace", "key", "create", "acme", "--json")
    key = json.loads(made.stdout)["key"]

    foreign = served.call("GET", f"/v1/personal-models/{ada}", headers={"Authorization": f"Bearer {key}"})
    unknown = served.call("GET", "/v1/personal-models/nobody", headers={"Authorization": f"Bearer {key}"})

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["error"]["code"] == unknown.json()["error"]["code"] == "model_not_found"
