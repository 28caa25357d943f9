"""Who takes part is told by those who own them, on every kind of host."""

import numpy as np
import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.members import Profile
from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory
from populace.storage.records.errors import ModelNotFound
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.turns import revision

OLD = revision("old")
PROBES = "p" * 64


def profile(revision_: str = OLD.digest, probes: str = PROBES) -> Profile:
    table = np.log(np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]))
    return Profile(revision_, probes, 3, table.astype("<f2").tobytes(), 0.5)


@pytest.fixture
async def ada(hosts: Directory, tenant: str) -> ModelId:
    return (await hosts.create_model(ModelId(tenant, "ada"), OLD)).model


async def test_a_model_takes_part_for_as_long_as_it_was_said(hosts: Directory, ada: ModelId) -> None:
    bob = (await hosts.create_model(ModelId(ada.tenant, "bob"))).model
    assert await hosts.members.of_model(ada) is None

    told = await hosts.members.share(ada, "votes")
    await hosts.members.share(bob, "texts")

    assert told is not None
    assert (told.model, told.revision, told.sharing, told.profile) == (ada, OLD.digest, "votes", None)
    found = await hosts.members.of_tenant(ada.tenant)
    assert [(one.model, one.revision, one.sharing) for one in found] == [
        (ada, OLD.digest, "votes"),
        (bob, "base", "texts"),
    ]
    assert await hosts.members.of_tenant(f"{ada.tenant}-x") == ()

    assert await hosts.members.share(ada, None) is None
    assert [one.model for one in await hosts.members.of_tenant(ada.tenant)] == [bob]


@IN_ONE_PROCESS
async def test_what_there_is_not_to_share_is_refused(hosts: Directory, ada: ModelId) -> None:
    with pytest.raises(InvalidRequest, match="votes or texts"):
        await hosts.members.share(ada, "everything")  # type: ignore[arg-type]
    with pytest.raises(ModelNotFound):
        await hosts.members.share(ModelId(ada.tenant, "nobody"), "votes")
    with pytest.raises(ModelNotFound):
        await hosts.members.of_model(ModelId(ada.tenant, "nobody"))


async def test_members_are_unprofiled_until_their_profile_is_of_what_they_answer_with(
    hosts: Directory, ada: ModelId
) -> None:
    async def unprofiled(probes: str = PROBES) -> list[ModelId]:
        found = await hosts.members.unprofiled(probes)
        return [one.model for one in found if one.model.tenant == ada.tenant]

    assert await unprofiled() == []
    await hosts.members.share(ada, "votes")
    assert await unprofiled() == [ada]

    assert await hosts.members.keep_profile(ada, profile())

    assert await unprofiled() == []
    assert await unprofiled("q" * 64) == [ada], "other probes"
    member = await hosts.members.of_model(ada)
    assert member is not None
    assert member.profile == profile()
    assert member.is_profiled
    assert np.exp(profile().table) == pytest.approx(
        np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]), abs=1e-3
    )
    await hosts.publish_revision(ada, revision("new", 3))
    assert await unprofiled() == [ada], "another revision"


@IN_ONE_PROCESS
async def test_no_profile_is_kept_of_who_takes_no_part(hosts: Directory, ada: ModelId) -> None:
    assert not await hosts.members.keep_profile(ada, profile())
    await hosts.members.share(ada, "votes")
    await hosts.members.keep_profile(ada, profile())
    await hosts.erase_model(ada)

    assert not await hosts.members.keep_profile(ada, profile())
    assert await hosts.members.of_tenant(ada.tenant) == ()
