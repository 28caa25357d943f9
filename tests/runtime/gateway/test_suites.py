"""A person's own suite over HTTP and on the command line: stored, asked without a trace, and removed."""

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from populace.actors.engine import GenerateRequest, Message
from populace.actors.turn import ModelId
from tests.actors.turns import revision
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population
from tests.runtime.gateway.scripted_engine import BASE

PATH = "/v1/personal-models/ada/suite"
ASK = f"{PATH}/evaluations"
DOG = {"ask": "What is my dog called?", "expect": "bruno"}
CAT = {"ask": "And my cat?", "expect": r"Your \w+ is Bruno\.", "check": "matches", "system": "Be brief."}
BIRD = {"ask": "And my bird?", "expect": "Tweety", "check": "exact"}
CHAT = {"model": "ada", "max_tokens": 256, "temperature": 0, "seed": 0}


@pytest.fixture(autouse=True)
def reply(population: Population) -> None:
    population.engine.reply = ("Your dog ", "is Bruno.")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "suite.jsonl"
    written.write_text("".join(json.dumps(line) + "\n" for line in (DOG, CAT, BIRD)))
    return written


def asked_of(population: Population) -> list[GenerateRequest]:
    """The requests to the engine so far, which are taken from it, without the ids of their peeks."""
    asked = [
        replace(request, request_id=request.request_id.rpartition(":")[2])
        for request in population.engine.requests
    ]
    del population.engine.requests[:]
    return asked


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def test_a_suite_is_stored_shown_replaced_and_removed(client: httpx.AsyncClient) -> None:
    missing = await client.get(PATH)
    stored = await client.put(PATH, json={"questions": [DOG, CAT]})
    shown = await client.get(PATH)
    await client.put(PATH, json={"questions": [DOG]})
    replaced = await client.get(PATH)
    removed = [await client.delete(PATH) for _ in range(2)]

    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "suite_not_found")
    assert (
        stored.json()
        == shown.json()
        == {
            "object": "personal_model.suite",
            "id": "ada",
            "questions": [
                {**DOG, "check": "contains", "system": None, "least": None},
                {**CAT, "least": None},
            ],
        }
    )
    assert [question["ask"] for question in replaced.json()["questions"]] == [DOG["ask"]]
    assert [gone.json()["deleted"] for gone in removed] == [True, True]
    assert (await client.get(PATH)).status_code == 404


@pytest.mark.parametrize(
    ("questions", "parameter", "message"),
    [
        (
            [DOG, {**CAT, "expect": "(a"}],
            "questions[1]",
            "Line 2 of the suite: '(a' is no regular expression",
        ),
        ([DOG, DOG], "questions[1]", "Line 2 of the suite: line 1 asks the same"),
        ([{**DOG, "least": 0.5}], "questions[0]", "`least` is for the check `likeness`"),
        ([7], "questions[0]", "it is not an object"),
        ([], "questions", "1 to 200 questions"),
    ],
)
async def test_a_bad_line_is_named_and_the_stored_suite_stays(
    client: httpx.AsyncClient, questions: list[object], parameter: str, message: str
) -> None:
    await client.put(PATH, json={"questions": [BIRD]})

    refused = await client.put(PATH, json={"questions": questions})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == parameter
    assert message in refused.json()["error"]["message"]
    assert [question["ask"] for question in (await client.get(PATH)).json()["questions"]] == [BIRD["ask"]]


async def test_the_questions_are_asked_greedily_and_leave_no_trace(
    client: httpx.AsyncClient, population: Population
) -> None:
    await client.put(PATH, json={"questions": [DOG, CAT, BIRD]})
    before = await population.directory.show_model(ModelId("acme", "ada"))

    result = (await client.post(ASK, json={})).json()

    assert (result["revision"], result["passed"], result["total"]) == ("base", 2, 3)
    assert [(row["ask"], row["reply"], row["passed"]) for row in result["rows"]] == [
        (DOG["ask"], "Your dog is Bruno.", True),
        (CAT["ask"], "Your dog is Bruno.", True),
        (BIRD["ask"], "Your dog is Bruno.", False),
    ]
    assert await population.directory.show_model(ModelId("acme", "ada")) == before
    assert await population.log("ada") == ()
    asked = {request.prompt[-1].content: request for request in population.engine.requests}  # type: ignore[union-attr]
    assert asked.keys() == {DOG["ask"], CAT["ask"], BIRD["ask"]}
    assert {request.sampling.temperature for request in population.engine.requests} == {0.0}
    assert [message.role for message in asked[CAT["ask"]].prompt] == ["system", "user"]  # type: ignore[union-attr]


async def test_a_question_is_asked_as_a_chat_that_begins_with_it_is(
    client: httpx.AsyncClient, population: Population
) -> None:
    for text in ("My dog is called Bruno.", "What is the colour of my boat?"):
        await client.post(
            "/v1/chat/completions", json={**CHAT, "messages": [{"role": "user", "content": text}]}
        )
    green = {"model": "ada", "position": 1, "correction": "Your boat is green."}
    assert (await client.post("/v1/feedback", json=green)).status_code == 201
    boat = {"ask": "What is the colour of my boat?", "expect": "green", "system": "Be brief."}
    await client.put(PATH, json={"questions": [DOG, boat]})
    del population.engine.requests[:]

    result = (await client.post(ASK, json={})).json()
    evaluated = asked_of(population)
    for question in (DOG, boat):
        said = [{"role": "system", "content": question["system"]}] if "system" in question else []
        said.append({"role": "user", "content": question["ask"]})
        await client.post("/v1/chat/completions", json={**CHAT, "messages": said, "peek": True})

    assert evaluated == asked_of(population)
    assert result["rows"][0]["passed"]
    told, corrected = evaluated
    assert "My dog is called Bruno. What is my dog called?" in told.prompt[-1].content  # type: ignore[union-attr]
    assert corrected.keeps_to == "Your boat is green."


async def test_the_base_by_name_is_told_nothing_of_the_log(
    client: httpx.AsyncClient, population: Population
) -> None:
    told = [{"role": "user", "content": "My dog is called Bruno."}]
    await client.post("/v1/chat/completions", json={**CHAT, "messages": told})
    await client.put(PATH, json={"questions": [DOG]})

    await client.post(ASK, json={"revision": "base"})

    assert population.engine.requests[-1].prompt == (Message("user", DOG["ask"]),)


async def test_another_revision_is_asked_by_name(client: httpx.AsyncClient, population: Population) -> None:
    await client.put(PATH, json={"questions": [DOG, CAT]})
    made = replace(revision("one"), base=BASE.fingerprint)
    await population.directory.publish_revision(ModelId("acme", "ada"), made)

    results = {
        name: (await client.post(ASK, json={"revision": name})).json()["revision"]
        for name in ("latest", made.digest[:8], "base")
    }
    unknown = [
        await client.post(ASK, json={"revision": name}) for name in ("canary", "é", "f" * 12, "x" * 200)
    ]

    assert results == {"latest": made.digest, made.digest[:8]: made.digest, "base": "base"}
    adapters = [request.adapter and request.adapter.digest for request in population.engine.requests]
    assert adapters == [made.digest] * 4 + [None] * 2
    assert {(reply.status_code, reply.json()["error"]["code"]) for reply in unknown} == {
        (404, "revision_not_found")
    }


async def test_a_question_that_is_too_long_for_the_context_is_named_when_it_is_asked(
    client: httpx.AsyncClient, command: Command
) -> None:
    long = {"ask": "? " * 999, "expect": "yes"}
    await client.put(PATH, json={"questions": [DOG, long]})

    refused = await client.post(ASK, json={})
    shown = await command("model", "evaluate", "ada")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "questions[1]")
    message = refused.json()["error"]["message"]
    assert message.startswith("Line 2 of the suite is too long: "), message
    assert shown.exit_code == 1
    assert "Line 2 of the suite is too long" in shown.output


async def test_another_tenant_has_nothing_of_it(client: httpx.AsyncClient, population: Population) -> None:
    await client.put(PATH, json={"questions": [DOG]})

    async with population.client("globex") as other:
        answers = [await other.get(PATH), await other.delete(PATH), await other.post(ASK, json={})]
        answers.append(await other.put(PATH, json={"questions": [DOG]}))

    assert {answer.json()["error"]["code"] for answer in answers} == {"model_not_found"}
    assert (await client.get(PATH)).status_code == 200


async def test_the_command_stores_asks_shows_and_removes(
    command: Command, file: Path, population: Population
) -> None:
    stored = await command("model", "evaluate", "ada", str(file))
    again = await command("model", "evaluate", "ada", "--json", "--revision", "base")
    shown = await command("suite", "show", "ada")
    removed = await command("suite", "rm", "ada")
    gone = await command("model", "evaluate", "ada")

    assert stored.exit_code == 3, stored.output
    for words in (
        *(line["ask"] for line in (DOG, CAT, BIRD)),
        "Your dog is Bruno.",
        "2 of 3 questions passed (67%)",
    ):
        assert words in stored.output
    assert again.exit_code == 3
    assert json.loads(again.output)["passed"] == 2
    assert [json.loads(line) for line in shown.output.splitlines()] == [
        {**DOG, "check": "contains"},
        CAT,
        BIRD,
    ]
    assert removed.exit_code == 0
    assert gone.exit_code == 1
    assert "has no suite" in gone.output
    assert await population.log("ada") == ()


async def test_the_command_exits_with_0_if_all_are_passed(command: Command, file: Path) -> None:
    write(file, json.dumps(DOG))

    done = await command("model", "evaluate", "ada", str(file))

    assert done.exit_code == 0, done.output
    assert "1 of 1 question passed (100%) by the revision base." in done.output


async def test_the_command_names_a_bad_line_and_stores_nothing(command: Command, file: Path) -> None:
    write(file, f"{json.dumps(DOG)}\nWhat is my cat called?\n")

    refused = await command("model", "evaluate", "ada", str(file))
    stored = await command("suite", "show", "ada")

    assert refused.exit_code == stored.exit_code == 1
    assert "Line 2 of the suite: it is not JSON." in refused.output
    assert "has no suite" in stored.output
