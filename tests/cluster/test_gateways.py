"""Two gateways share a port and a machine joins with another: each knows what others did, and may be lost."""

import concurrent.futures
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from populace.settings.running import find_running
from scripts.bench.ports import free_port
from tests.cluster.test_joining import join
from tests.end_to_end.served import Served, serve
from tests.limits import ENGINE_HANG_SECONDS
from tests.living import wait_ended
from tests.runtime.gateway.test_operations import samples_of
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

TITLE = "ray::ServeReplica:populace-gateway"
CONNECTIONS_MAX = 64
"""Of so many connections each of two gateways gets some, but for one time in 2**63."""
TURN_SECONDS_MAX = 2 * ENGINE_HANG_SECONDS
"""Longer than any test waits: nothing here ends by its deadline."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, base_directory: Path) -> Generator[Served]:
    folder = tmp_path_factory.mktemp("pair")
    for name in ("base", "config"):
        (folder / name).mkdir()
    base = make_small_base(folder / "base", base_directory)
    settings = f"""
base = "{base}"
gateways = 2
turn_seconds_max = {TURN_SECONDS_MAX}
telemetry = "file"
cluster_port = {free_port()}
"""
    (folder / "config" / "populace.toml").write_text(settings, encoding="utf-8")
    with serve(folder, engine="torch") as served:
        served.create("ada")
        yield served


def gateways(served: Served) -> set[int]:
    """The process ids of the gateways."""
    return {one.pid for one in served.family() if "".join(one.cmdline()).startswith(TITLE)}


def gateway_at(port: int, processes: set[int]) -> int:
    """Return the gateway that has the other end of a connection from this port."""
    for process in processes:
        for one in psutil.Process(process).net_connections("tcp"):
            if one.raddr and one.raddr.port == port:
                return process
    raise AssertionError(f"no gateway of {processes} has the connection")


@contextmanager
def connected(served: Served) -> Generator[dict[int, httpx.Client]]:
    """A client with one connection, which it keeps, to each gateway."""
    processes, found = gateways(served), dict[int, httpx.Client]()
    headers = {"Authorization": f"Bearer {served.key}"}
    limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            client = httpx.Client(
                base_url=served.url, headers=headers, limits=limits, timeout=ENGINE_HANG_SECONDS
            )
            stack.enter_context(client)
            stream = client.get("/healthz").extensions["network_stream"]
            found.setdefault(gateway_at(stream.get_extra_info("client_addr")[1], processes), client)
            if len(found) == len(processes):
                break
        assert found.keys() == processes
        yield found


def ask(client: httpx.Client, said: str, operation: str) -> httpx.Response:
    body = {"model": "ada", "messages": [{"role": "user", "content": said}], "max_tokens": 8}
    return client.post("/v1/chat/completions", json=body, headers={"Idempotency-Key": operation})


def reply_of(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()["choices"]


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + ENGINE_HANG_SECONDS
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def replies(client: httpx.Client) -> Counter[str]:
    """How many replies each gateway has made."""
    samples = samples_of(client.get("/metrics").text)
    return Counter(
        {
            labels[0]: round(count)
            for (name, labels), count in samples.items()
            if name == "populace_reply_seconds_count"
        }
    )


def busy(client: httpx.Client) -> float:
    """How many models have a turn under way."""
    samples = samples_of(client.get("/metrics").text)
    return sum(value for (name, _), value in samples.items() if name == "populace_host_busy")


def test_what_one_gateway_did_the_other_knows(pair: Served) -> None:
    with connected(pair) as clients:
        one, other = clients.values()
        before = replies(one)
        first = ask(one, "hello", "known-one")
        assert reply_of(ask(other, "hello", "known-one")) == reply_of(first)
        reply_of(ask(other, "and again", "known-two"))

        # Each made one at least; the first of all is that which `populace serve` asks for.
        assert (replies(other) - before).keys() == {"0", "1"}
        form = {"purpose": (None, "fine-tune"), "file": ("a.jsonl", b"{}\n")}
        kept = one.post("/v1/files", files=form).json()["id"]
        assert other.get(f"/v1/files/{kept}/content").content == b"{}\n"
        request = f"/v1/requests/{first.headers['x-request-id']}"
        for client in clients.values():
            log = client.get("/v1/personal-models/ada/interactions").json()["data"]
            assert [turn["messages"][-1]["content"] for turn in log][-2:] == ["hello", "and again"]
            wait_until(lambda client=client: client.get(request).status_code == 200)


def test_each_gateway_tells_of_all(pair: Served) -> None:
    with connected(pair) as clients:
        for client in clients.values():
            ready = client.get("/readyz").json()
            assert set(ready["gateways"]) == {"0", "1"}
            assert ready["degraded"] == {}
            samples = samples_of(client.get("/metrics").text)
            assert samples["populace_gateways_configured", ()] == 2
            held = {labels for name, labels in samples if name == "populace_process_resident_bytes"}
            assert {("0", "gateway"), ("1", "gateway")} <= held
            assert {"0", "1"} == {
                labels[0] for name, labels in samples if name == "populace_http_requests_total"
            }


def test_a_key_that_is_revoked_is_refused_at_both(pair: Served) -> None:
    made = pair.run("-m", "populace", "key", "create", "acme")
    key = next(word for word in made.stdout.split() if word.startswith("populace_"))
    headers = {"Authorization": f"Bearer {key}"}

    def status(client: httpx.Client) -> int:
        return client.get("/v1/models", headers=headers).status_code

    with connected(pair) as clients:
        assert [status(client) for client in clients.values()] == [200, 200]
        revoked = pair.run("-m", "populace", "key", "revoke", key.split("_")[1])
        assert revoked.returncode == 0, revoked.stdout
        for client in clients.values():
            wait_until(lambda client=client: status(client) == 401)


def test_a_gateway_that_is_killed_takes_its_own_turns_with_it_and_is_replaced(pair: Served) -> None:
    with connected(pair) as clients, concurrent.futures.ThreadPoolExecutor() as pool:
        (killed, one), (_, other) = clients.items()
        made = reply_of(ask(one, "hello", "killed-one"))
        engine = pair.replica_process()
        engine.suspend()
        try:
            lost = pool.submit(partial(ask, one, "a lost one", "killed-two"))
            wait_until(lambda: busy(other) == 1)
            os.kill(killed, signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                lost.result()
        finally:
            engine.resume()
        assert other.get("/readyz").status_code == 200
        reply_of(ask(other, "a lost one", "killed-two"))
        assert reply_of(ask(other, "hello", "killed-one")) == made
        wait_until(lambda: other.get("/readyz").json()["degraded"] == {})
        wait_until(lambda: len(gateways(pair)) == 2)
    with connected(pair) as clients:
        assert killed not in clients
        for client in clients.values():
            assert reply_of(ask(client, "hello", "killed-one")) == made


def gateways_told(client: httpx.Client) -> dict[str, str]:
    """The gateways that answer, with their addresses."""
    return client.get("/readyz").json()["gateways"]


def test_a_machine_joins_with_a_gateway_and_is_lost(pair: Served, tmp_path: Path) -> None:
    address, token = find_running(pair.data).ray_address, pair.config / "cluster-token"
    url = f"http://127.0.0.1:{free_port()}"
    headers = {"Authorization": f"Bearer {pair.key}"}
    port = url.rpartition(":")[2]
    with (
        join(tmp_path / "joined", address, token, "--gateway", POPULACE_PORT=port) as joined,
        httpx.Client(base_url=url, headers=headers, timeout=ENGINE_HANG_SECONDS) as there,
        httpx.Client(base_url=pair.url, headers=headers, timeout=ENGINE_HANG_SECONDS) as here,
    ):
        joined.wait_said("A gateway serves on this machine")
        made = reply_of(ask(there, "hello", "joined-one"))
        assert reply_of(ask(here, "hello", "joined-one")) == made
        # What needs the files of the store goes there.
        form = {"purpose": (None, "fine-tune"), "file": ("a.jsonl", b"{}\n")}
        kept = there.post("/v1/files", files=form).json()["id"]
        for client in (here, there):
            assert client.get(f"/v1/files/{kept}/content").content == b"{}\n"
            wait_until(lambda client=client: set(gateways_told(client)) == {"0", "1", "2"})
            assert gateways_told(client)["2"].endswith(f":{port}")
            samples = samples_of(client.get("/metrics").text)
            counted = {labels[0] for name, labels in samples if name == "populace_reply_seconds_count"}
            assert counted == {"0", "1", "2"}

        family = joined.family()
        os.kill(joined.process.pid, signal.SIGKILL)
        assert wait_ended(family) == []
        wait_until(lambda: set(gateways_told(here)) == {"0", "1"})
        wait_until(lambda: here.get("/readyz").json()["degraded"] == {})
        assert reply_of(ask(here, "hello", "joined-one")) == made
    assert f"The gateway 2 starts at {address.rpartition(':')[0]}" in pair.log.read_text()
