"""A population for each test, and a server on a free port for those that need sockets."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from populace.gateway.server import Server, bind
from tests.runtime.gateway.population import Population


@pytest.fixture
async def population(tmp_path: Path) -> AsyncGenerator[Population, None]:
    """Two hosts with the model ``ada`` of acme."""
    population = await Population.start(tmp_path / "store")
    await population.create("ada")
    yield population
    population.close()


@pytest.fixture
async def client(population: Population) -> AsyncGenerator[httpx.AsyncClient, None]:
    """Acme's client, without sockets."""
    async with population.client() as client:
        yield client


@pytest.fixture
async def address(population: Population) -> AsyncGenerator[tuple[str, int], None]:
    """Where a real server answers, on the event loop of the test."""
    listener = bind("127.0.0.1", 0)
    server = Server(population.app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    host, port = listener.getsockname()
    yield host, port
    server.should_exit = True
    await serving


@pytest.fixture
def url(address: tuple[str, int]) -> str:
    return f"http://{address[0]}:{address[1]}"
