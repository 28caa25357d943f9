# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Notes in the cluster's table that a node gives its hosts away: one drain of a node at a time.

A note has its drain's job. It counts as long as that driver runs, so a drain that was killed keeps nothing.
"""

import json
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray
from ray.experimental.internal_kv import (
    _internal_kv_del,  # pyright: ignore[reportUnknownVariableType]  # untyped
    _internal_kv_get,  # pyright: ignore[reportUnknownVariableType]  # untyped
    _internal_kv_list,  # pyright: ignore[reportUnknownVariableType]  # untyped
    _internal_kv_put,  # pyright: ignore[reportUnknownVariableType]  # untyped
)

from populace.actors.draining import DrainRefused
from populace.cluster.joining.driver import running_driver
from populace.engines.engine_nodes import TABLE

PREFIX = "draining:"
TIE_SECONDS = 1.0
"""How long a drain waits for another one that began with it, and gives way, to take its note back."""
POLL_SECONDS = 0.05
AGAIN_SECONDS = 0.5


class DrainNote(NamedTuple):
    """A drain that runs: its note's key, when it began, and which process it is."""

    key: bytes
    began_s: float
    address: str
    process: int

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.began_s))
        return f"since {began}, by the process {self.process} on {self.address}"


@contextmanager
def noted_drain(node_id: str, called: str, *, wait_seconds: float = 0.0) -> Generator[None]:
    """Be the one drain of a node during the block. Hosts of other nodes do not go to it meanwhile.

    Raises ``DrainRefused``, with the node as it is ``called``, while another one runs for longer than
    ``wait_seconds``. Needs a connection to Ray.
    """
    give_up = time.monotonic() + wait_seconds
    # Of its own: what another one left can be removed without removing that of a third one.
    key = f"{PREFIX}{node_id}:{secrets.token_hex(8)}".encode()
    try:
        while (other := _first(key, node_id)) is not None:
            if time.monotonic() >= give_up:
                raise DrainRefused(
                    called,
                    f"another drain moves them, {other}, and two would end each other's. Wait until it ends, "
                    "and drain what is left",
                )
            time.sleep(AGAIN_SECONDS)
        yield
    finally:
        _internal_kv_del(key, namespace=TABLE)


def drains(node_id: str | None = None) -> list[DrainNote]:
    """List the drains that run, of one node or of all; what killed ones left is removed."""
    found: list[DrainNote] = []
    keys: list[bytes] = _internal_kv_list(
        PREFIX if node_id is None else f"{PREFIX}{node_id}:", namespace=TABLE
    )
    for key in keys:
        noted: Any = _internal_kv_get(key, namespace=TABLE)
        if noted is None:
            continue
        job, began_s = json.loads(noted)
        driver = running_driver(job)
        if driver is None:
            _internal_kv_del(key, namespace=TABLE)
        else:
            found.append(DrainNote(key, began_s, driver["DriverIPAddress"], driver["DriverPid"]))
    return sorted(found)


def _first(key: bytes, node_id: str) -> DrainNote | None:
    """Note a drain, and return None if it is the only one; else take the note back, and return another one.

    Whoever goes on has looked after it noted itself, and saw no other: so two never do. Of two that see each
    other the one with the smaller key waits for the other one to give way.
    """
    note = json.dumps([ray.get_runtime_context().get_job_id(), time.time()])
    _internal_kv_put(key, note.encode(), namespace=TABLE)
    give_up = time.monotonic() + TIE_SECONDS
    while others := [drain for drain in drains(node_id) if drain.key != key]:
        if others[0].key < key or time.monotonic() > give_up:
            _internal_kv_del(key, namespace=TABLE)
            return others[0]
        time.sleep(POLL_SECONDS)
    return None
