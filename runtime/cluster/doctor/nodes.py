"""Checks of this machine's part in a cluster: what it is there, and what it lacks for that."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from populace.actors.errors import ClusterNotFound, StartFailed
from populace.base.fingerprints import find_base
from populace.cluster.doctor.checks import Check
from populace.cluster.joining.joined_note import Joined, read_joined
from populace.settings.cluster_token import token_problem
from populace.settings.running import Running, find_running
from populace.settings.settings import Settings
from populace.storage.directory_lock import refuse_served
from populace.storage.records.errors import StorageError

if TYPE_CHECKING:
    # Ray is imported for a machine that has a part in a cluster, only.
    from populace.cluster.joining.cluster_note import ClusterNote, NodeSeen

NAME = "gateways"
MISSING = "gateway "
"""How ``degraded`` of ``/readyz`` names one that does not answer."""
ANSWER_SECONDS_MAX = 20.0


def check_gateways(url: str) -> Check:
    """Ask one of the gateways at this address for all of them."""
    remedy = "`populace logs --process gateway` says why; Ray Serve starts it again"
    try:
        answer = httpx.get(f"{url}/readyz", timeout=ANSWER_SECONDS_MAX, trust_env=False)
        ready: dict[str, Any] = answer.json()
        answering: dict[str, str] = ready["gateways"]
        missing = sorted(name for name in ready["degraded"] if name.startswith(MISSING))
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Check(NAME, "fail", f"none answers at {url}: {type(error).__name__}", remedy)
    detail = ", ".join(f"{number} at {address}" for number, address in answering.items())
    if missing:
        return Check(NAME, "fail", f"{', '.join(missing)} does not answer; {detail}", remedy)
    return Check(NAME, "ok", detail)


ROLE = "role"


def check_nodes(settings: Settings, join: str | None, *, store: bool = False) -> Iterator[Check]:
    """Yield what this machine is: one that serves, a node for engines, store or gateway, or none of these.

    With ``join`` it is checked against the cluster at that address, as an engine node is against its own, and
    with ``store`` as a store node.
    """
    joined = read_joined(settings.config)
    try:
        running = find_running(settings.data)
    except ClusterNotFound:
        running = None
    if settings.ray_address is not None:
        yield check_ray_token(settings.ray_address)
    if running is not None:
        yield _check_serving(running)
        yield check_gateways(running.url)
    elif joined is None:
        detail = "none: neither `populace serve` nor `populace node join` runs here with this configuration"
        yield Check(ROLE, "ok", detail)
    if joined is not None:
        yield Check(ROLE, "ok", f"{' and '.join(joined.parts)} node {joined.node} of {joined.address}")
    address = join or (None if joined is None else joined.address)
    if address is not None:
        yield from _check_membership(settings, address, joined if join is None else None, store=store)


def check_ray_token(address: str) -> Check:
    """Check that a Ray which Populace did not start keeps out whoever has no token."""
    from populace.cluster.joining.cluster_note import PLACE, answers
    from populace.cluster.joining.driver import UNGUARDED, answers_without_token

    name = "Ray's token"
    if not PLACE.fullmatch(address):
        return Check(name, "ok", f"`populace serve` looks at the Ray of {address} before it starts anything")
    if not answers(address):
        return Check(name, "fail", f"nothing listens at {address}", "start that Ray, or name another one")
    if answers_without_token(address):
        reason, remedy = UNGUARDED.split(". ")
        return Check(name, "fail", f"{address}: {reason}", remedy)
    return Check(name, "ok", f"{address} asks for it")


def _check_serving(running: Running) -> Check:
    detail = f"serves at {running.url}, with store and gateway"
    if running.token_file is None:
        return Check(ROLE, "ok", f"{detail}, in the Ray at {running.ray_address}")
    from populace.cluster.joining.cluster_note import engine_node_names
    from populace.hosting.ray_token import ray_token

    try:
        with ray_token(Path(running.token_file)):
            names = engine_node_names(running.ray_address)
    except (ClusterNotFound, StartFailed) as error:
        return Check(ROLE, "fail", f"{detail}: {error}", "stop it, and start `populace serve` again")
    return Check(ROLE, "ok", f"{detail}; engines on {len(names)}: {', '.join(names)}")


def _check_membership(
    settings: Settings, address: str, joined: Joined | None, *, store: bool
) -> Iterator[Check]:
    """Check token, head, versions, base, the store of a store node and, if it has joined, its labels."""
    problem = token_problem(settings.cluster_token)
    if problem is not None:
        remedy = f"copy it from the machine that serves to {settings.cluster_token}, and chmod 600"
        yield Check("cluster token", "fail", f"{settings.cluster_token}: {problem}", remedy)
        return
    yield Check("cluster token", "ok", f"{settings.cluster_token}, readable by you alone")
    from populace.cluster.joining.cluster_note import find_node, read_note
    from populace.cluster.joining.join import check_versions
    from populace.hosting.ray_token import ray_token

    note: ClusterNote | None = None
    try:
        with ray_token(settings.cluster_token):
            note = read_note(address)
            node = None if joined is None else find_node(address, joined.node)
        if note is not None:
            check_versions(address, note)
    except (ClusterNotFound, StartFailed) as error:
        yield Check("cluster head", "fail", str(error), "see docs/cluster.md")
        return
    if note is None:
        yield Check("cluster head", "warn", f"{address}: Ray answers, and no Populace yet", "populace serve")
        return
    yield Check("cluster head", "ok", f"{address}: Populace {note.populace}, Ray {note.ray}, as here")
    if joined is not None:
        yield _check_labels(joined, node)
    if store if joined is None else "store" in joined.parts:
        yield check_store(settings, address, note, has_joined=joined is not None)
    if node is not None and node.gpus < note.gpus:
        yield Check("cluster GPU", "fail", "Ray finds none here", "the cluster's replicas take one each")
    yield _check_base(note.base, note.fingerprint, Path(note.base_directory), settings.cache)


def _check_labels(joined: Joined, node: "NodeSeen | None") -> Check:
    name = "cluster labels"
    labels = {f"populace.{part}": "true" for part in joined.parts}
    if node is None or not node.labels.items() >= labels.items():
        lacks = f"knows no node {joined.node}" if node is None else f"has {joined.node} without them"
        remedy = "stop `populace node join` and start it again"
        return Check(name, "fail", f"{', '.join(labels)}: the cluster {lacks}", remedy)
    return Check(name, "ok", f"{', '.join(labels)}: so much may start here")


def check_store(settings: Settings, address: str, note: "ClusterNote", *, has_joined: bool) -> Check:
    """Check that hosts could go on with the cluster's store in this machine's data directory.

    For a machine that has not joined also that no other Populace has that directory.
    """
    from populace.cluster.joining.store_directory import check_directory

    name = "cluster store"
    try:
        if not has_joined:
            refuse_served(settings.data, also_shared=True)
        check_directory(address, note, settings)
    except (StorageError, StartFailed) as error:
        return Check(name, "fail", str(error), "see docs/cluster.md")
    return Check(name, "ok", f"{note.store} may go on in {settings.data}, from {note.journal}")


def _check_base(name: str, fingerprint: str, directory: Path, cache: Path) -> Check:
    base = f"{name} {fingerprint[:12]}"
    found = find_base(fingerprint, cache, directory)
    where = "which the first replica fetches from the machine that serves" if found is None else f"in {found}"
    return Check("cluster base", "ok", f"{base}, {where}")
