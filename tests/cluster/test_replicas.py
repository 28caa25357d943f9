"""A Populace of two replicas: a model's requests find the one that has its adapter; metrics show both.

It is configured by a file, which names the ports between its processes.
"""

import concurrent.futures
import os
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from populace.adapters.random_adapter import ATTENTION, write_random_adapter
from populace.client.connecting import connect
from tests.end_to_end.served import Served, serve
from tests.runtime.gateway.test_operations import samples_of
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.release("cluster")]

TURNS = 6
PEOPLE = 8
PORTS = range(first := 20_000 + 16 * (os.getpid() % 600), first + 16)
"""Ports that the system gives to no outgoing connection, and the other test processes do not take."""


def chat(served: Served, model: str) -> None:
    reply = served.openai().chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=8
    )
    assert reply.choices[0].finish_reason in ("stop", "length")


def metrics(served: Served) -> dict[tuple[str, tuple[str, ...]], float]:
    return samples_of(served.call("GET", "/metrics").text)


def chosen_ports(process: psutil.Process) -> set[int]:
    """Return the ports that the process listens on and that the file names."""
    listening = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return {one.laddr.port for one in listening if one.laddr.port in PORTS}


def routed(samples: dict[tuple[str, tuple[str, ...]], float]) -> Counter[str]:
    """How many requests went to replicas, by why."""
    found = {labels[-1]: n for (name, labels), n in samples.items() if name.startswith("populace_routed")}
    return Counter({why: round(count) for why, count in found.items()})


def test_two_replicas_serve_one_population(tmp_path: Path, base_directory: Path) -> None:
    (tmp_path / "base").mkdir()
    base = make_small_base(tmp_path / "base", base_directory)
    adapter = write_random_adapter(tmp_path / "adapter", base, seed=1, rank=8, targets=ATTENTION, scale=0.1)
    (tmp_path / "config").mkdir()
    settings = f'replicas = 2\nbase = "{base}"\nstream_ports = "{PORTS.start}-{PORTS.stop - 1}"\n'
    (tmp_path / "config" / "populace.toml").write_text(settings, encoding="utf-8")
    with serve(tmp_path, engine="torch") as served:
        with connect(data=served.data) as population:
            population.create("ada", adapter=adapter)
        before = routed(metrics(served))
        names: list[str] = [served.create(f"model-{number}") for number in range(PEOPLE)]
        for _ in range(TURNS):
            chat(served, "ada")
        with concurrent.futures.ThreadPoolExecutor(PEOPLE) as pool:
            list(pool.map(partial(chat, served), names))

        samples = metrics(served)
        gateway, host = chosen_ports(served.gateway_process()), chosen_ports(served.host_process())

    since = routed(samples) - before
    assert since["hot"] == TURNS - 1
    assert since.total() - since["repeat"] == TURNS + PEOPLE
    assert {labels for name, labels in samples if name == "populace_engine_running"} == {("0",), ("1",)}
    assert len(gateway) == 1, "it reads tokens"
    assert len(host) >= 1, "it hears of callers that end"
    assert not gateway & host
