"""Messages between callers and host actors, and the names by which they find each other."""

from typing import Any, NamedTuple

from populace.actors.engine import BaseInfo

NAMESPACE = "populace"
"""The namespace of Ray in which all actors of Populace have their names."""

SENDS_MAX = 6
"""How often a message is sent at most."""


class GatewayAddress(NamedTuple):
    """Where this population's gateway listens, and the key with which it takes a caller in the cluster."""

    url: str
    cluster_key: str


class PopulationInfo(NamedTuple):
    """The data that a client needs to route calls by itself, and to reach the gateway.

    ``problem`` is why the host that answers cannot open its store for now, None if it has it open. With
    ``one_machine`` no other machine may join.
    """

    hosts: int
    shards: int
    base: BaseInfo
    base_directory: str
    data_directory: str
    gateway: GatewayAddress | None
    problem: str | None = None
    one_machine: bool = False


class Waiting(NamedTuple):
    """Stands for the result of a call that is not finished; ``collect`` waits for it."""

    token: int


class Answers(NamedTuple):
    """The results of a message's calls, in order, and which process of the actor gave them."""

    incarnation: str
    results: list[Any]


class Failed(NamedTuple):
    """The error of a call, among the results of the other calls of its message."""

    error: Exception


HOST_PREFIX = "populace-host-"


def host_name(index: int) -> str:
    return f"{HOST_PREFIX}{index}"
