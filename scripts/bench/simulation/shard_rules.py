"""Rules by which shards could be given to nodes: today's, and better ones, each a pure function.

A node is its number. A rule is told the nodes that there are, and where the shards were before.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from populace.policies.placement import host_of
from scripts.bench.simulation.people import Places

HOSTS_OF_NODE = 4
"""One host for four cores, of sixteen."""
BOUND = 1.05
"""Most shards of a node under bounded rendezvous hashing, times the mean."""

Place = Callable[[int, Sequence[int], "Places | None"], Places]


class Rule(NamedTuple):
    """A rule, and its name in the table."""

    name: str
    place: Place
    """Return the node of each shard, given how many there are, the nodes, and where each was before."""


def fixed_hosts(shards: int, nodes: Sequence[int], before: Places | None) -> Places:
    """Keep the number of hosts; those of a lost node restart on others, one on each."""
    if before is None:
        return _by_number(shards, nodes)
    placed = before.copy()
    lost = sorted(set(before.tolist()) - set(nodes))
    for node in lost:
        of_lost = np.flatnonzero(before == node)
        hosts = of_lost % (HOSTS_OF_NODE * (len(nodes) + len(lost)))
        for number, host in enumerate(np.unique(hosts)):
            placed[of_lost[hosts == host]] = nodes[number * len(nodes) // HOSTS_OF_NODE]
    return placed


def number_of_hosts(shards: int, nodes: Sequence[int], _before: Places | None) -> Places:
    """Count the hosts anew, ``shard % hosts``: what a restart with another number of hosts does."""
    return _by_number(shards, nodes)


def rendezvous(shards: int, nodes: Sequence[int], _before: Places | None) -> Places:
    """Give each shard to the node that ranks first for it."""
    return np.array([nodes[int(order[0])] for order in _orders(shards, nodes)], np.int64)


def bounded_rendezvous(shards: int, nodes: Sequence[int], _before: Places | None) -> Places:
    """Give each shard to the first of its ranking that has room."""
    most = int(np.ceil(BOUND * shards / len(nodes)))
    loads = np.zeros(len(nodes), np.int64)
    placed = np.zeros(shards, np.int64)
    for shard, order in enumerate(_orders(shards, nodes)):
        chosen = int(order[int(np.argmax(loads[order] < most))])
        loads[chosen] += 1
        placed[shard] = nodes[chosen]
    return placed


def kept_map(shards: int, nodes: Sequence[int], before: Places | None) -> Places:
    """Keep a map: move as few shards as possible so that no node has two more than another."""
    if before is None:
        return _by_number(shards, nodes)
    placed = before.copy()
    owned = {node: np.flatnonzero(placed == node).tolist() for node in nodes}
    homeless = np.flatnonzero(~np.isin(placed, np.array(nodes))).tolist()
    least, more = divmod(shards, len(nodes))
    # Those that have most keep one more, if the shards do not divide evenly.
    for rank, node in enumerate(sorted(nodes, key=lambda node: -len(owned[node]))):
        most = least + (rank < more)
        homeless += owned[node][most:]
        owned[node] = owned[node][:most]
    for shard in homeless:
        node = min(nodes, key=lambda node: len(owned[node]))
        owned[node].append(shard)
        placed[shard] = node
    return placed


RULES = (
    Rule("fixed hosts", fixed_hosts),
    Rule("hosts anew", number_of_hosts),
    Rule("rendezvous", rendezvous),
    Rule("bounded", bounded_rendezvous),
    Rule("map", kept_map),
)


def _by_number(shards: int, nodes: Sequence[int]) -> Places:
    hosts = len(nodes) * HOSTS_OF_NODE
    return np.array([nodes[host_of(shard, hosts) % len(nodes)] for shard in range(shards)], np.int64)


def _orders(shards: int, nodes: Sequence[int]) -> list[Places]:
    """Return for each shard the places of the nodes in the order of their hashes."""
    keys = [node.to_bytes(8) for node in nodes]
    return [
        np.argsort([int.from_bytes(blake2b(b"%d" % shard, key=key, digest_size=8).digest()) for key in keys])
        for shard in range(shards)
    ]
