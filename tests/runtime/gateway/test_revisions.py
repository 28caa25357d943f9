"""A person gives a model an adapter over HTTP: it is checked, stored, made ready, and answers; or is not."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from populace.actors.errors import EngineOverloaded, EngineUnavailable
from populace.actors.turn import ModelId
from populace.archive.adapter_work import do_work_apart
from populace.storage.revisions import CONFIG_FILE, TENSORS_FILE
from populace.storage.store import Store
from tests.runtime.archive.uploads import adapter_files, write_base, zipped
from tests.runtime.gateway.population import ARCHIVE_BYTES_MAX, BODY_BYTES_MAX, Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE

MODELS = "/v1/personal-models"
REVISIONS = f"{MODELS}/ada/revisions"


@pytest.fixture(autouse=True)
def base(population: Population) -> Path:
    return write_base(population.base_directory)


@pytest.fixture
def files(base: Path, tmp_path: Path) -> dict[str, bytes]:
    return adapter_files(base, tmp_path / "adapter", seed=1)


@pytest.fixture
def upload(files: dict[str, bytes]) -> bytes:
    return zipped({f"my-lora/{name}": content for name, content in files.items()})


def stored(population: Population) -> set[str]:
    """What lies in the adapters' folder."""
    folder = Store.adapters(population.path).root
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()


async def test_an_adapter_becomes_a_revision_that_answers(
    client: httpx.AsyncClient, population: Population, upload: bytes
) -> None:
    reply = await client.post(REVISIONS, content=upload)

    revision = reply.json()
    assert reply.status_code == 201
    assert revision == (await client.get(REVISIONS)).json()["data"][0]
    assert {name: revision[name] for name in ("base", "method", "parent", "rank", "readiness")} == {
        "base": BASE.fingerprint,
        "method": "imported",
        "parent": None,
        "rank": 2,
        "readiness": "ready",
    }
    assert stored(population) == {f"{revision['id']}.adapter"}
    assert population.engine.prepared == [revision["id"]]
    said = await client.post("/v1/chat/completions", json=chat_body())
    assert said.headers["x-populace-revision"] == revision["id"]


async def test_the_same_adapter_again_is_the_same_revision_whatever_it_came_in(
    client: httpx.AsyncClient, population: Population, files: dict[str, bytes], upload: bytes
) -> None:
    first = await client.post(REVISIONS, content=upload)
    packed = Store.adapters(population.path).path(first.json()["id"]).read_bytes()
    again = await client.post(REVISIONS, content=upload)
    flat = await client.post(REVISIONS, content=zipped(files, method=zipfile.ZIP_STORED))
    as_packed = await client.post(REVISIONS, content=packed, params={"alias": "canary"})

    assert [reply.status_code for reply in (first, again, flat, as_packed)] == [201] * 4
    assert first.json() == again.json() == flat.json() == as_packed.json()
    assert len((await client.get(REVISIONS)).json()["data"]) == 1
    aliases = (await client.get(f"{MODELS}/ada")).json()["aliases"]
    assert aliases == {"canary": first.json()["id"], "latest": first.json()["id"]}


async def test_a_model_is_created_with_its_first_revision_once(
    client: httpx.AsyncClient, population: Population, upload: bytes
) -> None:
    eve = f"{MODELS}/eve/revisions"
    created = await client.post(eve, content=upload, params={"create": True})
    taken = await client.post(eve, content=upload, params={"create": True})
    absent = await client.post(f"{MODELS}/zed/revisions", content=upload)

    assert created.status_code == 201
    assert (await client.get(f"{MODELS}/eve")).json()["aliases"] == {"latest": created.json()["id"]}
    assert created.json() == (await client.get(eve)).json()["data"][0]
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "model_exists")
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("name", "query", "status", "code"),
    [
        ("Eve", {"create": "true"}, 400, "invalid_name"),
        ("base", {"create": "true"}, 400, "invalid_name"),
        ("Eve", {}, 404, "model_not_found"),
        ("zed", {}, 404, "model_not_found"),
        ("ada", {"create": "true"}, 409, "model_exists"),
        ("eve", {"create": "true", "alias": "canary"}, 400, "invalid_request"),
        ("eve", {"create": "perhaps"}, 400, "invalid_request"),
        ("ada", {"alias": "No Alias"}, 400, "invalid_name"),
        ("ada", {"alias": "f" * 64}, 400, "invalid_name"),
    ],
)
async def test_what_cannot_be_is_told_before_the_body_is_read(
    client: httpx.AsyncClient, name: str, query: dict[str, str], status: int, code: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body is not read")
        yield b""

    reply = await client.post(f"{MODELS}/{name}/revisions", params=query, content=body())

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


async def test_without_a_key_or_for_others_models_nothing_is_read(population: Population) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body is not read")
        yield b""

    async with population.client(None) as nobody, population.client("globex") as globex:
        keyless = await nobody.post(REVISIONS, content=body())
        foreign = await globex.post(REVISIONS, content=body())
        compared = await globex.get(f"{MODELS}/ada/diff")

    assert [keyless.status_code, foreign.status_code, compared.status_code] == [401, 404, 404]


def damaged(files: dict[str, bytes], fault: str) -> bytes:
    config, tensors = files[CONFIG_FILE], files[TENSORS_FILE]
    return {
        "no adapter": b"hello",
        "nothing": b"",
        "a packed file that is cut off": b"PopLoRA\1" + bytes(100),
        "a pickle": zipped({CONFIG_FILE: config, "adapter_model.bin": b"\x80\4."}),
        "a path that leaves": zipped({**files, "../../x": b""}),
        "a bomb": zipped({**files, "more": bytes(ARCHIVE_BYTES_MAX)}),
        "tensors cut off": zipped({**files, TENSORS_FILE: tensors[:-10]}),
        "NaN": zipped({**files, TENSORS_FILE: tensors[:-4] + b"\0\0\xc0\x7f"}),
        "a rank above the limit": zipped({**files, CONFIG_FILE: config.replace(b'"r": 2', b'"r": 64')}),
    }[fault]


@pytest.mark.parametrize(
    "fault",
    [
        "no adapter",
        "nothing",
        "a packed file that is cut off",
        "a pickle",
        "a path that leaves",
        "a bomb",
        "tensors cut off",
        "NaN",
        "a rank above the limit",
    ],
)
@pytest.mark.parametrize("create", [False, True])
async def test_what_is_no_adapter_is_refused_by_name_and_leaves_nothing(
    client: httpx.AsyncClient, population: Population, files: dict[str, bytes], fault: str, create: bool
) -> None:
    path = f"{MODELS}/eve/revisions" if create else REVISIONS

    reply = await client.post(path, content=damaged(files, fault), params={"create": create})

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "adapter_invalid")
    assert (await client.get(f"{MODELS}/eve")).status_code == 404
    assert (await client.get(f"{MODELS}/ada")).json()["aliases"] == {}
    assert stored(population) == set()


async def test_an_adapter_of_another_base_is_a_mismatch(
    client: httpx.AsyncClient, population: Population, tmp_path: Path
) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    config = (population.base_directory / "config.json").read_text()
    (wide / "config.json").write_text(config.replace('"hidden_size": 8', '"hidden_size": 16'))

    reply = await client.post(REVISIONS, content=zipped(adapter_files(wide, tmp_path / "other", seed=2)))

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "adapter_mismatch")
    assert stored(population) == set()


@pytest.mark.parametrize("refusal", [EngineUnavailable("it restarts"), EngineOverloaded("it is full")])
async def test_what_an_engine_refuses_moves_nothing_and_may_come_again(
    client: httpx.AsyncClient, population: Population, upload: bytes, refusal: Exception
) -> None:
    population.engine.refusal = refusal
    refused = await client.post(REVISIONS, content=upload)
    aliases = (await client.get(f"{MODELS}/ada")).json()["aliases"]
    population.engine.refusal = None
    again = await client.post(REVISIONS, content=upload)

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert aliases == {}
    assert (again.status_code, again.json()["readiness"]) == (201, "ready")


async def test_an_adapter_may_be_longer_than_other_bodies_but_not_endless(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)

    longer = await client.post(REVISIONS, content=bytes(BODY_BYTES_MAX + 1))
    declared = await client.post(REVISIONS, content=bytes(ARCHIVE_BYTES_MAX + 1))
    chunked = await client.post(REVISIONS, content=endless())
    elsewhere = await client.put(f"{MODELS}/ada/sharing", content=bytes(BODY_BYTES_MAX + 1))

    assert longer.status_code == 400
    for reply in (declared, chunked, elsewhere):
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_tenant_has_one_file_in_work_be_it_an_archive_or_an_adapter(
    client: httpx.AsyncClient, population: Population, upload: bytes
) -> None:
    await population.create("zoe", tenant="globex")
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield upload[:100]
        began.set()
        await go_on.wait()
        yield upload[100:]

    publishing = asyncio.create_task(client.post(REVISIONS, content=slow()))
    await began.wait()
    refused = [
        await client.post(REVISIONS, content=upload),
        await client.get(f"{MODELS}/ada/export"),
        await client.get(f"{MODELS}/ada/diff"),
    ]
    async with population.client("globex") as globex:
        other = await globex.post(f"{MODELS}/zoe/revisions", content=upload)
    go_on.set()

    assert [reply.status_code for reply in refused] == [429] * 3
    assert [other.status_code, (await publishing).status_code] == [201, 201]
    assert (await client.post(REVISIONS, content=upload)).status_code == 201


async def test_a_model_that_is_erased_meanwhile_gets_nothing(
    client: httpx.AsyncClient, population: Population, upload: bytes
) -> None:
    async def erasing() -> AsyncIterator[bytes]:
        yield upload[:100]
        await population.directory.erase_model(ModelId("acme", "ada"))
        yield upload[100:]

    reply = await client.post(REVISIONS, content=erasing())

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert (await client.get(REVISIONS)).status_code == 404


@pytest.mark.slow
async def test_the_work_is_done_in_another_process_and_refused_by_the_same_names(
    population: Population, files: dict[str, bytes], upload: bytes
) -> None:
    population.app = population.make_app(do_work=do_work_apart)
    async with population.client() as client:
        refused = await client.post(REVISIONS, content=damaged(files, "NaN"))
        published = await client.post(REVISIONS, content=upload)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_invalid")
    assert "NaN" in refused.json()["error"]["message"]
    assert published.status_code == 201


async def test_two_revisions_are_compared_layer_by_layer(
    client: httpx.AsyncClient, base: Path, upload: bytes, tmp_path: Path
) -> None:
    first = (await client.post(REVISIONS, content=upload)).json()["id"]
    another = zipped(adapter_files(base, tmp_path / "another", seed=2))
    second = (await client.post(REVISIONS, content=another, params={"alias": "canary"})).json()["id"]

    plain = (await client.get(f"{MODELS}/ada/diff")).json()
    both = (await client.get(f"{MODELS}/ada/diff", params={"one": first[:12], "other": "canary"})).json()
    same = (await client.get(f"{MODELS}/ada/diff", params={"one": "latest", "other": first})).json()
    absent = await client.get(f"{MODELS}/ada/diff", params={"one": "calm"})
    empty = await client.get(f"{MODELS}/ada/diff", params={"one": ""})

    assert (plain["one"], plain["other"]) == (first, "base")
    assert (both["one"], both["other"]) == (first, second)
    layer = both["data"][0]
    assert layer["module"].endswith("self_attn.q_proj")
    assert len(layer["angles"]) == 2
    assert layer["norm"] > 0
    assert all(one["norm"] == one["distance"] and one["other_norm"] == 0 for one in plain["data"])
    assert all(one["distance"] < 1e-4 for one in same["data"])
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "revision_not_found")
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, "one")


async def test_the_routes_are_described_with_the_body_that_they_take(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    publish = paths["/v1/personal-models/{name}/revisions"]["post"]
    assert set(publish["requestBody"]["content"]) == {"application/zip", "application/octet-stream"}
    assert {one["name"] for one in publish["parameters"]} == {"name", "alias", "create"}
    assert "get" in paths["/v1/personal-models/{name}/diff"]
    assert {"put", "delete"} <= set(paths["/v1/personal-models/{name}/aliases/{alias}"])
    assert "post" in paths["/v1/population/merge"]


async def test_a_published_adapter_leaves_with_an_export_as_it_came(
    client: httpx.AsyncClient, upload: bytes, files: dict[str, bytes]
) -> None:
    digest = (await client.post(REVISIONS, content=upload)).json()["id"]

    exported = await client.get(f"{MODELS}/ada/export")

    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert archive.read(f"revisions/{digest}/{CONFIG_FILE}") == files[CONFIG_FILE]
