"""A server that goes away, or that is no Populace, is told in a sentence; a conversation goes on after it."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from populace.cli.gateway_client import GatewayClient
from populace.settings.running import Running, write_running
from tests.runtime.gateway.conftest import Command, Talk
from tests.runtime.gateway.population import Population

NO_POPULACE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
BROKEN_EVENT = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ndata: {\n"
NO_END = b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\ndata: {"choices": []}\n\n'


class Line:
    """Forwards connections to a server until it is ``cut``; then nothing answers.

    A request that begins with a key of ``says`` gets the value as its reply.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._writers: list[asyncio.StreamWriter] = []
        self.says: dict[bytes, bytes] = {}
        self.url = ""

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    def cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._address)
        self._writers += [writer, to_server]
        await asyncio.gather(self._copy(reader, to_server, writer), self._copy(from_server, writer, writer))

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, caller: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await source.read(65536):
                said = next((said for begin, said in self.says.items() if data.startswith(begin)), None)
                (target if said is None else caller).write(data if said is None else said)
        except ConnectionError:
            pass
        target.close()


@pytest.fixture
async def line(address: tuple[str, int], command: Command, tmp_path: Path) -> AsyncGenerator[Line, None]:
    """The commands' way to the server."""
    line = Line(address)
    line.url = await line.open()
    write_running(tmp_path, Running("ray", line.url, os.getpid(), "store"))
    yield line
    line.cut()


async def test_a_chat_goes_on_when_the_server_goes_away(
    talk: Talk, line: Line, population: Population
) -> None:
    population.engine.hold_before = 1
    talking = asyncio.create_task(talk("ada", "hello", "/log", "again", "/quit", address=line.url))
    await population.engine.held.wait()
    line.cut()

    talked = await talking

    assert "broke off" in talked
    assert talked.count("No running Populace found") == 2


async def test_one_message_fails_in_a_sentence_when_the_server_goes_away(
    command: Command, line: Line, population: Population
) -> None:
    population.engine.hold_before = 1
    talking = asyncio.create_task(command("run", "ada", "hello"))
    await population.engine.held.wait()
    line.cut()

    talked = await talking

    assert (talked.exit_code, type(talked.exception)) == (1, SystemExit)
    assert "broke off" in talked.output


@pytest.mark.parametrize(
    ("begin", "says", "told"),
    [
        (b"GET", NO_POPULACE, "is no Populace"),
        (b"POST", NO_POPULACE, "no Populace answers there"),
        (b"POST", BROKEN_EVENT, "sent an event that is no JSON"),
        (b"POST", NO_END, "has no end"),
    ],
)
async def test_what_is_no_populace_is_named(
    command: Command, line: Line, begin: bytes, says: bytes, told: str
) -> None:
    line.says[begin] = says

    talked = await command("run", "ada", "hello")

    assert (talked.exit_code, type(talked.exception)) == (1, SystemExit)
    assert told in " ".join(talked.output.split())


@pytest.mark.parametrize(
    ("before", "after", "status"), [("", "\n", 0), (" ", "\r\n", 0), ("", "ü", 1), ("\n", None, 1)]
)
async def test_a_key_is_taken_without_what_was_pasted_around_it(
    command: Command,
    population: Population,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    after: str | None,
    status: int,
) -> None:
    key = "" if after is None else population.keys["acme"] + after
    monkeypatch.setenv("POPULACE_API_KEY", before + key)

    listed = await command("model", "ls")

    assert listed.exit_code == status, listed.exception
    assert ("The API key has characters that no key has" in listed.output) is bool(status)


async def test_the_address_of_a_server_needs_no_data_directory(
    command: Command, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POPULACE_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("POPULACE_ADDRESS", f"{url}/v1/")
    named = await command("model", "ls")
    members = await command("population", "report")
    keys = await command("key", "ls")
    monkeypatch.delenv("POPULACE_API_KEY")
    without = await command("model", "ls")

    assert (named.exit_code, members.exit_code) == (0, 0), (named.output, members.output)
    assert "ada" in named.output
    assert "needs an API key with the role `admin`" in " ".join(keys.output.split())
    assert "takes an API key: set POPULACE_API_KEY" in without.output


@pytest.mark.parametrize("address", ["http://host:99999", "host:8000", "ftp://host", "http://"])
async def test_what_is_no_address_of_a_server_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("POPULACE_ADDRESS", address)

    listed = await command("model", "ls")

    assert (listed.exit_code, type(listed.exception)) == (1, SystemExit)
    assert "The setting POPULACE_ADDRESS is" in " ".join(listed.output.split())


async def test_a_log_is_walked_from_its_newest_turn_to_its_oldest_over_all_pages(
    command: Command, population: Population, url: str
) -> None:
    for said in ("one", "two", "three"):
        await command("run", "ada", said)

    def walked(page: int) -> list[int]:
        with GatewayClient(url, population.keys["acme"]) as client:
            return [turn["position"] for turn in client.newest_turns("ada", page=page)]

    assert [await asyncio.to_thread(walked, page) for page in (1, 2, 3, 4)] == 4 * [[2, 1, 0]]
