"""Chooses the replica of a request: one that holds its adapter, unless its load is too high already.

The bound of the load: V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing with bounded loads",
SODA 2018. The order of ties: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates",
IEEE/ACM Transactions on Networking 6(1), 1998 (rendezvous hashing).
"""

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

LOAD_FACTOR = 1.25
"""The factor by which a replica's load may exceed the mean because it holds the adapter.

A request that goes elsewhere makes its adapter hot there as well, so that the next one finds two replicas: a
hot model spreads as far as its load does. Nearer to 1, small differences would spread adapters over all
replicas.
"""

LOAD_SLACK = 2
"""The requests above that bound that are always allowed: at small loads the mean is a fraction, and one or
two
more rows in a batch cost less than another load of an adapter."""

Tier = Literal["hot", "warm", "cool"]
Reason = Literal["hot", "warm", "least_loaded", "overflow"]


class ReplicaView(NamedTuple):
    """A replica for a router: the tier in which it has the request's adapter, and its number of requests.

    ``load`` counts running and waiting requests. All replicas of a deployment have equally many places.
    """

    name: str
    tier: Tier
    load: int


class Choice(NamedTuple):
    """A replica, and the reason for its place in the order."""

    replica: str
    reason: Reason


def load_max(load: int, replicas: int) -> int:
    """Return how many of ``load`` requests one of the replicas may have because of what it holds."""
    assert replicas > 0
    return math.ceil(LOAD_FACTOR * load / replicas) + LOAD_SLACK


def order(views: Sequence[ReplicaView], key: bytes) -> list[Choice]:
    """Order the replicas, the best first: hot, then warm, then the least loaded.

    A replica that would have more than ``load_max`` loses the advantage of its tier. Ties are ordered by
    ``key``, which should be the adapter's mark: all routers then send a new adapter to the same replica.
    """
    if not views:
        return []
    bound = load_max(sum(view.load for view in views) + 1, len(views))
    is_held = any(view.tier != "cool" for view in views)
    ranked = sorted(views, key=lambda view: (_rank(view, bound), view.load, _distance(key, view.name)))
    return [Choice(view.name, _reason(view, bound, is_held=is_held)) for view in ranked]


def _rank(view: ReplicaView, bound: int) -> int:
    if view.tier == "cool" or view.load >= bound:
        return 2
    return 0 if view.tier == "hot" else 1


def _reason(view: ReplicaView, bound: int, *, is_held: bool) -> Reason:
    if view.tier != "cool" and view.load < bound:
        return view.tier
    return "overflow" if is_held else "least_loaded"


def _distance(key: bytes, replica: str) -> bytes:
    return blake2b(replica.encode(), key=key, digest_size=8).digest()
