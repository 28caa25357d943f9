"""The laws of what exists, the same for hosts in this process and for hosts on Ray."""

import asyncio

import pytest

from populace.actors.api_keys import ApiKey
from populace.actors.errors import InvalidName
from populace.actors.hosts import Hosts
from populace.actors.turn import ModelId
from populace.storage.records.errors import ModelExists, ModelNotFound, RevisionNotFound
from tests.actors.fakes import BASE
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.turns import grant_of, revision, take_turn, turn_of

FORBIDDEN_NAMES = ["", "a/b", "..", "a\0b", "a b", "n" * 500, "ünal", "base", "population"]


@pytest.fixture
async def ada(hosts: Hosts, tenant: str) -> ModelId:
    return (await hosts.create_model(ModelId(tenant, "ada"))).model


async def test_a_new_model_is_empty_and_stands_at_the_start_of_its_log(hosts: Hosts, tenant: str) -> None:
    created = await hosts.create_model(ModelId(tenant, "ada"))

    assert created == await hosts.show_model(ModelId(tenant, "ada"))
    assert (created.model, created.base) == (ModelId(tenant, "ada"), BASE.fingerprint)
    assert (created.log_position, created.cursor, created.memory_version) == (0, 0, 0)
    assert (created.aliases, created.active) == ({}, False)
    assert await hosts.read_log(created.model) == ()


@IN_ONE_PROCESS
async def test_a_model_that_took_a_turn_is_active(hosts: Hosts, ada: ModelId) -> None:
    await take_turn(hosts, turn_of(ada))

    shown = await hosts.show_model(ada)

    assert (shown.log_position, shown.active) == (1, True)


async def test_a_name_is_created_once(hosts: Hosts, ada: ModelId) -> None:
    await take_turn(hosts, turn_of(ada))

    with pytest.raises(ModelExists):
        await hosts.create_model(ada)

    assert (await hosts.show_model(ada)).log_position == 1


@IN_ONE_PROCESS
async def test_racing_creations_of_one_name_have_one_winner(hosts: Hosts, tenant: str) -> None:
    model = ModelId(tenant, "ada")

    outcomes = await asyncio.gather(*(hosts.create_model(model) for _ in range(10)), return_exceptions=True)

    assert sum(isinstance(outcome, ModelExists) for outcome in outcomes) == 9


@pytest.mark.parametrize("name", FORBIDDEN_NAMES)
@IN_ONE_PROCESS
async def test_a_forbidden_name_creates_nothing_and_finds_nothing(
    hosts: Hosts, tenant: str, name: str
) -> None:
    model = ModelId(tenant, name)

    with pytest.raises(InvalidName):
        await hosts.create_model(model)

    with pytest.raises(ModelNotFound):
        await hosts.show_model(model)
    with pytest.raises(ModelNotFound):
        await hosts.begin_turn(turn_of(model))
    with pytest.raises(ModelNotFound):
        await hosts.erase_model(model)
    assert (await hosts.list_models(tenant)).models == ()


async def test_a_deleted_model_is_gone_and_its_name_is_free(hosts: Hosts, ada: ModelId) -> None:
    await hosts.publish_revision(ada, revision())
    await take_turn(hosts, turn_of(ada))

    await hosts.erase_model(ada)

    for call in (
        hosts.show_model(ada),
        hosts.read_log(ada),
        hosts.list_revisions(ada),
        hosts.publish_revision(ada, revision()),
        hosts.begin_turn(turn_of(ada)),
        hosts.erase_model(ada),
    ):
        with pytest.raises(ModelNotFound):
            await call
    assert (await hosts.create_model(ada)).aliases == {}
    assert not (await take_turn(hosts, turn_of(ada))).replayed


async def test_models_are_listed_in_pages_in_the_order_of_names(hosts: Hosts, tenant: str) -> None:
    names = [f"model-{number}" for number in range(6)]
    await asyncio.gather(*(hosts.create_model(ModelId(tenant, name)) for name in reversed(names)))
    await hosts.create_model(ModelId(f"{tenant}-foreign", "model-1"))

    first = await hosts.list_models(tenant, limit=4)
    second = await hosts.list_models(tenant, after=first.after, limit=2)
    third = await hosts.list_models(tenant, after=second.after, limit=2)

    pages = [([view.model.name for view in page.models], page.after) for page in (first, second, third)]
    assert pages == [(names[:4], "model-3"), (names[4:], "model-5"), ([], None)]
    assert {view.model.tenant for view in first.models} == {tenant}
    assert (await hosts.list_models(tenant, limit=0)).models == ()

    begun = await hosts.list_models(tenant, prefix="model-", after="model-4")
    assert [view.model.name for view in begun.models] == ["model-5"]
    assert (await hosts.list_models(tenant, prefix="other")).models == ()


async def test_publishing_moves_latest_and_keeps_the_other_aliases(hosts: Hosts, tenant: str) -> None:
    first, second, third = (revision(seed, created_ms) for created_ms, seed in enumerate("abc"))
    ada = (await hosts.create_model(ModelId(tenant, "ada"), first)).model

    await hosts.publish_revision(ada, second, "canary")
    view = await hosts.publish_revision(ada, third)

    assert view.aliases == {"canary": second.digest, "latest": third.digest}
    assert (await hosts.show_model(ada)).aliases == view.aliases
    assert await hosts.list_revisions(ada) == (first, second, third)


@IN_ONE_PROCESS
async def test_a_turn_asks_for_a_revision_by_its_alias(hosts: Hosts, tenant: str) -> None:
    latest, canary = revision("latest"), revision("canary")
    ada = (await hosts.create_model(ModelId(tenant, "ada"), latest)).model
    await take_turn(hosts, turn_of(ada, "op-1"))
    await hosts.publish_revision(ada, canary, "canary")

    made = await take_turn(hosts, turn_of(ada, "op-2", alias="canary"))

    assert made.revision == canary.digest
    assert (await take_turn(hosts, turn_of(ada, "op-3"))).revision == latest.digest


async def test_an_alias_can_be_rolled_back_to_a_revision_that_is_recorded(hosts: Hosts, ada: ModelId) -> None:
    old, new = revision("old", 1), revision("new", 2)
    await hosts.publish_revision(ada, old)
    await hosts.publish_revision(ada, new)

    view = await hosts.publish_revision(ada, old)

    assert view.aliases == {"latest": old.digest}
    assert await hosts.list_revisions(ada) == (old, new)


async def test_a_forbidden_alias_publishes_nothing(hosts: Hosts, ada: ModelId) -> None:
    for alias in ("", "../latest", "f" * 64):
        with pytest.raises(InvalidName):
            await hosts.publish_revision(ada, revision(), alias)

    assert await hosts.list_revisions(ada) == ()
    with pytest.raises(RevisionNotFound):
        await grant_of(hosts, turn_of(ada, alias="../latest"))


async def test_the_log_is_read_in_ranges(hosts: Hosts, ada: ModelId) -> None:
    made = [await take_turn(hosts, turn_of(ada, f"op-{number}")) for number in range(5)]

    assert await hosts.read_log(ada, start=1, limit=3) == tuple(made[1:4])
    assert await hosts.read_log(ada, start=4) == tuple(made[4:])
    assert await hosts.read_log(ada, start=5) == ()


async def test_an_api_key_is_found_until_it_is_revoked(hosts: Hosts, tenant: str) -> None:
    key = api_key(f"{tenant}-key", tenant)

    await hosts.keys.create(key)
    found = await hosts.keys.find(key.key_id)
    revoked = await hosts.keys.revoke(key.key_id)

    assert found == key
    assert revoked is not None
    assert revoked.revoked_ms is not None
    assert await hosts.keys.find(key.key_id) == revoked
    assert await hosts.keys.revoke(key.key_id) == revoked


@IN_ONE_PROCESS
async def test_an_unknown_api_key_is_neither_found_nor_revoked(hosts: Hosts, tenant: str) -> None:
    assert await hosts.keys.find(f"{tenant}-nothing") is None
    assert await hosts.keys.revoke(f"{tenant}-nothing") is None


async def test_api_keys_are_listed_for_their_tenant_oldest_first(hosts: Hosts, tenant: str) -> None:
    keys = [api_key(f"{tenant}-{number}", tenant, created_ms=number) for number in range(6)]
    foreign = api_key(f"{tenant}-foreign", f"{tenant}-foreign")
    await asyncio.gather(*(hosts.keys.create(key) for key in [*reversed(keys), foreign]))

    assert await hosts.keys.of_tenant(tenant) == tuple(keys)
    assert set(await hosts.keys.of_tenant()) >= {*keys, foreign}


@IN_ONE_PROCESS
async def test_an_api_key_of_a_forbidden_tenant_is_refused(hosts: Hosts, tenant: str) -> None:
    with pytest.raises(InvalidName):
        await hosts.keys.create(api_key(f"{tenant}-key", "a/b"))

    assert await hosts.keys.find(f"{tenant}-key") is None


def api_key(key_id: str, tenant: str, created_ms: int = 1) -> ApiKey:
    return ApiKey(
        key_id=key_id,
        tenant=tenant,
        label="test",
        secret_sha256=bytes(32),
        created_ms=created_ms,
        revoked_ms=None,
    )
