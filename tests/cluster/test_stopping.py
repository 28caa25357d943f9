"""``populace serve`` that is told to stop finishes what runs and takes nothing new; told twice, it ends."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.served import STOP_SECONDS, Served, ask, chat, serve
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS
from tests.living import wait_ended
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

TALKING = 4
TOKENS = 300


class Stream:
    """A reply that is read as it comes; ``is_whole`` says that its end came too."""

    def __init__(self, served: Served, model: str, key: str) -> None:
        self.model = model
        self.begun = threading.Event()
        self.text = ""
        self.is_whole = False
        self._url = f"{served.url}/v1/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}"}

    def read(self) -> None:
        body = {"model": self.model, "messages": ask("Tell me a long story."), "max_tokens": TOKENS}
        options: Any = {"json": {**body, "stream": True}, "timeout": ENGINE_HANG_SECONDS}
        try:
            with httpx.stream("POST", self._url, headers=self._headers, **options) as reply:
                for line in reply.iter_lines():
                    self._take(line.removeprefix("data: "))
        except httpx.TransportError:
            self.is_whole = False

    def _take(self, line: str) -> None:
        if line == "[DONE]":
            self.is_whole = True
        elif line:
            for choice in json.loads(line).get("choices", ()):
                self.text += choice["delta"].get("content") or ""
                self.begun.set()


class Upload:
    """A file that goes up until it is told to end: a request that runs for as long as a test wants."""

    def __init__(self, served: Served) -> None:
        self.go_on = threading.Event()
        self.status: int | None = None
        self._url, self._key = f"{served.url}/v1/files", served.key

    def send(self) -> None:
        form = "multipart/form-data; boundary=end"
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": form}
        try:
            reply = httpx.post(self._url, headers=headers, content=self._body(), timeout=ENGINE_HANG_SECONDS)
        except httpx.TransportError:
            return
        self.status = reply.status_code

    def _body(self) -> Iterator[bytes]:
        disposition = b"--end\r\nContent-Disposition: form-data; name="
        yield disposition + b'"purpose"\r\n\r\nfine-tune\r\n'
        yield disposition + b'"file"; filename="a.jsonl"\r\n\r\n{}\n'
        self.go_on.wait(ENGINE_HANG_SECONDS)
        yield b"\r\n--end--\r\n"


def told(served: Served, text: str) -> bool:
    """Whether it is said within a long time."""
    waiting = threading.Event()
    for _ in range(int(ENGINE_HANG_SECONDS / 0.1)):
        if text in " ".join(served.log.read_text().split()):
            return True
        waiting.wait(0.1)
    return False


def heard(manager: socket.socket) -> list[str]:
    """What a service manager was told so far, line by line."""
    lines: list[str] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            lines += manager.recv(10_000).decode().splitlines()
    return lines


def refusal(reply: httpx.Response) -> tuple[int, str, str]:
    return reply.status_code, reply.json()["error"]["code"], reply.headers["retry-after"]


def test_what_runs_is_whole_and_in_the_log_what_is_new_is_refused_and_a_second_signal_ends_all(
    tmp_path: Path, base_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    base = make_small_base(tmp_path / "base", base_directory)
    monkeypatch.setenv("POPULACE_BASE", str(base))
    # Neither a turn nor the stop ends by itself here.
    monkeypatch.setenv("POPULACE_TURN_SECONDS_MAX", str(ENGINE_HANG_SECONDS))
    monkeypatch.setenv("POPULACE_DRAIN_SECONDS_MAX", str(ENGINE_HANG_SECONDS))
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with manager, concurrent.futures.ThreadPoolExecutor(TALKING + 1) as pool:
        with serve(tmp_path, engine="torch") as served:
            assert told(served, "Ctrl-C stops")
            models = [served.create(f"talking-{number}") for number in range(TALKING)]
            before = [chat(served, model, f"before-{model}") for model in models]
            family = served.family()
            assert "NOTIFY_SOCKET" not in served.host_process().environ()
            # What the turns below take gives the gateway time to begin with it.
            upload = Upload(served)
            sending = pool.submit(upload.send)
            streams = [Stream(served, model, served.key) for model in models]
            reading = [pool.submit(stream.read) for stream in streams]
            assert all(stream.begun.wait(ENGINE_HANG_SECONDS) for stream in streams)
            served.process.send_signal(signal.SIGTERM)
            assert told(served, "may go on for")
            body = {"model": models[0], "messages": ask("And now?")}
            refused = served.call("POST", "/v1/chat/completions", json=body)
            ready = served.call("GET", "/readyz")
            in_cluster = served.run("-c", TURN, models[0])
            assert served.process.poll() is None
            upload.go_on.set()
            assert served.process.wait(HANG_SECONDS) == 0
            assert wait_ended(family, STOP_SECONDS) == []
            for one in (sending, *reading):
                one.result()

        assert upload.status == 200
        assert [line for line in heard(manager) if "=1" in line] == ["READY=1", "STOPPING=1"]
        assert refusal(refused) == (503, "draining", "5")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert "draining" in in_cluster.stdout, in_cluster.stderr
        assert all(stream.is_whole for stream in streams)

        with serve(tmp_path, engine="torch") as served:
            assert told(served, "Ctrl-C stops")
            logs = [served.log_of(model) for model in models]
            kept = [[turn["reply"] for turn in log] for log in logs]
            said = [reply["choices"][0]["message"]["content"] for reply in before]
            assert kept == [[one, stream.text] for one, stream in zip(said, streams, strict=True)]

            family = served.family()
            upload = Upload(served)
            sending = pool.submit(upload.send)
            chat(served, models[0], "meanwhile")
            served.process.send_signal(signal.SIGINT)
            assert told(served, "may go on for")
            served.process.send_signal(signal.SIGINT)
            assert told(served, "Ending what runs")
            assert served.process.wait(HANG_SECONDS) == 0
            assert wait_ended(family, STOP_SECONDS) == []
            upload.go_on.set()
            sending.result()
            assert upload.status is None


TURN = """
import sys, populace
from populace.storage.records.errors import PopulaceError

with populace.connect() as population:
    try:
        population.model(sys.argv[1]).chat("And here?")
    except PopulaceError as error:
        print(error.code)
"""
