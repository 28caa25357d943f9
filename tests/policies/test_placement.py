"""Placement is arithmetic that must never change: it is part of the on-disk format."""

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.placement import host_of, shard_of, shards_of


def test_the_shard_of_a_model_is_the_same_in_every_release() -> None:
    placed = [shard_of("acme", name, 1024) for name in ("ada", "bob", "eve")]

    assert placed == [155, 496, 233]


def test_the_shard_of_a_model_does_not_depend_on_the_process() -> None:
    code = "from populace.policies.placement import shard_of; print(shard_of('acme', 'ada', 1 << 30))"
    environment = {"PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)

    assert int(found.stdout) == shard_of("acme", "ada", 1 << 30)


def test_tenant_and_model_are_not_run_together() -> None:
    assert shard_of("ab", "c", 1 << 30) != shard_of("a", "bc", 1 << 30)


def test_models_spread_evenly() -> None:
    counts = Counter(shard_of("acme", f"model-{number}", 8) for number in range(8000))

    assert min(counts.values()) > 900
    assert max(counts.values()) < 1100


@given(st.integers(1, 200), st.integers(1, 50))
def test_every_shard_has_exactly_one_host(shards: int, hosts: int) -> None:
    owned = {host: shards_of(host, shards, hosts) for host in range(hosts)}

    assert sorted(shard for mine in owned.values() for shard in mine) == list(range(shards))
    assert all(host_of(shard, hosts) == host for host, mine in owned.items() for shard in mine)
    assert max(map(len, owned.values())) - min(map(len, owned.values())) <= 1
