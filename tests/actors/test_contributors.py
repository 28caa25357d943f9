"""Consent to be learned from is given and withdrawn by model, on every kind of host."""

import pytest

from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory
from populace.storage.records.errors import ModelNotFound
from tests.actors.populations import IN_ONE_PROCESS


@pytest.fixture
async def ada(hosts: Directory, tenant: str) -> ModelId:
    return (await hosts.create_model(ModelId(tenant, "ada"))).model


async def test_a_model_contributes_for_as_long_as_it_was_said(hosts: Directory, ada: ModelId) -> None:
    bob = (await hosts.create_model(ModelId(ada.tenant, "bob"))).model
    assert await hosts.contributors.of_model(ada) == (ada, False, None, None)
    assert not (await hosts.show_model(ada)).contributes

    told = await hosts.contributors.consent(ada, agrees=True)
    await hosts.contributors.consent(bob, agrees=True)

    assert told.contributes
    assert told.id is not None
    assert (await hosts.show_model(ada)).contributes
    assert await hosts.contributors.of_model(ada) == told
    assert await hosts.contributors.consent(ada, agrees=True) == told, "it agreed before"
    found = await hosts.contributors.of_tenant(ada.tenant)
    assert [one.model for one in found] == [ada, bob]
    assert found[0].id != found[1].id
    assert await hosts.contributors.of_tenant(f"{ada.tenant}-x") == ()

    left = await hosts.contributors.consent(ada, agrees=False)

    assert (left.contributes, left.id) == (False, told.id)
    assert [one.model for one in await hosts.contributors.of_tenant(ada.tenant)] == [bob]
    assert not (await hosts.show_model(ada)).contributes


@IN_ONE_PROCESS
async def test_who_is_not_there_agrees_to_nothing(hosts: Directory, ada: ModelId) -> None:
    await hosts.contributors.consent(ada, agrees=True)
    await hosts.erase_model(ada)

    assert await hosts.contributors.of_tenant(ada.tenant) == ()
    with pytest.raises(ModelNotFound):
        await hosts.contributors.consent(ada, agrees=True)
    with pytest.raises(ModelNotFound):
        await hosts.contributors.of_model(ada)
