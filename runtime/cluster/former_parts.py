# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Finds what an earlier ``populace serve`` left in a Ray that goes on without it.

Its hosts and trainer are detached, so that they survive the loss of its machine: they go on with its options,
on another store node perhaps, in the data directory of that one. A later ``populace serve`` starts its own in
their place. Hosts that it took over as they are would know nothing of its settings, its gateway and its node.
"""

import contextlib
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import ray
from ray.experimental.internal_kv import (
    _internal_kv_get,  # pyright: ignore[reportUnknownVariableType]  # untyped
    _internal_kv_put,  # pyright: ignore[reportUnknownVariableType]  # untyped
)
from ray.util import list_named_actors

from populace.actors.errors import StartFailed
from populace.cluster.joining.driver import running_driver
from populace.cluster.serve_applications import delete
from populace.engines import client
from populace.engines.engine_nodes import TABLE
from populace.gateway import deployment
from populace.hosting.messages import HOST_PREFIX, NAMESPACE
from populace.trainer.actor import STOP_SECONDS_MAX, TRAINER

SERVING = b"serving"
"""The key under which the cluster's table has the ``Serving`` of the last ``populace serve``, as JSON."""
CLOSE_SECONDS_MAX = 10.0
END_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1


class Serving(NamedTuple):
    """What a ``populace serve`` serves in a Ray: its job, the store, and the journal that it names."""

    job: str
    store_id: str
    journal: str | None


def last_serving() -> Serving | None:
    """Return what the last ``populace serve`` of this Ray serves, or served; None if there was none."""
    noted = _internal_kv_get(SERVING, namespace=TABLE)
    return Serving(*json.loads(noted)) if noted else None


def refuse_second() -> None:
    """Raise ``StartFailed`` if another ``populace serve`` of this Ray runs. Needs a connection to Ray."""
    former, own = last_serving(), ray.get_runtime_context().get_job_id()
    if former is None or former.job == own:
        return
    driver = running_driver(former.job)
    if driver is not None:
        raise StartFailed(
            "The store",
            f"another `populace serve` runs in this Ray, on {driver['DriverIPAddress']} (process "
            f"{driver['DriverPid']}). Stop it first; of a machine that is lost Ray knows it within a minute",
        )


def replace_former(store_id: str, journal: str | None, report: Callable[[str], None]) -> None:
    """End what a ``populace serve`` of this Ray left that is gone, and be the one that serves from here on.

    Raises ``StartFailed`` if another one runs, and if what is left does not end. Needs a connection to Ray.
    """
    refuse_second()
    own = Serving(ray.get_runtime_context().get_job_id(), store_id, journal)
    _internal_kv_put(SERVING, json.dumps(own).encode(), namespace=TABLE)
    names = former_names()
    if not names:
        return
    report("Ending the parts of a populace serve that is gone")
    for name in sorted(names, key=lambda name: name != TRAINER):  # it saves its work while hosts are there
        stop_named(name, STOP_SECONDS_MAX if name == TRAINER else CLOSE_SECONDS_MAX)
    with contextlib.suppress(Exception):
        delete([deployment.APPLICATION, client.APPLICATION])
    give_up = time.monotonic() + END_SECONDS_MAX
    while names := former_names():
        if time.monotonic() > give_up:
            raise StartFailed(
                "The store", f"the {', '.join(names)} of an earlier populace serve does not end"
            )
        time.sleep(POLL_SECONDS)


def stop_named(name: str, seconds_max: float = CLOSE_SECONDS_MAX) -> None:
    """Do so with whichever actor has the name now: a host may have been handed over to another one."""
    with contextlib.suppress(ValueError):
        stop_actor(ray.get_actor(name, namespace=NAMESPACE), seconds_max)


def stop_actor(handle: object, seconds_max: float = CLOSE_SECONDS_MAX) -> None:
    """Let a host finish its commits, or a trainer save its sessions, then end it; a dead one is fine."""
    with contextlib.suppress(Exception):
        ray.get(handle.close.remote(), timeout=seconds_max)  # type: ignore[attr-defined]
    with contextlib.suppress(Exception):
        ray.kill(handle)  # type: ignore[arg-type]


def former_names() -> list[str]:
    """Return the names of the hosts and the trainer that this Ray has."""
    names: list[str] = list_named_actors()
    return sorted(name for name in names if name == TRAINER or name.startswith(HOST_PREFIX))
