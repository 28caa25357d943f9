"""A ``populace serve`` whose processes may be killed, and which is started again when it ends."""

import json
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from populace.settings.credentials import Credentials
from populace.settings.environment import process_environment
from populace.settings.running import wait_for_running
from scripts.bench.ports import free_port
from scripts.bench.processes import LOG_END_CHARACTERS, BenchFailed, child, wait_until_ready

LOOK_SECONDS = 0.05
ANSWER_SECONDS_MAX = 5.0
RUNS_AGAIN_SECONDS_MAX = 300.0
"""Longer than any engine of a bench takes to start on a busy machine."""

TRAINER_ANSWERS = 'process="trainer"'
"""In the metrics if the trainer's process answers the gateway."""


class Part(NamedTuple):
    """A process of a served Populace: what it is, and words of its command line."""

    what: str
    words: str
    is_engine: bool = False
    """Its successor has to load the base first."""

    is_needed: bool = True
    """Something starts it again. What is not needed is killed once."""

    ends_all: bool = False
    """``populace serve`` ends with it, and has to be started again."""


PARTS = (
    Part("a host", "ray::HostActor"),
    Part("the gateway", "ray::ServeReplica:populace-gateway"),
    Part("the trainer", "ray::TrainerActor"),
    Part("Serve's controller", "ray::ServeController"),
    Part("an engine replica", "ray::ServeReplica:populace-engine", is_engine=True),
    Part("vLLM's engine process", "VLLM::EngineCore", is_engine=True),
    Part("Ray's log monitor", "/log_monitor.py", is_needed=False),
    Part("Ray's monitor of load", "/monitor.py", is_needed=False),
    Part("Ray's dashboard", "/dashboard.py", is_needed=False),
    Part("an agent of the raylet", "ray::RuntimeEnvAgent", ends_all=True),
)


class ServedPopulace:
    """Use ``served_populace``."""

    def __init__(self, root: Path, options: list[str], variables: Mapping[str, str]) -> None:
        self._root = root
        self._port = free_port()
        self._environment = process_environment(POPULACE_CONFIG=str(root / "config"), **variables)
        self._options = options
        self._starts = 0
        self._running = ExitStack()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it is ready. Raises ``BenchFailed``."""
        self._starts += 1
        log = self._root / f"serve-{self._starts}.log"
        command = [sys.executable, "-m", "populace", "serve", "--port", str(self._port)]
        command += ["--data", str(self._root / "data"), *self._options]
        self._process = self._running.enter_context(child(command, self._environment, log))
        wait_until_ready(f"{self.url}/readyz", self._process, log)
        wait_for_running(self._root / "data", seconds_max=60)

    def start_again(self) -> None:
        """Wait until it has ended by itself, and start it as a supervisor does. Raises ``BenchFailed``."""
        self._process.wait(RUNS_AGAIN_SECONDS_MAX)
        self._running.close()
        self.start()

    def close(self) -> None:
        self._running.close()

    @property
    def key(self) -> str:
        store_id = wait_for_running(self._root / "data", seconds_max=60).store_id
        key = Credentials(self._root / "config").find(store_id)
        assert key is not None, "populace serve keeps a key for its user"
        return key

    def new_key(self, tenant: str, *options: str) -> str:
        """Make a key of a tenant, with the command that an operator uses. Raises ``BenchFailed``."""
        command = [sys.executable, "-m", "populace", "key", "create", tenant, "--json", *options]
        environment = {**self._environment, "POPULACE_DATA": str(self._root / "data")}
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            raise BenchFailed(f"no key was made for {tenant}: {made.stderr[-LOG_END_CHARACTERS:]}")
        return str(json.loads(made.stdout)["key"])

    def find(self, part: Part) -> psutil.Process | None:
        """Return a process of a part, None if there is none now."""
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if part.words in " ".join(process.cmdline()):
                    return process
            except psutil.Error:  # it has just ended
                continue
        return None

    def wait_runs_again(self, part: Part, killed: psutil.Process) -> None:
        """Wait until another process has taken a killed one's place, and all parts answer."""
        give_up = time.monotonic() + RUNS_AGAIN_SECONDS_MAX
        while time.monotonic() < give_up:
            found = self.find(part)
            if found is not None and found != killed and self._all_answer():
                return
            time.sleep(LOOK_SECONDS)
        raise BenchFailed(f"{part.what} does not run again after {RUNS_AGAIN_SECONDS_MAX:.0f} s")

    def _all_answer(self) -> bool:
        try:
            ready = httpx.get(f"{self.url}/readyz", timeout=ANSWER_SECONDS_MAX, trust_env=False)
            if not ready.is_success or ready.json()["degraded"]:
                return False
            metrics = httpx.get(f"{self.url}/metrics", timeout=ANSWER_SECONDS_MAX, trust_env=False)
        except httpx.HTTPError:
            return False
        return TRAINER_ANSWERS in metrics.text


@contextmanager
def served_populace(
    root: Path, options: list[str], variables: Mapping[str, str]
) -> Generator[ServedPopulace]:
    """Serve a new store under ``root`` during the block. Raises ``BenchFailed``."""
    served = ServedPopulace(root, options, variables)
    try:
        served.start()
        yield served
    finally:
        served.close()
