"""Heads and bodies of HTTP, on a socket of a real gateway with a scripted engine."""

import asyncio
import json
import random
import tempfile
from collections.abc import Coroutine, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from populace.gateway.server import Server, bind, end_servers
from tests.fuzzing.mutation import mutated, mutated_value
from tests.runtime.gateway.population import Population

T = TypeVar("T")

ANSWER_SECONDS_MAX = 30.0
"""How long a connection may stay open whose client has said all that it will."""

QUIET_SECONDS = 0.5
"""After this long without an answer the client says that it will say no more."""

WELL = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
SAID = {"role": "user", "content": "Hello"}
JSON_BODIES: Sequence[tuple[str, str, object]] = (
    (
        "POST",
        "/v1/chat/completions",
        {
            "model": "ada",
            "messages": [SAID, {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}, SAID],
            "max_tokens": 4,
            "temperature": 0.5,
            "stop": ["x"],
            "logprobs": True,
            "top_logprobs": 2,
        },
    ),
    (
        "POST",
        "/v1/chat/completions",
        {
            "model": "ada:peek",
            "messages": [SAID],
            "stream": True,
            "n": 2,
            "stream_options": {"include_usage": True},
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        },
    ),
    (
        "POST",
        "/v1/chat/completions",
        {
            "model": "base",
            "messages": [SAID],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
            "tool_choice": "required",
        },
    ),
    ("POST", "/v1/completions", {"model": "ada", "prompt": ["Hello", "you"], "max_tokens": 2, "n": 2}),
    ("POST", "/v1/responses", {"model": "ada", "input": [SAID], "store": True, "temperature": 0.1}),
    ("POST", "/v1/conversations", {"items": [SAID], "metadata": {"model": "ada"}}),
    ("POST", "/v1/embeddings", {"model": "base", "input": ["a", "b"], "encoding_format": "base64"}),
    ("POST", "/v1/personal-models", {"name": "eve"}),
    ("POST", "/v1/feedback", {"model": "ada", "completion_id": "chatcmpl-1", "rating": 1}),
    ("POST", "/v1/personal-models/ada/forget", {"query": "my password"}),
    ("POST", "/v1/personal-models/ada/jobs", {"method": "preference", "rank": 4, "learning_rate": 1e-3}),
    ("POST", "/v1/personal-models/ada/rollback", {}),
    ("POST", "/v1/personal-models/ada/fork", {"name": "bob"}),
    ("PUT", "/v1/personal-models/ada/aliases/canary", {"revision": "0" * 64}),
    ("PUT", "/v1/personal-models/ada/sharing", {"sharing": "votes"}),
    ("PUT", "/v1/personal-models/ada/suite", {"questions": [{"ask": "Where?", "expect": "Here"}]}),
    ("POST", "/v1/fine_tuning/jobs", {"model": "ada", "training_file": "file-1", "seed": 3}),
    ("POST", "/v1/population/answers", {"messages": [SAID], "k": 2}),
    ("POST", "/v1/population/merge", {"models": ["ada", "eve"], "into": "both"}),
)
GETS = (
    "/v1/models",
    "/v1/personal-models?limit=2",
    "/v1/personal-models/ada/interactions?after=0&limit=5",
    "/v1/personal-models/ada/export",
    "/v1/personal-models/ada/memory/known",
    "/v1/files?limit=3&order=asc",
    "/v1/requests/req_0123456789abcdef0123456789abcdef",
    "/v1/population/report",
    "/metrics",
    "/readyz",
)
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"a": 1}\r\n--x--\r\n'
)


class AnsweredBadly(Exception):
    """An answer that no request may have."""


class Http:
    """Sends requests whose bytes or values were changed, each followed by one that must succeed."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._population = self._run(Population.start(folder / "store"))
        self._run(self._population.create("ada"))
        self._population.turn_seconds_max = 5.0
        self._listener = bind("127.0.0.1", 0)
        self._server = Server(self._population.app)
        self._serving = self._loop.create_task(self._server.serve(sockets=[self._listener]))
        key = self._population.keys["acme"]
        self._head = f"Host: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n".encode()
        self._samples = [
            self._sent(method, path, json.dumps(body).encode()) for method, path, body in JSON_BODIES
        ]
        self._samples.append(self._sent("POST", "/v1/files", FORM, "multipart/form-data; boundary=x"))
        self._samples += [b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), self._head) for path in GETS]
        chunked = b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n"
        start = b"POST /v1/completions HTTP/1.1\r\n" + self._head + chunked
        self._samples.append(start + b'\r\n19\r\n{"model":"ada","prompt":"\r\n4\r\nhi"}\r\n0\r\n\r\n')

    def close(self) -> None:
        self._run(end_servers([self._server], [self._serving], 5.0))
        self._population.close()
        self._listener.close()
        self._loop.close()

    def made(self, source: random.Random) -> bytes:
        if source.random() < 0.5:
            return mutated(source.choice(self._samples), self._samples, source)
        method, path, value = source.choice(JSON_BODIES)
        for _ in range(source.choice((0, 1, 1, 1, 2, 4))):
            value = mutated_value(value, source)
        body = json.dumps(value, default=repr).encode(errors="replace")
        return self._sent(method, path, mutated(body, [body], source) if source.random() < 0.2 else body)

    def feed(self, data: bytes) -> str:
        status = self._run(self._answered(data))
        assert self._run(self._answered(WELL)) == 200
        return "closed" if status is None else f"status {status}"

    async def _answered(self, data: bytes) -> int | None:
        """Send bytes and no more; return the status of the first answer, None if there was none."""
        host, port = self._listener.getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(data)
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                answer = await self._read(reader, writer)
        except ConnectionError:
            return None
        finally:
            writer.close()
        if not answer:
            return None
        status = int(answer[9:12])
        if status == 500 or b'"internal_error"' in answer:
            raise AnsweredBadly(answer[-2000:])
        return status

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Read all that is answered; a request that is not whole ends when nothing comes for a while."""
        answer = b""
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    part = await reader.read(65536)
            except TimeoutError:
                # The server takes it for a client that is gone.
                writer.write_eof()
                return answer + await reader.read(-1)
            if not part:
                return answer
            answer += part

    def _sent(self, method: str, path: str, body: bytes, kind: str = "application/json") -> bytes:
        told = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return f"{method} {path} HTTP/1.1\r\n".encode() + self._head + told + body

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


@contextmanager
def http() -> Generator[Http]:
    with tempfile.TemporaryDirectory(prefix="populace-fuzz-") as folder:
        target = Http(Path(folder))
        yield target
        target.close()
