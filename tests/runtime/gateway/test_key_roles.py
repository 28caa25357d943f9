"""A key does what its role and its models allow, and what more is needed is said by name."""

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from populace.actors.errors import InvalidName, InvalidRequest
from populace.gateway.http.access import new_key
from populace.gateway.http.context import KeyedRoute
from populace.gateway.http.needs import Need, need_of
from tests.runtime.gateway.population import Population, chat_body

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def routes_of(population: Population) -> list[APIRoute]:
    return [route for route in population.app.routes if isinstance(route, APIRoute)]


async def asked(client: httpx.AsyncClient, route: APIRoute) -> httpx.Response:
    """Send a request with a body that no route takes, by a route's path and its first method."""
    return await client.request(min(route.methods), route.path, content=b"{")


def told(reply: httpx.Response) -> tuple[int, str, str]:
    error = reply.json()["error"]
    return reply.status_code, error["type"], error["code"]


def test_every_route_declares_what_it_needs(population: Population) -> None:
    routes = routes_of(population)
    undeclared = [route.path for route in routes if need_of(route.endpoint) is None]

    assert undeclared == []
    assert len(routes) > 70


def test_a_route_for_keys_is_not_even_made_without_a_declaration() -> None:
    async def forgotten(request: Request) -> Response:
        del request
        return Response()

    with pytest.raises(TypeError, match="@needs"):
        APIRouter(route_class=KeyedRoute).get("/v1/forgotten")(forgotten)


def test_only_what_changes_nothing_is_for_keys_that_read(population: Population) -> None:
    changing = [
        route.path
        for route in routes_of(population)
        if need_of(route.endpoint) in (Need("read"), Need("read", all_models=True))
        and not route.methods <= {"GET", "HEAD"}
    ]

    assert changing == []


def test_the_description_says_which_role_a_route_needs(population: Population) -> None:
    described = population.app.openapi()["paths"]

    assert described["/v1/models"]["get"]["x-populace-role"] == "read"
    assert described[CHAT]["post"]["x-populace-role"] == "tenant"


async def test_a_key_that_reads_is_refused_all_else_before_its_body_is_read(population: Population) -> None:
    await population.add_key("reader", role="read")
    refused: set[str] = set()
    async with population.client("reader") as client:
        for route in routes_of(population):
            reply = await asked(client, route)
            if reply.status_code == 403:
                refused.add(f"{min(route.methods)} {route.path}")
                assert told(reply) == (403, "permission_error", "role_needed")
                assert "`read`" in reply.json()["error"]["message"]

    needing = {
        f"{min(route.methods)} {route.path}"
        for route in routes_of(population)
        if (need := need_of(route.endpoint)) is not None and need.role in ("tenant", "admin")
    }
    assert refused == needing
    assert len(refused) > 30


async def test_a_key_that_reads_sees_what_the_tenant_has_and_leaves_no_turn(population: Population) -> None:
    await population.add_key("reader", role="read")
    async with population.client("acme") as client:
        await client.post(CHAT, json=chat_body())
    async with population.client("reader") as client:
        log = await client.get("/v1/personal-models/ada/interactions")
        talked = await client.post(CHAT, json=chat_body())

    assert [turn["position"] for turn in log.json()["data"]] == [0]
    assert talked.json()["error"]["message"] == (
        "This needs an API key with the role `tenant`, and this key has the role `read`."
    )
    assert len(await population.log("ada")) == 1


OTHERS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", CHAT, chat_body(model="bob")),
    ("POST", CHAT, chat_body(model="bob@latest")),
    ("POST", CHAT, chat_body(model="bob:peek")),
    ("POST", CHAT, chat_body(model="nobody-there")),
    ("POST", CHAT, chat_body(model="base")),
    ("POST", "/v1/completions", {"model": "bob", "prompt": "once"}),
    ("POST", RESPONSES, {"model": "bob", "input": "hello"}),
    ("POST", "/v1/embeddings", {"model": "base", "input": "hello"}),
    ("POST", "/v1/feedback", {"model": "bob", "position": 0, "thumb": "up"}),
    ("POST", "/v1/conversations", {"model": "bob"}),
    ("GET", "/v1/models/bob", None),
    ("GET", "/v1/personal-models/bob", None),
    ("GET", "/v1/personal-models/bob/interactions", None),
    ("GET", "/v1/personal-models/bob/export", None),
    ("DELETE", "/v1/personal-models/bob", None),
    ("POST", "/v1/personal-models", {"name": "cyd"}),
    ("POST", "/v1/personal-models/ada/fork", {"name": "cyd"}),
    ("POST", "/v1/personal-models/bob/fork", {"name": "ada"}),
    ("POST", "/v1/personal-models/bob/jobs", {"method": "sft"}),
]


@pytest.mark.parametrize(("method", "path", "body"), OTHERS)
async def test_a_key_of_one_model_does_nothing_with_another(
    population: Population, method: str, path: str, body: dict[str, Any] | None
) -> None:
    await population.create("bob")
    await population.add_key("of-ada", models=["ada"])
    async with population.client("of-ada") as client:
        reply = await client.request(method, path, json=body)

    assert told(reply) == (403, "permission_error", "model_not_of_key"), reply.text
    assert "This API key is for ada" in reply.json()["error"]["message"]
    assert await population.log("bob") == ()
    names = [view.model.name for view in (await population.directory.list_models("acme")).models]
    assert names == ["ada", "bob"]


ABOUT_ALL: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", CHAT, chat_body(model="population")),
    ("POST", "/v1/population/answers", {"question": "Which?"}),
    ("POST", "/v1/population/merge", {"models": ["ada", "ada"], "into": "ada"}),
    ("GET", "/v1/population/members", None),
    ("GET", "/v1/models/population", None),
    ("GET", "/v1/jobs", None),
    ("GET", "/v1/files", None),
    ("POST", "/v1/personal-models/import", None),
    ("GET", f"/v1/requests/req_{'0' * 32}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ABOUT_ALL)
async def test_a_key_of_one_model_is_refused_what_is_about_all(
    population: Population, method: str, path: str, body: dict[str, Any] | None
) -> None:
    await population.add_key("of-ada", models=["ada"])
    async with population.client("of-ada") as client:
        reply = await client.request(method, path, json=body)

    assert told(reply) == (403, "permission_error", "all_models_needed"), reply.text


async def test_a_key_of_one_model_is_used_as_any_other_with_that_one(population: Population) -> None:
    await population.create("bob")
    await population.add_key("of-ada", models=["ada", "not-yet"])
    async with population.client("of-ada") as client:
        talked = await client.post(CHAT, json=chat_body())
        models = await client.get("/v1/models")
        listed = await client.get("/v1/personal-models")
        conversation = await client.post("/v1/conversations", json={})
        made = await client.post("/v1/personal-models", json={"name": "not-yet"})
        pages = [
            await client.get("/v1/personal-models", params={"limit": 1, **after})
            for after in ({}, {"after": "ada"}, {"after": "not-yet"})
        ]

    assert [reply.status_code for reply in (talked, conversation, made)] == [200, 200, 201]
    assert [model["id"] for model in models.json()["data"]] == ["ada", "ada:peek"]
    assert [model["id"] for model in listed.json()["data"]] == ["ada"]
    assert [[model["id"] for model in page.json()["data"]] for page in pages] == [["ada"], ["not-yet"], []]


async def test_a_key_that_names_the_base_may_ask_it(population: Population) -> None:
    await population.add_key("of-base", models=["base"])
    async with population.client("of-base") as client:
        talked = await client.post(CHAT, json=chat_body(model="base"))
        models = await client.get("/v1/models")

    assert talked.status_code == 200
    assert [model["id"] for model in models.json()["data"]] == ["base"]


async def test_a_response_and_a_conversation_of_another_model_are_not_of_this_key(
    population: Population,
) -> None:
    await population.create("bob")
    await population.add_key("of-ada", models=["ada"])
    async with population.client("acme") as client:
        response = (await client.post(RESPONSES, json={"model": "bob", "input": "hello"})).json()["id"]
        conversation = (await client.post("/v1/conversations", json={"model": "bob"})).json()["id"]
    follows = {"previous_response_id": response}
    async with population.client("of-ada") as client:
        replies = [
            await client.get(f"{RESPONSES}/{response}"),
            await client.delete(f"{RESPONSES}/{response}"),
            await client.post(RESPONSES, json={"model": "ada", "input": "x", **follows}),
            await client.get(f"/v1/conversations/{conversation}"),
            await client.get(f"/v1/conversations/{conversation}/items"),
        ]

    assert [told(reply)[2] for reply in replies] == ["model_not_of_key"] * 5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"role": "owner"}, InvalidRequest),
        ({"role": "admin", "models": ["ada"]}, InvalidRequest),
        ({"models": []}, InvalidRequest),
        ({"models": [f"m{number}" for number in range(65)]}, InvalidRequest),
        ({"models": ["Ada"]}, InvalidName),
        ({"models": ["population"]}, InvalidName),
    ],
)
async def test_a_key_that_cannot_be_is_not_made(
    population: Population, options: dict[str, Any], error: type[Exception]
) -> None:
    _, key = new_key("acme", "", now_ms=0, **options)

    with pytest.raises(error):
        await population.directory.keys.create(key)
    assert await population.directory.keys.find(key.key_id) is None
