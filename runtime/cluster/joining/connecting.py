# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""Finds the cluster of this machine, and connects to its Ray for a command that asks or changes something."""

import contextlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import ray

from populace.actors.errors import ClusterNotFound
from populace.cluster.joining.driver import join_ray
from populace.cluster.joining.joined_note import read_joined
from populace.hosting.ray_token import ray_token
from populace.settings.environment import enter_quiet_environment
from populace.settings.running import find_running
from populace.settings.settings import Settings
from populace.settings.signals import kept_sigterm


class Place(NamedTuple):
    """Where a Ray is, and the file of its token; None if it has one of its own, or none."""

    address: str
    token: Path | None


def find_cluster(settings: Settings) -> Place:
    """Find the cluster that this machine serves or has joined, or the one that the settings name.

    Raises ``ClusterNotFound``.
    """
    if settings.ray_address is not None:
        return Place(settings.ray_address, None)
    with contextlib.suppress(ClusterNotFound):
        running = find_running(settings.data)
        return Place(running.ray_address, None if running.token_file is None else Path(running.token_file))
    joined = read_joined(settings.config)
    if joined is None:
        raise ClusterNotFound(
            "this machine",
            "Neither `populace serve` nor `populace node join` runs here with these settings: run this on a "
            "machine of the cluster, or name its Ray with POPULACE_RAY_ADDRESS.",
        )
    return Place(joined.address, settings.cluster_token)


@contextmanager
def connected(place: Place) -> Generator[None]:
    """Be in the Ray at a place during the block. Raises ``ClusterNotFound``."""
    enter_quiet_environment()
    with contextlib.nullcontext() if place.token is None else ray_token(place.token):
        join_ray(place.address, is_verbose=False)
        try:
            yield
        finally:
            with kept_sigterm():
                ray.shutdown()
