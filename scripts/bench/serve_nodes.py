# pyright: reportUnknownVariableType=false
# Ray's API is partly untyped.
"""``populace bench serve --nodes 2``: replicas on several nodes of Ray, against as many ``vllm serve``.

The requests of ``vllm serve`` go to one after the other: a plain round robin in the client, which costs
nothing. All nodes are on this machine, and each engine has its share of the threads; what is compared is the
way from the gateway to a replica of another node, and the choice of the replica.
"""

import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from ray.util import get_node_ip_address

from populace.base.prepare import prepare_base
from populace.settings.environment import process_environment
from populace.settings.settings import Settings
from scripts.bench.ports import free_port
from scripts.bench.processes import BenchFailed, child
from scripts.bench.report import BenchReport
from scripts.bench.serve import (
    POPULACE,
    Report,
    ServeBench,
    Server,
    compare,
    measure,
    populace_serve,
    vllm_serve,
)

JOIN_SECONDS_MAX = 600.0
LOOK_SECONDS = 0.5
RUNNING = "populace_engine_running{"
"""A line of the metrics for each replica that answers."""


def bench_nodes(bench: ServeBench, settings: Settings, *, nodes: int, report: Report) -> BenchReport:
    """Start all servers, run all rounds, stop the servers, and compare. Raises ``BenchFailed``."""
    base = prepare_base(settings.base, settings.cache)
    share = settings.model_copy(update={"threads": max(1, settings.threads // nodes)})
    several = f"{nodes} vllm serve, in turn"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        adapters = bench.write_adapters(work, base.directory)
        servers: dict[str, Server] = {}
        report(f"Starting {nodes} vllm serve")
        alone = [
            stack.enter_context(vllm_serve(share, base, adapters, work, tuned=True)) for _ in range(nodes)
        ]
        urls = tuple(server.endpoint.url for server in alone)
        first = alone[0]
        servers[several] = first._replace(endpoint=replace(first.endpoint, others=urls[1:]))
        report(f"Starting populace serve on {nodes} nodes")
        port = free_port()
        variables = {"POPULACE_THREADS": str(share.threads), "POPULACE_REPLICAS": "1"}
        options = ["--cluster-port", str(port)]
        servers[POPULACE] = stack.enter_context(populace_serve(bench, adapters, work, variables, options))
        for number in range(1, nodes):
            stack.enter_context(_joined(f"{get_node_ip_address()}:{port}", work, number))
        _wait_replicas(servers[POPULACE].endpoint.url, nodes)
        measured = measure(bench, servers, report)
    result = compare(bench, measured, (several, POPULACE))
    result.notes.append(
        f"{nodes} engines on each side, with {share.threads} threads and {settings.kv_gib} GiB for keys and "
        "values each; processor time is that of the first node and server"
    )
    return result


@contextmanager
def _joined(address: str, work: Path, number: int) -> Generator[None]:
    """Run a ``populace node join`` with the token of the Populace whose files are in ``work``."""
    environment = process_environment(
        POPULACE_CONFIG=str(work / f"config-{number}"),
        POPULACE_CLUSTER_TOKEN_FILE=str(work / "config" / "cluster-token"),
    )
    command = [sys.executable, "-m", "populace", "node", "join", address]
    with child(command, environment, work / f"join-{number}.log"):
        yield


def _wait_replicas(url: str, replicas: int) -> None:
    give_up = time.monotonic() + JOIN_SECONDS_MAX
    while True:
        metrics = httpx.get(f"{url}/metrics", timeout=60, trust_env=False).text
        if metrics.count(RUNNING) == replicas:
            return
        if time.monotonic() > give_up:
            raise BenchFailed(f"there are not {replicas} replicas after {JOIN_SECONDS_MAX:.0f} s")
        time.sleep(LOOK_SECONDS)
