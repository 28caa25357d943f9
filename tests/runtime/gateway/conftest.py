"""A population for each test, and a server on a free port for those that need sockets."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn.server
from typer.testing import CliRunner, Result

from populace.actors.request_log import LogLine
from populace.cli.chat import ChatSession
from populace.cli.gateway_client import GatewayClient
from populace.cli.main import app
from populace.gateway import request_logs
from populace.gateway.server import Server, bind
from populace.settings.running import Running, write_running
from populace.telemetry.request_lines import lines_of_request
from tests.runtime.gateway.population import Population, running_population

Command = Callable[..., Coroutine[Any, Any, Result]]
Talk = Callable[..., Coroutine[Any, Any, str]]


async def sleep_a_twentieth(seconds: float) -> None:
    await asyncio.sleep(seconds / 20)


# Uvicorn looks ten times a second whether it is to end, and waits as long for its connections: 0.2 s a test.
setattr(uvicorn.server, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep_a_twentieth}))  # noqa: B010


@pytest.fixture
async def population(tmp_path: Path) -> AsyncGenerator[Population, None]:
    """Two hosts with the model ``ada`` of acme."""
    async with running_population(tmp_path) as population:
        yield population


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


@pytest.fixture
def command(population: Population, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line with these arguments and what is typed, on a thread, as acme."""
    write_running(tmp_path, Running("ray", url, os.getpid(), "store"))
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path))
    monkeypatch.setenv("POPULACE_API_KEY", population.keys["acme"])
    monkeypatch.setenv("COLUMNS", "200")

    async def command(*arguments: str, typed: str = "") -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=typed)

    return command


@pytest.fixture
def talk(population: Population, url: str, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Talk to a model of acme as at a terminal, in lines; returns what was printed."""

    def converse(name: str, lines: Iterator[str], address: str) -> None:
        def read(prompt: str) -> str:
            del prompt
            if (line := next(lines, None)) is None:
                raise EOFError
            return line

        with GatewayClient(address, population.keys["acme"]) as client:
            session = ChatSession(client, name)
            session.resume()
            session.converse(read)

    async def talk(name: str, *lines: str, address: str = url) -> str:
        capsys.readouterr()
        await asyncio.to_thread(converse, name, iter(lines), address)
        printed = capsys.readouterr()
        return printed.out + printed.err

    return talk


class HeldSearches:
    """Look-ups of requests wait until ``go_on``; ``began`` says that the first one does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self._go_on = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()
        monkeypatch.setattr(request_logs, "lines_of_request", self._held)

    def go_on(self) -> None:
        self._go_on.set()

    def _held(self, *arguments: Any) -> tuple[LogLine, ...]:
        self._loop.call_soon_threadsafe(self.began.set)
        self._go_on.wait()
        return lines_of_request(*arguments)


@pytest.fixture
async def held_searches(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[HeldSearches]:
    held = HeldSearches(monkeypatch)
    yield held
    held.go_on()
