"""A population over HTTP: who takes part says so, and is asked together with others."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from populace.actors.owner import Rank
from populace.actors.turn import ModelId
from populace.hosting.aggregation import aggregator_over
from populace.policies.diversity.probes import LABELS
from tests.actors.aggregation.test_report import member
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population

ANSWERS = "/v1/population/answers"
CITIES = ["Paris", "Rome", "Oslo"]
WHERE: dict[str, Any] = {"question": "Which one is in Italy?", "choices": CITIES, "k": 3}


@pytest.fixture
async def members(population: Population, client: httpx.AsyncClient) -> list[str]:
    """Three members, of whom ada shares texts, and one model that takes no part."""
    population.engine.ending = (" Rome",)
    for name in ("bob", "cyd", "eve"):
        await population.create(name)
    for name, sharing in (("ada", "texts"), ("bob", "votes"), ("cyd", "votes")):
        told = await client.put(f"/v1/personal-models/{name}/sharing", json={"sharing": sharing})
        assert told.status_code == 200, told.text
    return ["ada", "bob", "cyd"]


async def test_who_takes_part_is_listed_until_it_does_no_longer(
    client: httpx.AsyncClient, members: list[str]
) -> None:
    async def listed() -> list[tuple[str, str]]:
        found = (await client.get("/v1/population/members")).json()["data"]
        assert all(
            (one["revision"], one["profiled"], one["accuracy"]) == ("base", False, None) for one in found
        )
        return [(one["model"], one["sharing"]) for one in found]

    assert await listed() == [("ada", "texts"), ("bob", "votes"), ("cyd", "votes")]
    left = await client.put("/v1/personal-models/bob/sharing", json={"sharing": None})
    assert (left.json()["model"], left.json()["sharing"], left.json()["since"]) == ("bob", None, None)
    assert [name for name, _ in await listed()] == ["ada", "cyd"]
    for name, sharing in (("ada", "texts"), ("bob", None), ("eve", None)):
        shown = (await client.get(f"/v1/personal-models/{name}/sharing")).json()
        assert (shown["model"], shown["sharing"]) == (name, sharing)
    assert (await client.get("/v1/personal-models/zoe/sharing")).status_code == 404


async def test_members_are_asked_and_the_answer_names_each_ones_vote(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    answer = (await client.post(ANSWERS, json=WHERE)).json()

    assert (answer["object"], answer["final"], answer["answer"], answer["tie"]) == (
        "population.answer",
        True,
        "Rome",
        False,
    )
    assert [(vote["model"], vote["revision"], vote["answer"]) for vote in answer["votes"]] == [
        (name, "base", "Rome") for name in members
    ]
    assert (answer["measures"]["voted"], answer["measures"]["agreement"]) == (3, 1.0)
    assert await population.log("ada") == ()
    assert {request.owner.rank for request in population.engine.requests} == {Rank.POPULATION}


async def test_with_stream_votes_are_told_as_they_come(client: httpx.AsyncClient, members: list[str]) -> None:
    streamed = await client.post(ANSWERS, json={**WHERE, "stream": True})

    lines = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    parts = [json.loads(line) for line in lines[:-1]]
    assert [part["final"] for part in parts] == [False, False, True]
    assert [part["answer"] for part in parts] == [None, None, "Rome"]


async def test_text_is_that_of_who_shares_it(client: httpx.AsyncClient, members: list[str]) -> None:
    answer = (await client.post(ANSWERS, json={"question": "Say something.", "k": 3})).json()

    [texts] = [vote["answer"] for vote in answer["votes"] if vote["model"] == "ada"]
    assert answer["answer"] == texts
    assert [vote["answer"] for vote in answer["votes"] if vote["model"] != "ada"] == [None, None]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**WHERE, "k": 4}, 409, "population_too_small"),
        ({**WHERE, "models": ["ada", "eve"]}, 409, "no_member"),
        ({**WHERE, "models": ["nobody"]}, 404, "model_not_found"),
        ({**WHERE, "choices": ["Rome"]}, 400, "invalid_request"),
        ({**WHERE, "k": 2}, 400, "invalid_request"),
        ({**WHERE, "models": ["ada", "bob"]}, 400, "invalid_request"),
        ({**WHERE, "k": 0}, 400, "invalid_request"),
        ({"k": 3}, 400, "invalid_request"),
        ({"question": "a", "messages": [{"role": "user", "content": "a"}]}, 400, "invalid_request"),
        ({**WHERE, "select": "worst"}, 400, "invalid_request"),
        ({**WHERE, "tempo": 3}, 400, "invalid_request"),
        ({**WHERE, "stream": True, "k": 4}, 409, "population_too_small"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    client: httpx.AsyncClient, members: list[str], body: dict[str, Any], status: int, code: str
) -> None:
    refused = await client.post(ANSWERS, json=body)

    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)


async def test_another_tenants_models_are_no_members_of_this_one(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    async with population.client("globex") as stranger:
        assert (await stranger.get("/v1/population/members")).json()["data"] == []
        refused = await stranger.post(ANSWERS, json={**WHERE, "models": ["ada"]})
        shared = await stranger.put("/v1/personal-models/ada/sharing", json={"sharing": "texts"})

    assert (refused.status_code, shared.status_code) == (404, 404)


CHAT: dict[str, Any] = {
    "model": "population",
    "messages": [{"role": "user", "content": "Which one is in Italy?"}],
    "population": {"k": 3, "choices": CITIES},
}


async def test_a_chat_with_the_population_is_answered_in_the_words_of_the_choice(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    answer = (await client.post("/v1/chat/completions", json=CHAT)).json()

    [choice] = answer["choices"]
    assert (answer["object"], answer["model"], choice["message"]["content"]) == (
        "chat.completion",
        "population",
        "Rome",
    )
    assert [vote["model"] for vote in answer["populace"]["votes"]] == members
    assert answer["usage"]["completion_tokens"] == 3 * 2
    assert {request.sampling.temperature for request in population.engine.requests} == {0.0}
    warm = await client.post("/v1/chat/completions", json={**CHAT, "temperature": 0.5})
    assert warm.status_code == 200
    assert population.engine.requests[-1].sampling.temperature == 0.5


async def test_a_streamed_chat_tells_each_vote_and_then_the_answer(
    client: httpx.AsyncClient, members: list[str]
) -> None:
    streamed = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})

    lines = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    deltas = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert deltas == [None, None, "Rome"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_an_answer_that_there_is_not_is_a_refusal_that_says_why(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    population.engine.ending = (" Bern",)

    answer = (await client.post("/v1/chat/completions", json=CHAT)).json()

    message = answer["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "everybody abstained")
    again = {"messages": [*CHAT["messages"], message, {"role": "user", "content": "Rome or Oslo?"}]}
    assert (await client.post("/v1/chat/completions", json={**CHAT, **again})).status_code == 200
    said = [(part.role, part.content) for part in population.engine.requests[-1].prompt]  # pyright: ignore
    assert ("assistant", "everybody abstained") in said


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"n": 2}, "n"),
        ({"memory": {"read": True}}, "memory"),
        ({"context": {"retrieve": 1}}, "context"),
        ({"model": "ada"}, "population"),
        ({"population": {"k": 0}}, "k"),
        ({"population": {"q": 1}}, "population.q"),
    ],
)
async def test_what_a_population_does_not_have_is_refused_by_name(
    client: httpx.AsyncClient, members: list[str], changes: dict[str, Any], parameter: str
) -> None:
    refused = await client.post("/v1/chat/completions", json={**CHAT, **changes})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, parameter)


REPORT = "/v1/population/report"


async def profile(population: Population, name: str, seed: int, tenant: str = "acme") -> None:
    """Keep a profile of a member; those of one seed answer the probes alike."""
    right = np.random.default_rng(seed).random(len(LABELS)) < 0.7
    known = member(name, right).profile
    assert known is not None
    assert await population.directory.members.keep_profile(ModelId(tenant, name), known)


async def test_a_report_says_who_answers_alike_and_who_is_not_known_yet(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    empty = (await client.get(REPORT)).json()
    for name in ("ada", "bob"):
        await profile(population, name, seed=1)
    report = (await client.get(REPORT)).json()
    await profile(population, "cyd", seed=2)
    later = (await client.get(REPORT)).json()

    assert (empty["members"], empty["total"], empty["profiled"], empty["mean"]) == ([], 3, 0, 0.0)
    assert (empty["disagreement"], empty["curve"]) == (None, [])
    assert [(one["model"], one["sharing"], one["cluster"]) for one in report["members"]] == [
        ("ada", "texts", 0),
        ("bob", "votes", 0),
    ]
    assert (report["unprofiled"], report["total"], report["profiled"]) == (["cyd"], 3, 2)
    assert (report["clusters"], report["disagreement"]) == (1, 0.0)
    assert (later["clusters"], later["unprofiled"]) == (2, [])
    assert [point["k"] for point in later["curve"]] == [1, 2]


async def test_a_report_is_of_the_callers_members_alone(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    await profile(population, "ada", seed=1)
    await population.create("gil", "globex")
    async with population.client("globex") as stranger:
        await stranger.put("/v1/personal-models/gil/sharing", json={"sharing": "votes"})
        await profile(population, "gil", seed=2, tenant="globex")
        theirs = (await stranger.get(REPORT)).json()
    ours = (await client.get(REPORT)).json()

    assert [one["model"] for one in theirs["members"]] == ["gil"]
    assert [one["model"] for one in ours["members"]] == ["ada"]
    assert (theirs["total"], ours["total"]) == (1, 3)


async def test_a_report_is_made_again_once_a_member_changed_and_not_before(
    population: Population, client: httpx.AsyncClient, members: list[str]
) -> None:
    aggregator = aggregator_over(population.directory, population.engine, population.path)
    await profile(population, "ada", seed=1)
    first = await aggregator.report("acme")
    assert await aggregator.report("acme") is first

    await client.put("/v1/personal-models/ada/sharing", json={"sharing": "votes"})
    second = await aggregator.report("acme")
    assert [one.sharing for one in second.members] == ["votes"]
    await client.put("/v1/personal-models/ada/sharing", json={"sharing": None})
    assert (await aggregator.report("acme")).members == ()
    assert (await aggregator.report("globex")).total == 0


async def test_the_command_line_prints_a_report_as_the_gateway_answers_it(
    population: Population,
    client: httpx.AsyncClient,
    members: list[str],
    command: Command,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POPULACE_ADDRESS", url)
    empty = await command("population", "report", "--json")
    assert json.loads(empty.output) == (await client.get(REPORT)).json()
    for seed, name in enumerate(members):
        await profile(population, name, seed)

    printed = await command("population", "report", "--json")

    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.output) == (await client.get(REPORT)).json()
