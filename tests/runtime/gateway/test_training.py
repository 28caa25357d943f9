"""Trainings over HTTP: asked for once, listed, cancelled, and taken back."""

from typing import Any

import httpx
import pytest

from populace.actors.turn import ModelId
from tests.actors.trainings import DONE, trained
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population, chat_body

JOBS = "/v1/personal-models/ada/jobs"
ADA = ModelId("acme", "ada")


async def train(population: Population, client: httpx.AsyncClient, seed: str = "new") -> str:
    """Have ada trained as a trainer would; answers the digest of what came of it."""
    asked = (await client.post(JOBS, json={})).json()
    job = await population.directory.jobs.start(ADA, asked["number"])
    made = trained(job, seed)
    assert (await population.directory.jobs.finish(ADA, job.number, made, DONE)).state == "promoted"
    return made.digest


async def test_a_training_is_asked_for_and_listed_with_what_it_is_to_do(client: httpx.AsyncClient) -> None:
    asked = await client.post(JOBS, json={"method": "preference", "rank": 4, "learning_rate": 1e-3})

    assert asked.status_code == 202
    job = asked.json()
    assert (job["id"], job["object"], job["state"], job["method"]) == (
        "ada/0",
        "training.job",
        "waiting",
        "preference",
    )
    assert (job["options"]["rank"], job["options"]["learning_rate"], job["started"]) == (4, 1e-3, None)
    for path in (JOBS, "/v1/jobs"):
        assert (await client.get(path)).json() == {"object": "list", "data": [job]}


async def test_tasks_come_along_and_the_first_wrong_one_is_named(
    population: Population, client: httpx.AsyncClient
) -> None:
    asked = {"prompt": "What is 3 + 4?", "answer": 7}
    body: dict[str, Any] = {"method": "rl", "reward": "number", "tasks": [asked] * 16}

    wrong = await client.post(JOBS, json={**body, "tasks": [asked, {"answer": 7}]})
    job = (await client.post(JOBS, json=body)).json()

    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "tasks[1]")
    assert (job["method"], job["options"]["reward"], job["reward"]) == ("rl", "number", None)
    kept = await population.directory.jobs.tasks(ADA, job["number"])
    assert [(one.prompt[0].content, one.known) for one in kept] == [(asked["prompt"], {"answer": 7})] * 16


@pytest.mark.parametrize(
    ("body", "parameter", "message"),
    [
        ({"reward": "best"}, "reward", "There is no reward named `best`; there are exact, grader, "),
        ({"tasks": [{"prompt": "3 + 4?", "answer": 7}]}, "tasks", "1 tasks are too few to learn from"),
    ],
)
async def test_what_no_training_could_learn_from_is_refused_at_the_request(
    client: httpx.AsyncClient, body: dict[str, Any], parameter: str, message: str
) -> None:
    whole = {"method": "rl", "reward": "number", "tasks": [{"prompt": "3 + 4?", "answer": 7}] * 16}

    reply = await client.post(JOBS, json=whole | body)

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter)
    assert reply.json()["error"]["message"].startswith(message)
    assert (await client.get(JOBS)).json()["data"] == []


async def test_a_retry_asks_for_one_training(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "train-1"}
    first = (await client.post(JOBS, json={}, headers=key)).json()

    assert (await client.post(JOBS, json={}, headers=key)).json() == first
    other = await client.post(JOBS, json={"rank": 2}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "operation_conflict")
    busy = await client.post(JOBS, json={})
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "training_under_way")
    assert busy.headers["x-should-retry"] == "false"


async def test_a_training_is_cancelled_once(client: httpx.AsyncClient) -> None:
    await client.post(JOBS, json={})

    cancelled = (await client.delete(JOBS)).json()

    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "somebody cancelled it")
    again = await client.delete(JOBS)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "job_not_found")


async def test_what_came_of_a_training_says_where_it_comes_from_and_can_be_taken_back(
    population: Population, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/chat/completions", json=chat_body())
    first = await train(population, client, "first")
    second = await train(population, client, "second")

    revisions = (await client.get("/v1/personal-models/ada/revisions")).json()["data"]
    by_digest = {one["id"]: one for one in revisions}
    assert by_digest[second]["parent"] == first
    assert by_digest[second]["lineage"]["log_range"] == [0, 1]
    assert by_digest[second]["lineage"]["scores"] == {"gain": 0.5}

    back = (await client.post("/v1/personal-models/ada/rollback", json={})).json()
    assert (back["aliases"], back["cursor"]) == ({"latest": first}, 1)
    stale = await client.post("/v1/personal-models/ada/rollback", json={"revision": second})
    assert stale.json()["aliases"] == {"latest": first}, "a retry takes back no more"
    assert (await client.post("/v1/personal-models/ada/rollback", json={})).json()["aliases"] == {}
    base = await client.post("/v1/personal-models/ada/rollback", json={})
    assert (base.status_code, base.json()["error"]["code"]) == (404, "revision_not_found")


async def test_the_command_that_rolls_back_says_if_there_is_nothing_to(
    population: Population, client: httpx.AsyncClient, command: Command
) -> None:
    learned = await train(population, client, "learned")

    back = await command("model", "rollback", "ada")
    nothing = await command("model", "rollback", "ada")
    again = await command("model", "rollback", "ada", "--revision", learned)

    assert (back.exit_code, "ada answers from the base now." in back.output) == (0, True), back.output
    assert nothing.exit_code == 1
    assert "ada has no current revision: there is nothing to roll back." in nothing.output
    assert again.exit_code == 0, "a retry takes back no more"


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"method": "osmosis"}, "method"),
        ({"rank": 0}, "rank"),
        ({"rank": "eight"}, "rank"),
        ({"learning_rate": 1e400}, "learning_rate"),
        ({"steps": 10**9}, "steps"),
        ({"seed": 2**64}, "seed"),
        ({"stepz": 1}, "stepz"),
        ({"start": "anywhere"}, "start"),
    ],
)
async def test_options_that_nobody_can_mean_are_refused_by_name(
    client: httpx.AsyncClient, body: dict[str, Any], parameter: str
) -> None:
    text = str(body).replace("'", '"').replace("inf", "1e400")
    refused = await client.post(JOBS, content=text, headers={"Content-Type": "application/json"})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, parameter)
    assert (await client.get(JOBS)).json()["data"] == []


async def test_a_tenant_neither_sees_nor_trains_anothers_model(population: Population) -> None:
    async with population.client("globex") as stranger:
        for answer in (
            await stranger.post(JOBS, json={}),
            await stranger.get(JOBS),
            await stranger.delete(JOBS),
            await stranger.post("/v1/personal-models/ada/rollback", json={}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert (await stranger.get("/v1/jobs")).json()["data"] == []
