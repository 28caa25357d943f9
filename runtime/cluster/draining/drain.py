# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray's API is partly untyped.
"""Moves the hosts of a store node to another one. Nothing that was acknowledged is lost, and no turn.

A host is an actor that Ray keeps on its node as long as this lives. So the host gives up its shards, with all
of them in the journal, the actor ends, and another one of its name and options begins elsewhere, which claims
the shards as after a loss. Callers wait meanwhile, as for a host that restarts.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, NamedTuple

import ray
from ray._private.state import state
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from populace.actors.draining import DrainRefused
from populace.actors.errors import StartFailed
from populace.actors.hosts_report import HostAnswer
from populace.cluster.drain_notes import drains, noted_drain
from populace.cluster.joining.connecting import Place, connected
from populace.cluster.ray_answers import answer_of
from populace.engines.engine_nodes import draining_nodes, has_labels
from populace.hosting.host_actor import begin_hosts
from populace.hosting.host_client import host_handle
from populace.hosting.host_options import StartedWith, check_takeover
from populace.hosting.messages import HOST_PREFIX
from populace.hosting.store_node import NODE_ID, STORE_LABELS
from populace.storage.records.errors import PopulaceError

ID_CHARACTERS_MIN = 6


class StoreNode(NamedTuple):
    """A living store node, as people may call it, and the names of the hosts that it has."""

    id: str
    name: str
    host: str
    address: str
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.host}, {self.address})"

    def is_called(self, name: str) -> bool:
        """Return whether this is a name of it, its machine's name, its address, or how its id begins."""
        begins = len(name) >= ID_CHARACTERS_MIN and self.id.startswith(name)
        return begins or name in (self.name, self.host, self.address)


def store_nodes_found() -> list[StoreNode]:
    """List the living nodes that have hosts or the label, by name. Needs a connection to Ray."""
    hosts: dict[str, list[str]] = {}
    actors: Any = state.actor_table(None)
    for actor in actors.values():
        if actor["State"] != "DEAD" and actor["Name"].startswith(HOST_PREFIX):
            hosts.setdefault(actor["Address"]["NodeID"], []).append(actor["Name"])
    found = [
        StoreNode(
            node["NodeID"],
            node["NodeName"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            tuple(sorted(hosts.get(node["NodeID"], ()))),
        )
        for node in ray.nodes()
        if node["Alive"] and (has_labels(node, STORE_LABELS) or node["NodeID"] in hosts)
    ]
    return sorted(found, key=lambda node: node.name)


def node_called(name: str, nodes: Sequence[StoreNode]) -> StoreNode:
    """Find the store node that people call so. Raises ``DrainRefused`` for none, and for several."""
    for found in (
        [node for node in nodes if node.name == name],
        [node for node in nodes if node.is_called(name)],
    ):
        if len(found) == 1:
            return found[0]
    known = ", ".join(str(node) for node in nodes) or "none"
    problem = "several store nodes are called so, and one" if found else "no store node is called so, and one"
    raise DrainRefused(name, f"{problem} of these has to be named: {known}")


def next_node(leaving: StoreNode, nodes: Sequence[StoreNode], to: str | None = None) -> StoreNode:
    """Choose where the hosts of a node go on: on the one that is called ``to``, or where others are already.

    Raises ``DrainRefused`` if there is no other store node that stays, or none that is called so.
    """
    away = draining_nodes()
    others = [node for node in nodes if node.id not in {leaving.id, *away} and not drains(node.id)]
    if not others:
        raise DrainRefused(
            str(leaving),
            "there is no other store node to go on with them. Add one with `populace node join HOST:PORT "
            "--store`",
        )
    if to is not None:
        return node_called(to, others)
    return max(others, key=lambda node: (len(node.hosts), node.id))


Report = Callable[[str], None]

CHECK_SECONDS_MAX = 120.0
"""How long it may take to try the store on the node that is to have it, with the start of a process there."""
HAND_OVER_SECONDS_MAX = 120.0
END_SECONDS_MAX = 30.0
START_SECONDS_MAX = 120.0
OPEN_SECONDS_MAX = 120.0
POLL_SECONDS = 0.05
OTHER_SECONDS_MAX = 120.0
"""How long a machine that leaves waits for another drain of it."""


def drain_node(name: str, report: Report, *, to: str | None = None, wait_seconds: float = 0.0) -> None:
    """Hand the hosts of the store node that is called ``name`` over to another one; return when they serve.

    ``to`` is what the other one is called, None where others are already. ``report`` is called with each
    step. Raises ``DrainRefused`` if there is no such node, no journal or no other store node that could
    serve, if another drain of it runs for longer than ``wait_seconds``, and if a host cannot give its shards
    up: those hosts stay where they are. Raises ``StartFailed`` if one does not serve all of its shards on the
    other node. Needs a connection to Ray.
    """
    leaving = node_called(name, store_nodes_found())
    if not leaving.hosts:
        report(f"{leaving} has no hosts")
        return
    if wait_seconds and drains(leaving.id):
        report(f"Waiting for another drain of {leaving}")
    with noted_drain(leaving.id, str(leaving), wait_seconds=wait_seconds):
        # Again if hosts came meanwhile, from a node that was drained or lost at the same time.
        while (leaving := node_called(leaving.id, store_nodes_found())).hosts:
            _drain(leaving, next_node(leaving, store_nodes_found(), to), report)


def drain_leaving(place: Place, name: str, report: Report) -> None:
    """Do so for a machine that leaves its cluster whatever comes of it: an error is reported."""
    try:
        with connected(place):
            drain_node(name, report, wait_seconds=OTHER_SECONDS_MAX)
    except PopulaceError as error:
        report(f"Its hosts were not handed over, and Ray starts them where it can: {error}")


def take_hosts(place: Place, name: str, report: Report) -> None:
    """Have the hosts of all other store nodes handed over to the node of this name: an error is reported."""
    try:
        with connected(place):
            for node in store_nodes_found():
                if node.hosts and node.name != name:
                    drain_node(node.id, report, to=name)
    except PopulaceError as error:
        report(f"The hosts were not taken over: {error}")


def _drain(leaving: StoreNode, target: StoreNode, report: Report) -> None:
    report(f"Handing the hosts of {leaving} over to {target}")

    def ask(host: str) -> StartedWith:
        return _started_with(host, leaving)

    def check(one: StartedWith) -> None:
        _check(one, leaving, target)

    def move(host: str, one: StartedWith) -> None:
        _move(host, one, leaving, target)

    with ThreadPoolExecutor(len(leaving.hosts)) as pool:
        started = list(pool.map(ask, leaving.hosts))
        # All are tried before one gives anything up.
        list(pool.map(check, started))
        list(pool.map(move, leaving.hosts, started))
        for host in pool.map(_wait_open, leaving.hosts, repeat(target)):
            report(f"{host} serves on {target.name}")


def _started_with(host: str, leaving: StoreNode) -> StartedWith:
    handle = host_handle(host)
    if handle is None:
        raise DrainRefused(str(leaving), f"{host} has just ended; try again")
    started: StartedWith = _answer(
        handle.started_with.remote(), CHECK_SECONDS_MAX, leaving, f"{host} does not answer"
    )
    if started.options.home is None:
        reason = (
            "there is no journal, from which another node could take the store. Serve with POPULACE_JOURNAL"
        )
        raise DrainRefused(str(leaving), reason)
    # Before the other node is tried, which would be refused for what is damaged.
    _answer(handle.mend_journals.remote(), CHECK_SECONDS_MAX, leaving, f"{host} does not answer")
    return started


def _check(started: StartedWith, leaving: StoreNode, target: StoreNode) -> None:
    """Try the store on the other node, in a process that its host can have afterwards."""
    remote: Any = ray.remote(check_takeover)
    tried = remote.options(
        num_cpus=0,
        max_retries=0,
        label_selector={NODE_ID: target.id},
        runtime_env={"env_vars": started.environment},
    ).remote(started.options)
    _answer(tried, CHECK_SECONDS_MAX, leaving, f"{target} cannot serve them")


def _move(host: str, started: StartedWith, leaving: StoreNode, target: StoreNode) -> None:
    handle = host_handle(host)
    if handle is not None:
        _answer(
            handle.hand_over.remote(), HAND_OVER_SECONDS_MAX, leaving, f"{host} cannot give its shards up"
        )
        ray.kill(handle)
        _wait_ended(host, handle, leaving)
    # A process that is killed here leaves the host nowhere, until ``HostWatch`` starts it.
    (successor,) = begin_hosts(
        [started.options], environment=started.environment, nodes=STORE_LABELS, preferred=target.id
    )
    answer_of(successor.describe.remote(), START_SECONDS_MAX, _failure(host, target))


def _wait_ended(host: str, handle: Any, leaving: StoreNode) -> None:
    """Wait until the actor has not the host's name any more: another one may have it by then."""
    give_up = time.monotonic() + END_SECONDS_MAX
    while (found := host_handle(host)) is not None and found._actor_id == handle._actor_id:
        if time.monotonic() > give_up:
            raise DrainRefused(str(leaving), f"{host} does not end")
        time.sleep(POLL_SECONDS)


def _wait_open(host: str, target: StoreNode) -> str:
    """Wait until a host serves all of its shards. Raises what keeps it from that; it goes on trying."""
    failure = _failure(host, target)

    def look() -> None:
        handle = host_handle(host)
        if handle is None:
            raise failure("it has ended. `populace serve` starts it anew while it runs")
        (found,) = answer_of(handle.call.remote("statistics"), START_SECONDS_MAX, failure)
        lack = HostAnswer(host, len(found.shards), found).lack
        if lack is not None:
            raise failure(
                f"it {lack} after {OPEN_SECONDS_MAX:.0f} s, and goes on trying. Its log on {target.host} "
                f"says why; `populace node drain {target.name}` hands its shards on from there"
            )

    again = Retrying(
        retry=retry_if_exception_type(PopulaceError),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(OPEN_SECONDS_MAX),
        reraise=True,
    )
    again(look)
    return host


def _failure(host: str, target: StoreNode) -> Callable[[str], StartFailed]:
    return lambda reason: StartFailed(f"{host} on {target.name}", reason)


def _answer(asked: Any, seconds_max: float, leaving: StoreNode, problem: str) -> Any:
    def refusal(reason: str) -> DrainRefused:
        return DrainRefused(str(leaving), f"{problem}: {reason}")

    return answer_of(asked, seconds_max, refusal)
