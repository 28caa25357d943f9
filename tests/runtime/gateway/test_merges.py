"""Members that share texts become one revision over HTTP, which names what it comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import httpx
import pytest

from populace.actors.merging import LINEAR, METHODS
from populace.gateway.personal_models.schema import MergeBody
from tests.runtime.archive.uploads import adapter_files, write_base, zipped
from tests.runtime.gateway.population import Population, chat_body

MODELS = "/v1/personal-models"
MERGE = "/v1/population/merge"


@pytest.fixture
async def digests(client: httpx.AsyncClient, population: Population, tmp_path: Path) -> Mapping[str, str]:
    """The revisions of ada and ben, who share texts, and of cyd, who shares votes. Dan has no adapter."""
    base = write_base(population.base_directory)
    found: dict[str, str] = {}
    for seed, name in enumerate(("ada", "ben", "cyd")):
        upload = zipped(adapter_files(base, tmp_path / name, seed=seed))
        query = {"create": name != "ada"}
        reply = await client.post(f"{MODELS}/{name}/revisions", content=upload, params=query)
        found[name] = reply.json()["id"]
        sharing = "votes" if name == "cyd" else "texts"
        await client.put(f"{MODELS}/{name}/sharing", json={"sharing": sharing})
    await population.create("dan")
    await client.put(f"{MODELS}/dan/sharing", json={"sharing": "texts"})
    return found


async def test_members_become_one_revision_of_a_new_model_that_answers(
    client: httpx.AsyncClient, digests: Mapping[str, str]
) -> None:
    reply = await client.post(MERGE, json={"models": ["ada", "ben"], "into": "panel"})

    merged = reply.json()
    assert reply.status_code == 201
    assert (merged["model"], merged["kept"], merged["warning"]) == ("panel", 1.0, None)
    assert merged["revision"] == (await client.get(f"{MODELS}/panel/revisions")).json()["data"][0]
    assert (merged["revision"]["method"], merged["revision"]["rank"]) == ("merge-sum", 4)
    assert merged["revision"]["sources"] == [
        {"revision": digests["ada"], "weight": 0.5},
        {"revision": digests["ben"], "weight": 0.5},
    ]
    said = await client.post("/v1/chat/completions", json=chat_body(model="panel"))
    assert said.headers["x-populace-revision"] == merged["revision"]["id"]


async def test_the_same_merge_again_is_the_same_revision_and_another_one_moves_latest(
    client: httpx.AsyncClient, digests: Mapping[str, str]
) -> None:
    body = {"models": ["ada", "ben"], "into": "panel", "method": "svd", "rank": 1, "seed": 3}
    weighted = {**body, "weights": {"ada": 1, "ben": 0.25}, "method": "ties", "density": 0.3}

    first, again, other = [await client.post(MERGE, json=one) for one in (body, body, weighted)]

    assert [reply.status_code for reply in (first, again, other)] == [201] * 3
    assert first.json() == again.json()
    assert 0 < first.json()["kept"] < 1
    assert [one["weight"] for one in other.json()["revision"]["sources"]] == [1, 0.25]
    panel = (await client.get(f"{MODELS}/panel")).json()
    assert panel["aliases"] == {"latest": other.json()["revision"]["id"]}


async def test_linear_is_the_sum_with_a_warning(
    client: httpx.AsyncClient, digests: Mapping[str, str]
) -> None:
    body = {"models": ["ada", "ben"], "into": "panel"}

    plain = await client.post(MERGE, json=body)
    linear = await client.post(MERGE, json={**body, "method": "linear"})

    assert linear.json()["revision"] == plain.json()["revision"]
    assert "instead" in linear.json()["warning"]


@pytest.mark.parametrize(
    ("change", "status", "code", "parameter"),
    [
        ({"models": ["ada", "cyd"]}, 400, "invalid_request", "models"),
        ({"models": ["ada", "dan"]}, 400, "invalid_request", "models"),
        ({"models": ["ada", "eve"]}, 409, "no_member", None),
        ({"models": ["ada", "zed"]}, 404, "model_not_found", None),
        ({"models": ["ada", "zoe"]}, 404, "model_not_found", None),
        ({"models": ["ada", "../x"]}, 404, "model_not_found", None),
        ({"models": []}, 400, "invalid_request", "models"),
        ({"into": "Panel"}, 400, "invalid_name", "name"),
        ({"into": "base"}, 400, "invalid_name", "name"),
        ({"weights": {"ada": 1}}, 400, "invalid_request", "weights"),
        ({"weights": {"ada": 1, "ben": "2"}}, 400, "invalid_request", "weights.ben"),
        ({"method": "mean"}, 400, "invalid_request", "method"),
        ({"method": "svd", "rank": 0}, 400, "invalid_request", "rank"),
        ({"density": 0}, 400, "invalid_request", "density"),
        ({"seed": -1}, 400, "invalid_request", "seed"),
        ({"alias": "latest"}, 400, "invalid_request", "alias"),
    ],
)
async def test_what_may_not_be_merged_is_refused_by_name_and_nothing_is_made(
    client: httpx.AsyncClient,
    population: Population,
    digests: Mapping[str, str],
    change: dict[str, object],
    status: int,
    code: str,
    parameter: str | None,
) -> None:
    await population.create("eve")
    await population.create("zoe", tenant="globex")

    reply = await client.post(MERGE, json={"models": ["ada", "ben"], "into": "panel", **change})

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, parameter)
    assert (await client.get(f"{MODELS}/panel")).status_code == 404
    assert len(list((population.path / "revisions").glob("*.adapter"))) == len(digests)


async def test_members_of_others_are_not_merged(population: Population, digests: Mapping[str, str]) -> None:
    async with population.client("globex") as globex:
        reply = await globex.post(MERGE, json={"models": ["ada", "ben"], "into": "panel"})

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert (await population.directory.list_models("globex")).models == ()


def test_there_are_the_ways_to_merge_that_python_has() -> None:
    assert set(get_args(MergeBody.model_fields["method"].annotation)) == {*METHODS, LINEAR}
