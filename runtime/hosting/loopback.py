"""Keeps a Ray at this machine's loopback interface, so that no port of it answers anybody else."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from ray._private import ray_constants

from populace.settings.environment import lent_environment
from populace.settings.ports import LOOPBACK

_constants: Any = ray_constants  # Ray means them for itself


@contextmanager
def joins_at(address: str) -> Generator[None]:
    """Join a Ray at its address in the block; one like ``127.0.0.1:6379`` was started ``at_loopback``."""
    with at_loopback() if address.startswith(f"{LOOPBACK}:") else nullcontext():
        yield


@contextmanager
def at_loopback() -> Generator[None]:
    """Start a Ray at loopback in the block. Its processes listen there alone, those of metrics too.

    Ray would replace a loopback address by the machine's own. Where it takes a cluster for impossible it does
    not, which is one variable and, as that was read at the import, one constant.
    """
    former = _constants.ENABLE_RAY_CLUSTER
    _constants.ENABLE_RAY_CLUSTER = False
    try:
        with lent_environment(**{_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        _constants.ENABLE_RAY_CLUSTER = former
