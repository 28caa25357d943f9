"""A gateway without the store's files passes on what needs them, and says so if it cannot."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from populace.engines.traced_engine import TracedEngine
from populace.gateway.app import create_app
from populace.gateway.fine_tuning.files import FILES_PATH
from populace.gateway.forwarding import Forwarder
from populace.gateway.inner_listener import SECRET_HEADER, InnerAddress, InnerListener
from populace.gateway.server import end_servers
from populace.hosting.aggregation import aggregator_over
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import ARCHIVE_BYTES_MAX, FILE_BYTES_MAX, Population
from tests.runtime.gateway.test_operations import samples_of


@asynccontextmanager
async def listening(population: Population) -> AsyncGenerator[InnerListener]:
    """The population's gateway, listening for others."""
    inner = InnerListener(population.app, "127.0.0.1")
    serving = asyncio.create_task(inner.server.serve(sockets=[inner.listening]))
    try:
        yield inner
    finally:
        await end_servers([inner.server], [serving], 1.0)
        inner.listening.close()


@asynccontextmanager
async def front_of(population: Population, targets: Sequence[InnerAddress]) -> AsyncGenerator[FastAPI]:
    """A gateway that has no file, and passes on to these."""

    async def found() -> Sequence[InnerAddress]:
        return targets

    forwarder = Forwarder(found, archive_bytes_max=ARCHIVE_BYTES_MAX, file_bytes_max=FILE_BYTES_MAX)
    app = create_app(
        population.directory,
        TracedEngine(population.engine),
        probe_engine=population.engine,
        probe_hosts=population.survey,
        embedder=population.engine,
        aggregator=aggregator_over(population.directory, population.engine, population.path),
        forwarder=forwarder,
    )
    try:
        yield app
    finally:
        await forwarder.close()


@asynccontextmanager
async def client_of(
    app: FastAPI, population: Population, tenant: str | None = "acme"
) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {} if tenant is None else {"Authorization": f"Bearer {population.keys[tenant]}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://populace", headers=headers, timeout=HANG_SECONDS
    ) as client:
        yield client


def upload(content: bytes) -> dict[str, tuple[str | None, bytes]]:
    return {"purpose": (None, b"fine-tune"), "file": ("a.jsonl", content)}


async def uploads_counted(client: httpx.AsyncClient) -> float:
    samples = samples_of((await client.get("/metrics")).text)
    return samples.get(("populace_http_requests_total", ("0", FILES_PATH, "200")), 0)


async def test_what_needs_the_stores_files_is_answered_by_a_gateway_that_has_them(
    population: Population,
) -> None:
    content = b"x" * (FILE_BYTES_MAX - 1)
    async with (
        listening(population) as inner,
        front_of(population, [inner.address]) as front,
        client_of(front, population) as client,
        population.client() as direct,
    ):
        made = await client.post(FILES_PATH, files=upload(content), headers={"X-Request-Id": "mine"})
        assert made.status_code == 200, made.text
        assert made.headers.get_list("x-request-id") == ["mine"]
        there = await direct.get(f"{FILES_PATH}/{made.json()['id']}/content")
        here = await client.get(f"{FILES_PATH}/{made.json()['id']}/content")
        assert there.content == here.content == content
        listed = await client.get(f"{FILES_PATH}?limit=1&order=asc")
        assert [one["id"] for one in listed.json()["data"]] == [made.json()["id"]]

        archive = await client.get("/v1/personal-models/ada/export")
        assert archive.headers["content-disposition"] == 'attachment; filename="ada.populace"'
        imported = await client.post(
            "/v1/personal-models/import", params={"name": "grace"}, content=archive.content
        )
        assert (imported.status_code, imported.json()["id"]) == (201, "grace")
        # What needs no file is answered here.
        assert (await client.get("/v1/personal-models/grace")).status_code == 200

        refused = await client.get("/v1/files/file-0")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "file_not_found")
        # It is counted once, by the gateway that its client has.
        assert await uploads_counted(client) == 2
        assert await uploads_counted(direct) == 0


async def test_no_body_is_passed_on_for_a_caller_without_a_key_or_that_is_too_large(
    population: Population,
) -> None:
    async with listening(population) as inner, front_of(population, [inner.address]) as front:
        async with client_of(front, population, tenant=None) as stranger:
            assert (await stranger.post(FILES_PATH, files=upload(b"{}"))).status_code == 401
        async with client_of(front, population) as client:
            large = await client.post(FILES_PATH, files=upload(b"x" * (2 * FILE_BYTES_MAX + 2**17)))
            assert large.status_code == 413


async def test_only_gateways_are_let_in(population: Population) -> None:
    async with listening(population) as inner:
        address = inner.address
        trusted = ssl.create_default_context(cadata=address.certificate)
        trusted.check_hostname = False
        url = f"https://{address.host}:{address.port}/healthz"
        async with httpx.AsyncClient(verify=trusted) as client:
            assert (await client.get(url)).status_code == 403
            assert (await client.get(url, headers={SECRET_HEADER: "x" * 43})).status_code == 403
            assert (await client.get(url, headers={SECRET_HEADER: address.secret})).status_code == 200
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(url)
        assert address.secret not in repr(address)


async def test_another_one_is_asked_if_one_is_gone_and_without_any_the_client_is_told(
    population: Population,
) -> None:
    async with listening(population) as gone:
        pass
    async with (
        listening(population) as inner,
        front_of(population, [gone.address, inner.address]) as front,
        client_of(front, population) as client,
    ):
        assert (await client.post(FILES_PATH, files=upload(b"{}\n"))).status_code == 200
    for targets in ([], [gone.address]):
        async with front_of(population, targets) as front, client_of(front, population) as client:
            refused = await client.post(FILES_PATH, files=upload(b"{}\n"))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "gateway_unavailable")
            assert "retry-after" in refused.headers


async def test_it_describes_the_same_routes(population: Population) -> None:
    async with front_of(population, []) as front:
        assert front.openapi() == population.app.openapi()
