"""Makes this machine a node of a cluster, for as long as the call lasts.

Replicas, a gateway and hosts come by themselves: the process that serves gives each node its own, and Ray
starts hosts on a store node when another one is lost. This machine only keeps Ray's processes, and its data
directory if it is a store node, and looks whether the cluster's head is there.
"""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from populace.actors.errors import ClusterNotFound, StartFailed
from populace.cluster.joining.cluster_note import (
    ClusterNote,
    NodeSeen,
    answers,
    find_node,
    own_versions,
    read_note,
    refusal,
    start_noted,
)
from populace.cluster.joining.joined_note import Joined, remove_joined, write_joined
from populace.cluster.joining.raylet import Raylet, raylet
from populace.cluster.joining.store_directory import store_directory
from populace.engines.engine_nodes import ENGINE_LABELS, SERVES
from populace.hosting.gateway_nodes import GATEWAY_LABELS
from populace.hosting.ray_token import ray_token
from populace.hosting.store_node import STORE_LABELS
from populace.settings.cluster_token import token_problem
from populace.settings.environment import enter_own_ray_environment, enter_quiet_environment
from populace.settings.settings import Settings

Report = Callable[[str], None]

HandOver = Callable[[str, Report], None]
"""Hands hosts over, from the node of this name or to it. Raises nothing that ``PopulaceError`` is."""

LOOK_SECONDS = 1.0
START_SECONDS_MAX = 120.0
"""How long Ray may take to start on this machine, and a head that answers to say what it serves."""
AWAY_SECONDS_MAX = 300.0
"""How long a head may be away before this machine gives up. A host that restarts takes a minute or two."""
SOON_SECONDS = 60.0
"""A node that ends sooner than this, with its head there, would end again."""
STARTED = {"engine": "A replica", "gateway": "A gateway"}
"""What starts by itself on a machine that takes this part, and notes its start."""
NAMES = {"populace": "Populace", "ray": "Ray", "python": "Python"}


class Part(NamedTuple):
    """What a machine takes part in."""

    engines: bool = True
    store: bool = False
    gateway: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return what a node of this part is called, word by word: ``engine``, ``store``, ``gateway``."""
        parts = (("engine", self.engines), ("store", self.store), ("gateway", self.gateway))
        return tuple(name for name, has in parts if has)

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that Ray places the cluster's parts by."""
        labels = (ENGINE_LABELS if self.engines else {}) | (STORE_LABELS if self.store else {})
        return labels | (GATEWAY_LABELS if self.gateway else {})


def join_cluster(
    address: str,
    settings: Settings,
    report: Report,
    *,
    part: Part = Part(),  # noqa: B008 - frozen
    take: HandOver | None = None,
    hand_over: HandOver | None = None,
    away_seconds_max: float = AWAY_SECONDS_MAX,
) -> None:
    """Be a node of the cluster at ``HOST:PORT`` until ``KeyboardInterrupt``, which leaves it cleanly.

    ``report`` is called with each step, ``take`` when the node has joined, and ``hand_over`` before a store
    node leaves. Raises ``StartFailed``
    (no token or another one, other versions, no Ray here), ``ClusterNotFound`` if the head is not there, or
    away for longer than ``away_seconds_max``, and for a store node what ``store_directory`` does. Leaves no
    process and nothing in shared memory behind.
    """
    assert part.names, "a machine without a part has nothing to join for"
    check_token(address, settings.cluster_token)
    enter_quiet_environment()
    enter_own_ray_environment(may_grow=True)
    with ray_token(settings.cluster_token):
        note = wait_for_note(address, seconds_max=START_SECONDS_MAX, report=report)
        while True:
            check_versions(address, note)
            began_s = time.monotonic()
            with (
                store_directory(address, note, settings) if part.store else contextlib.nullcontext(),
                raylet(address, settings, part.labels) as node,
                _noted(Joined(address, node.name, os.getpid(), part.names), settings.config),
            ):
                if part.store:
                    report(
                        f"The data directory is {settings.data}: hosts that are lost elsewhere go on there"
                    )
                stay = Membership(address, note, node, report, away_seconds_max, parts=part.names)
                try:
                    stay.last(joined=None if take is None else partial(take, node.name, report))
                except KeyboardInterrupt:
                    if part.store and hand_over is not None and answers(address):
                        hand_over(node.name, report)
                    raise
            if answers(address) and time.monotonic() - began_s < SOON_SECONDS and not node.was_left:
                raise StartFailed("This machine's Ray", node.last_words or "it ended without a word")
            note = wait_for_head(address, seconds_max=away_seconds_max)
            report("Joining again")


def check_token(address: str, path: Path) -> None:
    """Raise ``StartFailed`` unless this machine has the cluster's token in a file of this user's own."""
    problem = token_problem(path)
    if problem is not None:
        raise refusal(
            address,
            f"its token should be in {path}, but {problem}. The machine that serves has it, and "
            f"says where when it starts: copy it to {path}, or name its file in POPULACE_CLUSTER_TOKEN_FILE",
        )


def check_versions(address: str, note: ClusterNote) -> None:
    """Raise ``StartFailed`` if the head has other versions than this machine."""
    head = note._asdict()
    for name, own in own_versions().items():
        if head[name] != own:
            raise refusal(
                address,
                f"it has {NAMES[name]} {head[name]}, and this machine {own}. Install the same on both",
            )


def wait_for_note(address: str, *, seconds_max: float, report: Report) -> ClusterNote:
    """Read what the cluster says of itself; wait for a head that is starting."""
    give_up = time.monotonic() + seconds_max
    is_reported = False
    while (note := read_note(address)) is None:
        if time.monotonic() > give_up:
            raise ClusterNotFound(address, "Ray runs there, but no Populace. Start it with `populace serve`.")
        if not is_reported:
            report(f"Waiting for the Populace at {address}, which starts")
            is_reported = True
        time.sleep(LOOK_SECONDS)
    return note


def wait_for_head(address: str, *, seconds_max: float) -> ClusterNote:
    """Wait until the head is there again, the same or another; raises ``ClusterNotFound`` in the end."""
    give_up = time.monotonic() + seconds_max
    while True:
        try:
            note = read_note(address)
        except ClusterNotFound:
            note = None
        if note is not None:
            return note
        if time.monotonic() > give_up:
            raise _away_too_long(address, seconds_max)
        time.sleep(LOOK_SECONDS)


class Membership:
    """One stay in the cluster, from the start of Ray on this machine until it ends."""

    def __init__(
        self,
        address: str,
        note: ClusterNote,
        node: Raylet,
        report: Report,
        away_seconds_max: float,
        *,
        parts: Sequence[str],
    ) -> None:
        self._address = address
        self._note = note
        self._node = node
        self._report = report
        self._away_seconds_max = away_seconds_max
        self._parts = parts
        self._away_since_s: float | None = None
        self._told: dict[str, str] = {}

    def last(self, *, joined: Callable[[], None] | None = None) -> None:
        """Return when this node or its cluster has ended; report what happens to its replicas meanwhile.

        ``joined`` is called once it is a node of the cluster. Raises ``ClusterNotFound`` if the head is away
        for too long.
        """
        seen = self._wait_until_known()
        if seen is not None:
            self._report(f"This machine is the node {self._node.name} of the cluster at {self._address}")
            if joined is not None:
                joined()
            if "engine" not in self._parts:
                self._report("Ctrl-C leaves the cluster")
            elif self._note.gpus > seen.gpus:
                self._report(
                    "It runs no replica: the cluster's engines take a GPU each, and Ray finds none here"
                )
            else:
                self._report("Waiting for a replica to start here. Ctrl-C leaves the cluster")
        while self._node.runs:
            time.sleep(LOOK_SECONDS)
            if not self._head_is_there():
                continue
            if self._away_since_s is not None:
                if self._is_another():
                    self._report("Another Populace was started there")
                    self._node.leave()
                    return
                self._report("The head answers again")
            self._away_since_s = None
            if seen is not None:
                for part in STARTED.keys() & set(self._parts):
                    self._look_at(part, seen)
        self._report("Ray has ended on this machine")

    def _head_is_there(self) -> bool:
        if answers(self._address):
            return True
        if self._away_since_s is None:
            self._away_since_s = time.monotonic()
            self._report(
                f"The head at {self._address} does not answer: waiting {self._away_seconds_max:.0f} s for it"
            )
        elif time.monotonic() - self._away_since_s > self._away_seconds_max:
            raise _away_too_long(self._address, self._away_seconds_max)
        return False

    def _wait_until_known(self) -> NodeSeen | None:
        give_up = time.monotonic() + START_SECONDS_MAX
        while self._node.runs:
            # A head that goes away just now may come back, as later.
            with contextlib.suppress(ClusterNotFound):
                if (seen := find_node(self._address, self._node.name)) is not None:
                    return seen
            if time.monotonic() > give_up:
                raise StartFailed("This machine's Ray", self._node.last_words)
            time.sleep(LOOK_SECONDS)
        return None

    def _look_at(self, part: str, seen: NodeSeen) -> None:
        if self._told.get(part) == SERVES.decode():
            return
        try:
            told = start_noted(self._address, seen.id, part)
        except ClusterNotFound:
            return
        if told is None or told == self._told.get(part):
            return
        self._told[part] = told
        if told == SERVES.decode():
            self._report(f"{STARTED[part]} serves on this machine")
        else:
            self._report(f"{STARTED[part]} could not start here, and is tried again: {told}")

    def _is_another(self) -> bool:
        try:
            note = read_note(self._address)
        except (ClusterNotFound, StartFailed):
            return True
        return note is None or note.run != self._note.run


def _away_too_long(address: str, seconds: float) -> ClusterNotFound:
    return ClusterNotFound(address, f"It has not answered for {seconds:.0f} s: join again when it is back.")


@contextmanager
def _noted(joined: Joined, config: Path) -> Generator[None]:
    write_joined(config, joined)
    try:
        yield
    finally:
        remove_joined(config)
