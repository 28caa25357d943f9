# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""What runs on a machine of the network of ``links.py``: starts hosts, talks to them, or reads their logs.

``python -m scripts.bench.failover.link_people STEP ROOT ADDRESS OWN_ADDRESS``, on a node of the Ray at an
address. What people get is written down as it comes, a JSON line each, so that this may be killed.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import ray

from populace.actors.engine import BaseInfo
from populace.actors.turn import Interaction, ModelId
from populace.hosting.directory.directory import Directory
from populace.hosting.host_client import connect_host
from populace.hosting.messages import NAMESPACE
from populace.hosting.store_node import STORE_LABELS, Home
from populace.settings.settings import DAY_SECONDS
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import PopulaceError
from populace.storage.store import Store
from scripts.bench.failover.load import FailoverLoad, take_turn
from scripts.bench.failover.store_machines import start_bench_hosts

BASE = BaseInfo("bench", "0" * 64, 2048)
HOSTS = 2
SHARDS = 16
STORE_NODES = 2
PEOPLE = 8
FOREVER = 1e9
SYNC = "sync"


def bucket_url(root: Path) -> str:
    return f"file://{root}/bucket"


def start(root: Path, mode: str) -> None:
    """Start the hosts on the node that has the address in ``preferred``, and create the people's models."""
    store = Store.open(root / "head")
    journal = JournalOptions(bucket_url(root), mode == SYNC, DAY_SECONDS)
    home = Home(ray.get_runtime_context().get_node_id(), store.store_id, journal)
    address = (root / "preferred").read_text()
    (preferred,) = [node["NodeID"] for node in _store_nodes() if node["NodeManagerAddress"] == address]
    start_bench_hosts(store, journal, HOSTS, BASE, home=home, preferred=preferred)

    async def create() -> None:
        directory = _directory()
        for number in range(PEOPLE):
            await directory.create_model(ModelId("bench", f"person-{number}"))

    asyncio.run(create())


def talk(voice: str, log: TextIO) -> None:
    """Let people talk until this is killed, and write down each turn and each error."""

    def note(**said: object) -> None:
        log.write(json.dumps(said) + "\n")
        log.flush()

    async def take(directory: Directory, model: ModelId, operation: str) -> Interaction:
        begun_s = time.monotonic()
        try:
            made = await take_turn(directory, model, operation)
        except PopulaceError as error:
            note(error=error.code, at_s=time.monotonic())
            raise
        note(
            model=model.name,
            operation=operation,
            position=made.position,
            begun_s=begun_s,
            at_s=time.monotonic(),
        )
        return made

    async def run() -> None:
        directory = _directory()
        load = FailoverLoad(
            directory, partial(take, directory), clients=PEOPLE, shards=SHARDS, hosts=HOSTS, voice=voice
        )
        load.talk()
        await load.talk_for(FOREVER)

    asyncio.run(run())


def read(log: TextIO) -> None:
    """Write down what the logs of all people have."""

    async def run() -> None:
        directory = _directory()
        for number in range(PEOPLE):
            model = ModelId("bench", f"person-{number}")
            turns: list[Interaction] = []
            while page := await directory.read_log(model, start=len(turns), limit=1000):
                turns += page
            for turn in turns:
                said = {"model": model.name, "operation": turn.operation, "position": turn.position}
                log.write(json.dumps(said) + "\n")

    asyncio.run(run())


def main(step: str, root: Path, address: str, own_address: str) -> None:
    ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address=own_address,
    )
    kind, _, argument = step.partition("-")
    steps: dict[str, Callable[[], None]] = {}
    with (root / f"{step}.jsonl").open("a", encoding="utf-8") as log:
        steps["start"] = lambda: start(root, argument)
        steps["talk"] = lambda: talk(argument, log)
        steps["read"] = lambda: read(log)
        steps[kind]()


def _store_nodes() -> list[dict[str, Any]]:
    """Wait for both store nodes."""
    while True:
        nodes = [
            node for node in ray.nodes() if node["Alive"] and STORE_LABELS.items() <= node["Labels"].items()
        ]
        if len(nodes) == STORE_NODES:
            return nodes
        time.sleep(0.2)


def _directory() -> Directory:
    return Directory.over([connect_host(number) for number in range(HOSTS)], shard_count=SHARDS)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
