"""Joining a Ray cluster, with Ray itself replaced: what is left of an opening that fails."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from populace.actors.errors import ClusterNotFound
from populace.client.ray_connection import RayConnection

ADDRESS = "127.0.0.1:6379"


@pytest.mark.parametrize("was_in_it", [False, True])
def test_an_opening_that_fails_leaves_the_cluster_if_it_joined_it(
    monkeypatch: pytest.MonkeyPatch, was_in_it: bool
) -> None:
    called: list[str] = []

    def without_populace(name: str, namespace: str) -> Any:
        raise ValueError(name)

    def join(**options: Any) -> None:
        called.append("init")

    def leave() -> None:
        called.append("shutdown")

    monkeypatch.setattr(ray, "is_initialized", lambda: was_in_it)
    monkeypatch.setattr(ray, "init", join)
    monkeypatch.setattr(ray, "shutdown", leave)
    monkeypatch.setattr(ray, "get_actor", without_populace)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=ADDRESS))

    with pytest.raises(ClusterNotFound, match="no Populace"):
        RayConnection.open(ADDRESS, tenant="local", data=None)

    assert called == ([] if was_in_it else ["init", "shutdown"])
