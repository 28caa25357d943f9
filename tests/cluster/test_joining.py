# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A second machine joins with one command, makes replies, is lost, and leaves when it is told to.

Both machines are this one: two nodes of Ray, each with its own processes.
"""

import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import APIStatusError
from ray.util import get_node_ip_address

from populace.settings.environment import process_environment
from populace.storage.records.master_key import MASTER_KEY_FILE
from scripts.bench.ports import free_port
from tests.end_to_end.served import Served, serve
from tests.end_to_end.served import chat as careful_chat
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS
from tests.living import wait_ended
from tests.runtime.gateway.test_operations import samples_of
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

PEOPLE = 12
SERVES = "A replica serves on this machine"


@dataclass(frozen=True)
class Joining:
    """A running ``populace node join`` and what it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_said(self, text: str) -> None:
        wait_said(self.log, text, lambda: self.process.poll() is None)

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


def wait_said(log: Path, text: str, is_running: Callable[[], bool]) -> None:
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while text not in log.read_text():
        assert is_running(), log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.2)


@contextmanager
def join(folder: Path, address: str, token: Path, *options: str, **variables: str) -> Generator[Joining]:
    """Start it, with variables of its own, and kill what is left of it in the end."""
    folder.mkdir(exist_ok=True)
    log = folder / "join.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "populace", "node", "join", address, *options],
            env=process_environment(
                POPULACE_CONFIG=str(folder),
                POPULACE_CLUSTER_TOKEN_FILE=str(token),
                COLUMNS="200",
                **variables,
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Joining(process, log)
    finally:
        if process.poll() is None:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.kill()
            process.wait()
            wait_ended(family)


def chat(served: Served, name: str) -> None:
    """Make a turn without an error; a wait for a host that moves may be too long on a slow machine."""
    operation = {"Idempotency-Key": uuid.uuid4().hex}
    while True:
        try:
            reply = served.openai().chat.completions.create(
                model=name,
                messages=[{"role": "user", "content": "hello"}],
                max_tokens=8,
                extra_headers=operation,
            )
        except APIStatusError as error:
            if error.code != "host_unavailable":
                raise
        else:
            break
    assert reply.choices[0].finish_reason in ("stop", "length")


def crowd(served: Served, names: list[str]) -> None:
    with concurrent.futures.ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(partial(chat, served), names))


def finished(served: Served) -> dict[str, float]:
    """How many requests each replica has finished."""
    samples = samples_of(served.call("GET", "/metrics").text)
    counts = dict[str, float]()
    for (name, labels), count in samples.items():
        if name == "populace_engine_finished_total":
            counts[labels[-1]] = counts.get(labels[-1], 0) + count
    return counts


def wait_replicas(served: Served, number: int) -> None:
    """Wait until there should be so many replicas, and all of them answer."""
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while True:
        samples = samples_of(served.call("GET", "/metrics").text)
        answering = {labels for name, labels in samples if name == "populace_engine_running"}
        wanted = samples["populace_replicas_configured", ()]
        if wanted == len(answering) == number:
            return
        assert time.monotonic() < give_up, (wanted, answering, served.log.read_text()[-2000:])
        time.sleep(0.5)


def listed_nodes(served: Served) -> list[dict[str, Any]]:
    """What `populace node ls` lists; last the node with the hosts."""
    listed = served.run("-m", "populace", "node", "ls", "--json")
    nodes: list[dict[str, Any]] = json.loads(listed.stdout)["nodes"]
    return sorted(nodes, key=lambda node: "host" in node["parts"])


def test_a_second_machine_joins_and_is_lost_and_another_leaves_with_the_store(
    tmp_path: Path, base_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    monkeypatch.setenv("POPULACE_JOURNAL", f"file://{tmp_path}/bucket")
    (tmp_path / "base").mkdir()
    base = make_small_base(tmp_path / "base", base_directory)
    port = free_port()
    machine = str(get_node_ip_address())
    address = f"{machine}:{port}"
    options = ("--base", str(base), "--cluster-port", str(port))
    with serve(tmp_path, engine="torch", options=options) as served:
        token = served.config / "cluster-token"
        names = [served.create(f"model-{number}") for number in range(PEOPLE)]
        chat(served, names[0])
        first = served.replica_process()
        assert token.stat().st_mode & 0o777 == 0o600
        secret = token.read_text()
        assert not [one for one in served.family() if secret in " ".join(one.cmdline())]

        wrong = tmp_path / "wrong"
        wrong.write_text("0" * 64)
        wrong.chmod(0o600)
        with join(tmp_path / "refused", address, wrong) as refused:
            assert refused.process.wait(HANG_SECONDS) == 1
            assert "token is another one than this machine's" in refused.log.read_text()

        with join(tmp_path / "lost", address, token) as lost:
            lost.wait_said(SERVES)
            wait_replicas(served, 2)
            before = finished(served)
            crowd(served, names)
            since = {number: count - before.get(number, 0) for number, count in finished(served).items()}
            assert len(since) == 2
            assert min(since.values()) > 0
            assert first.is_running()
            assert f"populace node join {address}" in served.log.read_text()

            family = lost.family()
            # Its replica hangs, too, and so cannot end by itself.
            (replica,) = [one for one in family if "ServeReplica" in one.name()]
            replica.suspend()
            os.kill(lost.process.pid, signal.SIGKILL)
            assert wait_ended(family) == []
            crowd_of_the_patient(served, names)
            wait_replicas(served, 1)
            assert first.is_running()

        (tmp_path / "leaving").mkdir()
        shutil.copy(served.data / MASTER_KEY_FILE, tmp_path / "leaving" / MASTER_KEY_FILE)
        monkeypatch.setenv("POPULACE_MASTER_KEY", str(tmp_path / "leaving" / MASTER_KEY_FILE))
        store = ("--store", "--take-hosts", "--data", str(tmp_path / "leaving" / "data"))
        with join(tmp_path / "leaving", address, token, *store) as leaving:
            monkeypatch.delenv("POPULACE_MASTER_KEY")
            leaving.wait_said(SERVES)
            wait_replicas(served, 2)
            wait_said(served.log, "The hosts are on ", lambda: True)
            head, other = listed_nodes(served)
            assert head["is_head"]
            assert head["parts"] == {"trainer": 1, "gateway": 1, "replica": 1}
            assert other["parts"].keys() == {"host", "replica"}
            crowd(served, names)
            for left, to in ((other["name"], head["name"]), (head["name"], other["name"])):
                drained = served.run("-m", "populace", "node", "drain", left, "--to", to)
                assert drained.returncode == 0, drained.stderr
                assert "INFO" not in drained.stderr
            crowd(served, names)
            family = leaving.family()
            assert [one for one in family if "".join(one.cmdline()).startswith("ray::HostActor")]
            leaving.process.send_signal(signal.SIGINT)
            crowd(served, names)
            assert leaving.process.wait(HANG_SECONDS) == 0, leaving.log.read_text()
            assert wait_ended(family) == []
            assert "populace-host-0 serves on" in leaving.log.read_text()
            assert "Left the cluster." in leaving.log.read_text()
            wait_replicas(served, 1)
            assert served.call("GET", "/readyz").json()["degraded"] == {}
            assert served.host_process().is_running()
            assert {len(served.log_of(name)) for name in names[1:]} == {5}, "each crowd and the patient one"

        assert secret not in served.log.read_text()
        assert first.is_running()


def crowd_of_the_patient(served: Served, names: list[str]) -> None:
    """Everybody gets a reply, if need be at a later try: who was talked to there is told so by an error."""
    for name in names:
        careful_chat(served, name, f"after-{name}")
