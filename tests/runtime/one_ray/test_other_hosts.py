"""A host asks the others, and not their files, which adapters they have."""

from pathlib import Path

import pytest

from populace.actors.errors import HostUnavailable
from populace.actors.turn import ModelId
from populace.hosting.host_options import OtherHosts
from populace.policies.placement import shard_of
from tests.actors.populations import HOSTS, SHARDS, ray_directory, ray_hosts
from tests.actors.test_adapter_sweeper import revision_of
from tests.storage.adapters import packed

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]

NAMES = tuple(f"ada-{number}" for number in range(8 * SHARDS))


async def test_two_hosts_remove_an_adapter_when_none_of_their_models_has_it(tmp_path: Path) -> None:
    with ray_hosts(tmp_path / "store") as (store, handles):
        directory = ray_directory(handles, store)
        with store.revisions.adding():
            digest = store.revisions.add(packed("planted"))[0]
        revision = revision_of(digest)
        here, there = (
            next(ModelId("acme", name) for name in NAMES if shard_of("acme", name, SHARDS) % 2 == number)
            for number in (0, 1)
        )
        for model in (here, there):
            await directory.create_model(model, revision)

        await directory.erase_model(here)
        assert await directory.adapters_in_use(frozenset({digest})) == {digest}
        assert await other_hosts_of(0).adapters_in_use(frozenset({digest})) == {digest}

        await directory.erase_model(there)
        assert await other_hosts_of(0).adapters_in_use(frozenset({digest})) == frozenset()


def other_hosts_of(number: int) -> OtherHosts:
    return OtherHosts([other for other in range(HOSTS) if other != number])


async def test_a_host_that_is_not_there_is_not_taken_for_one_without_models() -> None:
    with pytest.raises(HostUnavailable):
        await other_hosts_of(0).adapters_in_use(frozenset({"0" * 64}))
