"""A real ``populace serve`` as a child process, as a newcomer would start it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from populace.settings.credentials import Credentials
from populace.settings.environment import process_environment
from populace.settings.running import find_running, wait_for_running
from scripts.bench.ports import free_port
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS, THREADS
from tests.living import wait_ended
from tests.notes import count_start

TRAINING_PRIORITY = "normal"
"""Beside other tests the machine is never idle, and a training at a lower one took minutes."""

STOP_SECONDS = 60.0
"""After the command has ended, for processes that should have ended with it; what is left then is killed."""


@dataclass(frozen=True)
class Served:
    """A running Populace and how to reach it."""

    process: subprocess.Popen[bytes]
    data: Path
    config: Path
    url: str
    log: Path
    clients: ExitStack = field(default_factory=ExitStack)
    """Closes the official clients: one that is only dropped leaves its sockets to the garbage collector."""

    @property
    def key(self) -> str:
        key = Credentials(self.config).find(find_running(self.data).store_id)
        assert key is not None
        return key

    @property
    def environment(self) -> dict[str, str]:
        """What a command line or an example needs to find this Populace."""
        return process_environment(
            POPULACE_DATA=str(self.data),
            POPULACE_CONFIG=str(self.config),
            OPENAI_BASE_URL=f"{self.url}/v1",
            OPENAI_API_KEY=self.key,
            POPULACE_TRAINING_THREADS=str(THREADS),
            POPULACE_TRAINING_PRIORITY=TRAINING_PRIORITY,
        )

    def openai(self) -> OpenAI:
        """Another official client, which is open as long as this Populace runs."""
        url = f"{self.url}/v1"
        client = OpenAI(base_url=url, api_key=self.key, max_retries=0, timeout=ENGINE_HANG_SECONDS)
        return self.clients.enter_context(client)

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, timeout=ENGINE_HANG_SECONDS, **options)

    def create(self, name: str) -> str:
        assert self.call("POST", "/v1/personal-models", json={"name": name}).status_code == 201
        return name

    def log_of(self, name: str) -> list[dict[str, Any]]:
        path = f"/v1/personal-models/{name}/interactions"
        return self.call("GET", path, params={"limit": 1000}).json()["data"]

    def run(self, *command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program beside this Populace, type a text, and answer what it printed."""
        return subprocess.run(
            [sys.executable, *command],
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=ENGINE_HANG_SECONDS,
        )

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def ray_logs(self) -> Path:
        """Find the directory to which the Ray of this Populace logs."""
        prefix = "--session-dir="
        given = [word for process in self.family() for word in process.cmdline() if word.startswith(prefix)]
        return Path(given[0].removeprefix(prefix)) / "logs"

    def host_process(self) -> psutil.Process:
        return self._process("ray::HostActor")

    def gateway_process(self) -> psutil.Process:
        return self._process("ray::ServeReplica:populace-gateway")

    def replica_process(self) -> psutil.Process:
        return self._process("ray::ServeReplica:populace-engine")

    def controller_process(self) -> psutil.Process:
        return self._process("ray::ServeController")

    def agent_process(self) -> psutil.Process:
        """An agent of Ray's raylet, which ends with it."""
        return self._process("ray::RuntimeEnvAgent")

    def _process(self, title: str) -> psutil.Process:
        """Find an actor: Ray names it after its class, and while it answers a call also after the method."""
        return next(one for one in self.family() if "".join(one.cmdline()).startswith(title))


def ask(text: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


def chat(served: Served, model: str, operation: str) -> dict[str, Any]:
    """Make a turn as a careful client does: with an operation id, again after an error."""
    body = {"model": model, "messages": [{"role": "user", "content": operation}], "max_tokens": 8}
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        try:
            reply = served.call(
                "POST", "/v1/chat/completions", json=body, headers={"Idempotency-Key": operation}
            )
        except httpx.HTTPError:
            continue
        if reply.status_code == 200:
            return reply.json()
        assert reply.status_code in (408, 409, 429, 503), reply.text
        time.sleep(float(reply.headers.get("Retry-After", "1")))
    raise AssertionError(f"{operation} was never acknowledged")


@contextmanager
def serve(
    folder: Path,
    *,
    engine: str,
    data: Path | None = None,
    module: str = "populace",
    memory_module: Path | None = None,
    options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Generator[Served]:
    """Start, wait until it is ready, and stop as Ctrl-C does; kill whatever is left.

    ``data`` is where its store is. ``module`` is run as the program ``populace``; ``options`` are more of
    ``serve``'s own, and win; ``settings`` are variables of its environment.
    """
    count_start("serve vllm" if engine == "vllm" else "serve torch")
    data = data or folder / "data"
    config, log, port = folder / "config", folder / "serve.log", free_port()
    command = [sys.executable, "-m", module, "serve", "--port", str(port), "--data", str(data)]
    if memory_module is not None:
        command += ["--memory-module", str(memory_module)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--engine", engine, *options],
            env=process_environment(
                POPULACE_CONFIG=str(config),
                POPULACE_THREADS=str(THREADS),
                POPULACE_TRAINING_THREADS=str(THREADS),
                POPULACE_TRAINING_PRIORITY=TRAINING_PRIORITY,
                **(settings or {}),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Served(process, data, config, f"http://127.0.0.1:{port}", log)
    try:
        with served.clients:
            wait_until_ready(served)
            yield served
    finally:
        stop(served)


def wait_until_ready(served: Served) -> None:
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up and served.process.poll() is None:
        try:
            ready = httpx.get(f"{served.url}/readyz", timeout=60).status_code == 200
        except httpx.HTTPError:
            ready = False
        if ready:
            wait_for_running(served.data, seconds_max=HANG_SECONDS)
            return
        time.sleep(0.2)
    raise AssertionError(f"populace serve did not become ready:\n{served.log.read_text()[-3000:]}")


def wait_for_line(served: Served, text: str) -> None:
    """Wait until it has printed this."""
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < give_up:
        if text in served.log.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"it never said {text!r}:\n{served.log.read_text()[-3000:]}")


def stop(served: Served, number: signal.Signals = signal.SIGINT) -> list[psutil.Process]:
    """Send it the signal and wait; answers (and kills) the processes that it left behind."""
    if served.process.poll() is not None:
        return []
    family = served.family()
    served.process.send_signal(number)
    try:
        served.process.wait(HANG_SECONDS)
    finally:
        alive = wait_ended(family, STOP_SECONDS)
        for one in alive:
            one.kill()
    return alive


def kill_everything(served: Served) -> None:
    """Kill -9 every process of the Populace, as a power cut would end them."""
    family = served.family()
    for one in family:
        os.kill(one.pid, signal.SIGKILL)
    served.process.wait(HANG_SECONDS)
    assert wait_ended(family) == []
