"""What only a socket shows: clients that leave, bytes that are not HTTP, bodies without end."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from populace.actors.engine import Message
from populace.actors.errors import ClusterNotFound
from populace.client.async_population import AsyncPopulation
from populace.client.connecting import connect_async
from populace.client.http_connection import HttpConnection, check_speaks_ray
from populace.gateway.server import HEAD_BYTES_MAX, HEADERS_MAX
from populace.settings.credentials import Credentials
from populace.settings.running import Running, write_running
from tests.event_loop_time import pass_time
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import BODY_BYTES_MAX, Population, chat_body

CHAT = "/v1/chat/completions"


def request_bytes(population: Population, body: dict[str, object], *headers: str) -> bytes:
    """Write a request of a chat, or of a response, as it crosses the wire."""
    content = json.dumps(body).encode()
    lines = (
        f"POST {'/v1/responses' if 'input' in body else CHAT} HTTP/1.1",
        "Host: populace",
        f"Authorization: Bearer {population.keys['acme']}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *headers,
        "\r\n",
    )
    return "\r\n".join(lines).encode() + content


async def answer_to(address: tuple[str, int], content: bytes) -> bytes:
    """Send bytes on a connection of their own and read until the server closes it."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(content)
    async with asyncio.timeout(HANG_SECONDS):
        answer = await reader.read()
    writer.close()
    return answer


async def said(population: Population) -> list[tuple[str, bool]]:
    """What was said to the person's model, and whether it has a reply."""
    return [(turn.messages[-1].content, turn.answer is not None) for turn in await population.log("ada")]


async def check_serves(population: Population, url: str) -> None:
    """Another person's turn works."""
    population.engine.hold_before = None
    headers = {"Authorization": f"Bearer {population.keys['acme']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        reply = await client.post(CHAT, json=chat_body("still there?"))
    assert reply.status_code == 200


async def leave_when_held(
    population: Population, address: tuple[str, int], body: dict[str, object], *headers: str
) -> None:
    """Send a request and close the connection as soon as the engine waits at the gate."""
    _, writer = await asyncio.open_connection(*address)
    writer.write(request_bytes(population, body, *headers))
    async with asyncio.timeout(HANG_SECONDS):
        await population.engine.held.wait()
    writer.close()


@pytest.mark.parametrize("held_before", [0, 1])
@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize("header", ["Accept: */*", "Idempotency-Key: k"])
async def test_a_client_that_leaves_its_stream_frees_engine_and_model(
    population: Population, address: tuple[str, int], url: str, held_before: int, model: str, header: str
) -> None:
    population.engine.hold_before = held_before
    await leave_when_held(population, address, chat_body(model=model, stream=True), header)

    await population.engine.wait_freed()

    assert population.engine.running == set()
    await check_serves(population, url)
    assert await said(population) == [("hello", False)] * (model == "ada") + [("still there?", True)]


async def test_the_next_turn_reads_the_message_of_a_client_that_left(
    population: Population, address: tuple[str, int], url: str
) -> None:
    population.engine.hold_before = 1
    body = chat_body("My dog is Rex.", conversation="main", stream=True)
    await leave_when_held(population, address, body)
    await population.engine.wait_freed()
    population.engine.hold_before = None

    headers = {"Authorization": f"Bearer {population.keys['acme']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        log = await client.get("/v1/personal-models/ada/interactions")
        await client.post(CHAT, json=chat_body("Who is Rex?", conversation="main"))
        refused = await client.post("/v1/feedback", json={"model": "ada", "position": 0, "thumb": "up"})

    (turn,) = log.json()["data"]
    assert (turn["reply"], turn["finish_reason"], turn["position"]) == ("", None, 0)
    assert turn["messages"] == [{"role": "user", "content": "My dog is Rex."}]
    told = (Message("user", "My dog is Rex."), Message("user", "Who is Rex?"))
    assert population.engine.requests[-1].prompt == told
    assert await said(population) == [("My dog is Rex.", False), ("Who is Rex?", True)]
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "position")


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_stream_that_no_one_reads_frees_engine_and_model_at_the_turns_deadline(
    population: Population, address: tuple[str, int], url: str, model: str, choices: int
) -> None:
    population.engine.reply = ("x" * 20_000,) * 400  # more than the buffers of two sockets take
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(address)
    reader, writer = await asyncio.open_connection(sock=client)
    body = chat_body(model=model, stream=True, n=choices)
    writer.write(request_bytes(population, body, "Connection: close"))
    async with asyncio.timeout(HANG_SECONDS):
        status = await reader.readuntil(b"\r\n")
        for _ in range(1000):
            await asyncio.sleep(0)
        running = len(population.engine.running)
        pass_time(population.turn_seconds_max)
    async with asyncio.timeout(HANG_SECONDS):
        while population.engine.running:  # noqa: ASYNC110
            await asyncio.sleep(0)
        told = await reader.read()

    assert status == b"HTTP/1.1 200 OK\r\n"
    assert running == choices
    assert b'"code":"turn_expired"' in told, "who reads on after all is told"
    writer.close()
    population.engine.reply = ()
    await check_serves(population, url)


@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_client_that_leaves_without_a_key_gives_up_its_turn(
    population: Population, address: tuple[str, int], url: str, model: str
) -> None:
    population.engine.hold_before = 1
    await leave_when_held(population, address, chat_body(model=model))

    await population.engine.wait_freed()

    await check_serves(population, url)
    assert await said(population) == [("hello", False)] * (model == "ada") + [("still there?", True)]


async def test_a_client_that_leaves_with_a_key_finds_its_answer_later(
    population: Population, address: tuple[str, int], url: str
) -> None:
    population.engine.hold_before = 1
    await leave_when_held(population, address, chat_body(), "Idempotency-Key: k")
    await check_gone(address, population)
    population.engine.gate.set()
    await population.engine.wait_freed()

    headers = {"Authorization": f"Bearer {population.keys['acme']}", "Idempotency-Key": "k"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        reply = await client.post(CHAT, json=chat_body())

    (turn,) = await population.log("ada")
    assert reply.json()["id"] == turn.completion_id
    assert reply.json()["choices"][0]["message"]["content"] == "reply 1 to you"
    assert len(population.engine.requests) == 1


async def test_a_client_that_says_so_gives_up_its_turn_with_a_key_and_may_ask_again(
    population: Population, address: tuple[str, int]
) -> None:
    headers = "Idempotency-Key: k", "Populace-On-Disconnect: cancel"
    population.engine.hold_before = 1
    _, first = await asyncio.open_connection(*address)
    first.write(request_bytes(population, chat_body(), *headers))
    await population.engine.held.wait()
    content = request_bytes(population, chat_body(), *headers, "Connection: close")
    again = asyncio.create_task(answer_to(address, content))
    await population.wait_waiting(1)
    population.engine.hold_before = None
    first.close()

    answer = await again

    (turn,) = await population.log("ada")
    assert answer.startswith(b"HTTP/1.1 200")
    assert turn.completion_id.encode() in answer
    assert len(population.engine.requests) == 2


@pytest.mark.parametrize("told", [(), ("Populace-On-Disconnect: cancel",)])
async def test_a_response_with_a_key_is_given_up_only_if_its_client_says_so(
    population: Population, address: tuple[str, int], url: str, told: tuple[str, ...]
) -> None:
    population.engine.hold_before = 1
    body: dict[str, object] = {"model": "ada", "input": "hello"}
    await leave_when_held(population, address, body, "Idempotency-Key: k", *told)
    if not told:
        await check_gone(address, population)
        population.engine.gate.set()
    await population.engine.wait_freed()

    await check_serves(population, url)
    assert await said(population) == [("hello", not told), ("still there?", True)]


async def test_what_else_a_disconnect_should_do_is_refused_by_name(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=chat_body(), headers={"Populace-On-Disconnect": "keep"})

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "Populace-On-Disconnect"


@pytest.mark.parametrize("operation", [None, "k"])
async def test_a_chat_in_python_that_is_interrupted_is_given_up(
    population: Population, url: str, operation: str | None
) -> None:
    population.engine.hold_before = 1
    async with AsyncPopulation(await HttpConnection.open(url, population.keys["acme"])) as remote:
        ada = remote.model("ada")
        story = asyncio.create_task(ada.chat("a long story", operation=operation))
        await population.engine.held.wait()
        story.cancel()
        await population.engine.wait_freed()

        population.engine.hold_before = None
        await ada.chat("hello")

    assert await said(population) == [("a long story", False), ("hello", True)]


async def test_a_web_servers_address_without_its_scheme_is_told_what_to_write(
    address: tuple[str, int],
) -> None:
    host, port = address

    with pytest.raises(ClusterNotFound, match=f"write http://{host}:{port}"):
        await connect_async(f"{host}:{port}")


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
async def test_this_accounts_key_is_found_for_the_address_that_openais_clients_are_given(
    population: Population, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("POPULACE_CONFIG", str(tmp_path))
    monkeypatch.delenv("POPULACE_API_KEY", raising=False)
    write_running(tmp_path, Running("ray", url, os.getpid(), "store"))
    Credentials(tmp_path).keep("store", population.keys["acme"])

    async with connect_async(url + end, data=tmp_path) as remote:
        assert remote.tenant == "acme"


async def test_an_address_of_a_cluster_where_nothing_listens_is_refused_at_once() -> None:
    with pytest.raises(ClusterNotFound, match="Nothing listens there"):
        await connect_async("127.0.0.1:9")


async def test_what_does_not_answer_http_may_be_a_ray() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        # What gRPC's servers begin with: HTTP/2's settings.
        writer.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()

        await check_speaks_ray(f"{host}:{port}")


async def check_gone(address: tuple[str, int], population: Population) -> None:
    """Make sure that the server has seen what came before: a later connection was answered."""
    answer = await answer_to(address, b"GET /healthz HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(population.engine.running) == 1


async def test_a_client_that_leaves_the_queue_gives_up_its_place(
    population: Population, address: tuple[str, int], url: str
) -> None:
    population.engine.hold_before = 1
    first = asyncio.create_task(
        answer_to(address, request_bytes(population, chat_body("one"), "Connection: close"))
    )
    await population.engine.held.wait()
    _, writer = await asyncio.open_connection(*address)
    writer.write(request_bytes(population, chat_body("two", stream=True)))
    await population.wait_waiting(1)
    writer.close()

    await population.wait_waiting(0)

    population.engine.gate.set()
    assert (await first).startswith(b"HTTP/1.1 200")
    await check_serves(population, url)
    assert [turn.messages[0].content for turn in await population.log("ada")] == ["one", "still there?"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"HELLO\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
    ],
    ids=["tls", "words", "length-is-no-number", "length-is-huge", "nul-in-path"],
)
async def test_bytes_that_are_not_http_are_refused(
    population: Population, address: tuple[str, int], url: str, content: bytes
) -> None:
    answer = await answer_to(address, content)

    assert answer.startswith(b"HTTP/1.1 400")
    await check_serves(population, url)


LINE = b"GET /healthz HTTP/1.1\r\n"
HOST = b"Host: populace\r\n"


@pytest.mark.parametrize(
    "head",
    [
        LINE + HOST + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
        LINE + HOST + b"X: " + b"x" * HEAD_BYTES_MAX,
        LINE + HOST + b"X: x\r\n" * HEADERS_MAX + b"\r\n",
        b"GET /healthz?" + b"x" * HEAD_BYTES_MAX + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /" + b"x" * (HEAD_BYTES_MAX + 1),
    ],
    ids=["long", "unending", "many", "query", "path"],
)
async def test_a_head_that_is_too_large_is_refused_by_name(
    population: Population, address: tuple[str, int], url: str, head: bytes
) -> None:
    answer = await answer_to(address, head)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_headers_too_large"
    await check_serves(population, url)


@pytest.mark.parametrize("hosts", [0, 2])
async def test_http_1_1_without_its_one_host_is_refused_by_name(address: tuple[str, int], hosts: int) -> None:
    answer = await answer_to(address, LINE + HOST * hosts + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "Host" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


async def test_http_1_0_needs_no_host_and_nothing_says_what_serves(address: tuple[str, int]) -> None:
    answer = await answer_to(address, b"GET /healthz HTTP/1.0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nserver:" not in answer.lower()


async def test_the_heads_of_one_connection_are_counted_one_by_one(address: tuple[str, int]) -> None:
    content = b"x" * (BODY_BYTES_MAX - 1000)
    posted = b"POST /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(content) + content
    large = LINE + HOST + b"X: " + b"x" * (HEAD_BYTES_MAX // 2) + b"\r\n\r\n"
    reader, writer = await asyncio.open_connection(*address)
    statuses: list[bytes] = []
    async with asyncio.timeout(HANG_SECONDS):
        for request in (large, posted, large, large):
            for half in (request[: len(request) // 2], request[len(request) // 2 :]):
                writer.write(half)
                await writer.drain()
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.append(head[9:12])
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            await reader.readexactly(int(length.rpartition(b" ")[2]))
    writer.close()

    assert statuses == [b"200", b"405", b"200", b"200"]


async def test_a_large_body_is_413_and_the_connection_still_answers_it(
    population: Population, url: str
) -> None:
    headers = {"Authorization": f"Bearer {population.keys['acme']}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        reply = await client.post(CHAT, content=b"x" * 10_000_000)

    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "request_too_large"
    await check_serves(population, url)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/personal-models"])
async def test_a_chunked_body_over_the_limit_is_413(population: Population, url: str, path: str) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(BODY_BYTES_MAX // 10_000 + 2):
            yield b" " * 10_000

    headers = {"Authorization": f"Bearer {population.keys['acme']}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        reply = await client.post(path, content=chunks())

    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "request_too_large"
    await check_serves(population, url)


async def test_invalid_utf8_is_400(population: Population, url: str) -> None:
    headers = {"Authorization": f"Bearer {population.keys['acme']}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        reply = await client.post(CHAT, content=b'{"model": "\xc3\x28"}')

    assert reply.status_code == 400
    assert "UTF-8" in reply.json()["error"]["message"]


async def test_a_client_that_leaves_in_its_body_does_no_harm(
    population: Population, address: tuple[str, int], url: str
) -> None:
    _, writer = await asyncio.open_connection(*address)
    writer.write(request_bytes(population, chat_body("x" * 1000))[:-500])
    await writer.drain()
    writer.close()

    await check_serves(population, url)

    assert len(await population.log("ada")) == 1


async def test_half_an_answer_never_looks_whole(
    population: Population, address: tuple[str, int], url: str
) -> None:
    population.engine.fail_before = 1
    population.engine.failure = ZeroDivisionError("secret detail")

    answer = await answer_to(address, request_bytes(population, chat_body(stream=True), "Connection: close"))

    population.engine.failure = None
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"code":"internal_error"' in answer
    assert b"[DONE]" not in answer
    assert b"secret" not in answer
    await check_serves(population, url)
