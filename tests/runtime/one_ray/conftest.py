# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray's API is partly untyped.
"""One Ray for all tests of this folder: what has a name in it ends with its test."""

import time
from collections.abc import Generator
from contextlib import suppress

import pytest
import ray
from ray.util import list_named_actors

from tests.actors.populations import ray_running
from tests.limits import HANG_SECONDS


@pytest.fixture(scope="package")
def shared_ray() -> Generator[None]:
    with ray_running():
        yield


@pytest.fixture
def one_ray(shared_ray: None) -> Generator[None]:
    """The Ray of the folder, in which nothing has a name when a test begins."""
    yield
    for name in list_named_actors():
        with suppress(ValueError):  # it has ended meanwhile
            ray.kill(ray.get_actor(name))
    give_up = time.monotonic() + HANG_SECONDS
    # Ray ends an actor after the call that asks for it.
    while left := list_named_actors():
        assert time.monotonic() < give_up, f"{left} do not end"
        time.sleep(0.05)
