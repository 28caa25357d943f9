"""A person takes their model home over HTTP, and brings it back; nobody else's, and nothing else."""

import asyncio
import io
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from populace.actors.turn import ModelId
from populace.storage.records.errors import DiskRefused
from populace.storage.records.records import MemoryRecord
from tests.limits import HANG_SECONDS
from tests.runtime.archive.homes import members_of
from tests.runtime.gateway.population import ARCHIVE_BYTES_MAX, BODY_BYTES_MAX, Population, chat_body

MODELS = "/v1/personal-models"
EXPORT = f"{MODELS}/ada/export"
IMPORT = f"{MODELS}/import"


@pytest.fixture
async def data(client: httpx.AsyncClient) -> bytes:
    """The archive of ``ada`` after two turns, one of them with an operation id."""
    await client.post("/v1/chat/completions", json=chat_body("one"), headers={"Idempotency-Key": "op-1"})
    await client.post("/v1/chat/completions", json=chat_body("two"))
    return (await client.get(EXPORT)).content


async def test_an_archive_is_a_download_with_the_models_name(client: httpx.AsyncClient) -> None:
    reply = await client.get(EXPORT)

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/zip"
    assert reply.headers["content-disposition"] == 'attachment; filename="ada.populace"'
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert zipfile.ZipFile(io.BytesIO(reply.content)).testzip() is None


async def test_a_model_comes_back_under_another_name_with_its_log(
    client: httpx.AsyncClient, population: Population, data: bytes
) -> None:
    reply = await client.post(IMPORT, params={"name": "eve"}, content=data)

    shown = await client.get(f"{MODELS}/eve")
    assert reply.status_code == 201
    assert reply.json() == shown.json()
    assert reply.json()["log_position"] == 2
    original, copy = [await population.log(name) for name in ("ada", "eve")]
    assert [turn.reply for turn in copy] == [turn.reply for turn in original]
    assert (await client.get(f"{MODELS}/eve/export")).content != data, "it has another name"


def untimed(data: bytes) -> list[object]:
    """What an archive holds, but for how long operation ids are kept: that is told by a shard's own time."""
    members = members_of(data)
    operations = [json.loads(line) for line in members.pop("operations.jsonl").splitlines()]
    manifest = json.loads(members.pop("manifest.json"))
    del manifest["members"]["operations.jsonl"]
    return [members, manifest, [operation | {"expires_ms": None} for operation in operations]]


async def test_an_erased_model_comes_back_as_it_was_and_goes_on(
    client: httpx.AsyncClient, population: Population, data: bytes
) -> None:
    before = await population.log("ada")
    await client.delete(f"{MODELS}/ada")

    reply = await client.post(IMPORT, content=data)
    again = await client.get(EXPORT)
    retried = await client.post(
        "/v1/chat/completions", json=chat_body("one"), headers={"Idempotency-Key": "op-1"}
    )
    new = await client.post("/v1/chat/completions", json=chat_body("three"))

    assert reply.status_code == 201
    assert untimed(again.content) == untimed(data)
    assert retried.json()["populace"]["replayed"] is True
    assert new.json()["populace"]["log_position"] == 2
    assert (await population.log("ada"))[:2] == before


async def test_another_persons_archive_becomes_a_copy_of_their_own(
    population: Population, data: bytes
) -> None:
    before = await population.log("ada")
    async with population.client("globex") as globex:
        reply = await globex.post(IMPORT, content=data)
        await globex.post("/v1/chat/completions", json=chat_body("mine"))

    assert reply.status_code == 201
    assert await population.log("ada") == before
    assert len(await population.log("ada", tenant="globex")) == 3


async def test_a_foreign_model_is_not_exported(population: Population) -> None:
    async with population.client("globex") as globex:
        globex.headers["X-Request-Id"] = "same"
        foreign = await globex.get(EXPORT)
        absent = await globex.get(f"{MODELS}/zed/export")

    assert foreign.status_code == 404
    assert foreign.text == absent.text.replace("zed", "ada")


@pytest.mark.parametrize(("method", "path"), [("GET", EXPORT), ("POST", IMPORT)])
async def test_without_a_key_nothing_is_read_or_made(population: Population, method: str, path: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body is not read")
        yield b""

    async with population.client(None) as client:
        reply = await client.request(method, path, content=body() if method == "POST" else None)

    assert reply.status_code == 401


async def test_a_name_that_is_taken_is_409(
    client: httpx.AsyncClient, population: Population, data: bytes
) -> None:
    before = await population.log("ada")

    reply = await client.post(IMPORT, content=data)

    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "model_exists")
    assert await population.log("ada") == before


@pytest.mark.parametrize("name", ["../x", "", "base", "Ada"])
async def test_a_forbidden_name_is_400(client: httpx.AsyncClient, data: bytes, name: str) -> None:
    reply = await client.post(IMPORT, params={"name": name}, content=data)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_name")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\5\6" + bytes(18)])
async def test_a_body_that_is_no_archive_is_400(client: httpx.AsyncClient, content: bytes) -> None:
    reply = await client.post(IMPORT, params={"name": "eve"}, content=content)

    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "archive_invalid")
    assert "Nothing was imported" in error["message"]
    assert (await client.get(f"{MODELS}/eve")).status_code == 404


async def test_an_archive_whose_memory_cannot_be_read_is_400(
    client: httpx.AsyncClient, population: Population
) -> None:
    content = await population.directory.export_model(ModelId("acme", "ada"))
    memory = MemoryRecord(version=0, payload=b"\xff" * 40).pack()
    await population.directory.import_model(ModelId("acme", "eve"), content._replace(memory=memory))
    data = (await client.get(f"{MODELS}/eve/export")).content

    reply = await client.post(IMPORT, params={"name": "zoe"}, content=data)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "archive_invalid")
    assert "the memory state cannot be used: it is damaged" in reply.json()["error"]["message"]
    assert (await client.get(f"{MODELS}/zoe")).status_code == 404


async def test_an_archive_may_be_longer_than_other_bodies_but_not_endless(
    client: httpx.AsyncClient, data: bytes
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)

    longer = await client.post(IMPORT, content=bytes(BODY_BYTES_MAX + 1))
    declared = await client.post(IMPORT, content=bytes(ARCHIVE_BYTES_MAX + 1))
    chunked = await client.post(IMPORT, content=endless())
    elsewhere = await client.post(MODELS, content=bytes(BODY_BYTES_MAX + 1))
    after = await client.post(IMPORT, params={"name": "eve"}, content=data)

    assert longer.status_code == 400
    assert [declared.status_code, chunked.status_code, elsewhere.status_code] == [413] * 3
    assert after.status_code == 201


async def test_a_tenant_has_one_archive_at_a_time_and_others_do_not_wait(
    client: httpx.AsyncClient, population: Population, data: bytes
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:100]
        began.set()
        await go_on.wait()
        yield data[100:]

    importing = asyncio.create_task(client.post(IMPORT, params={"name": "eve"}, content=slow()))
    await began.wait()
    second = await client.get(EXPORT)
    async with population.client("globex") as globex:
        other = await globex.post(IMPORT, content=data)
    go_on.set()
    first = await importing
    after = await client.get(EXPORT)

    assert (second.status_code, second.json()["error"]["code"]) == (429, "overloaded")
    assert int(second.headers["retry-after"]) > 0
    assert [other.status_code, first.status_code, after.status_code] == [201, 201, 200]


async def test_whoever_has_all_of_an_archive_may_have_the_next(
    population: Population, url: str, data: bytes
) -> None:
    headers = {"Authorization": f"Bearer {population.keys['acme']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        replies = [await client.get(EXPORT) for _ in range(20)]

    assert [reply.status_code for reply in replies] == [200] * 20
    assert {reply.content for reply in replies} == {data}


async def test_a_client_that_leaves_its_body_frees_its_turn(
    population: Population, url: str, data: bytes
) -> None:
    class Left(Exception):
        pass

    async def leaving() -> AsyncIterator[bytes]:
        yield data[:100]
        raise Left

    headers = {"Authorization": f"Bearer {population.keys['acme']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        with pytest.raises(Left):
            await client.post(IMPORT, content=leaving())
        async with asyncio.timeout(HANG_SECONDS):
            while (await client.get(EXPORT)).status_code == 429:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert (await client.post(IMPORT, params={"name": "eve"}, content=data)).status_code == 201


async def test_a_full_disk_is_named_and_the_turn_is_free_again(
    client: httpx.AsyncClient, data: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        refused = await client.get(EXPORT)
    after = await client.get(EXPORT)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, DiskRefused.code)
    assert after.content == data


async def test_a_turn_that_is_made_meanwhile_is_in_the_archive_whole_or_not_at_all(
    client: httpx.AsyncClient, data: bytes
) -> None:
    replies = await asyncio.gather(
        client.get(EXPORT),
        *(client.post("/v1/chat/completions", json=chat_body(f"turn {number}")) for number in range(2)),
    )

    brought = await client.post(IMPORT, params={"name": "eve"}, content=replies[0].content)
    assert brought.status_code == 201
    assert 2 <= brought.json()["log_position"] <= 4
