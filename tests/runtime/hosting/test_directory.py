"""Each call reaches the host of its shard, and a host that restarts is waited for."""

import asyncio
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from populace.actors.errors import HostUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.hosting.directory import directory as directory_module
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.storage.records.errors import Fenced, ShardStopped, UnknownOutcome
from populace.storage.store import Store
from tests.actors.fakes import FailingClient, FakeClock
from tests.actors.populations import SHARDS, local_directory, local_hosts
from tests.actors.turns import grant_of, reply, revision, take_turn, turn_of

ADA = ModelId("acme", "ada")
AWAY = HostUnavailable("populace-host-0", "it is restarting")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create_or_open(tmp_path / "store", SHARDS)


@pytest.fixture
def hosts(store: Store) -> Generator[list[ModelHost]]:
    hosts = local_hosts(store, FakeClock())
    yield hosts
    for host in hosts:
        host.check_integrity()
        host.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "RETRY_SECONDS_FIRST", 0.0)


def failing(
    hosts: list[ModelHost], store: Store, **failures: Sequence[Exception]
) -> tuple[Directory, list[FailingClient]]:
    """A directory whose every host fails the next calls of the named methods."""
    clients = [
        FailingClient(LocalHostClient(host), {name: list(errors) for name, errors in failures.items()})
        for host in hosts
    ]
    return Directory.over(clients, shard_count=store.shards), clients


async def test_each_model_is_served_by_the_host_of_its_shard(hosts: list[ModelHost], store: Store) -> None:
    directory = local_directory(hosts, store)
    models = [ModelId("acme", f"model-{number}") for number in range(40)]

    await asyncio.gather(*(directory.create_model(model) for model in models))
    await asyncio.gather(*(take_turn(directory, turn_of(model)) for model in models))

    by_host = [{view.model for view in (await host.list_models("acme")).models} for host in hosts]
    assert by_host[0] | by_host[1] == set(models)
    assert by_host[0] & by_host[1] == set()
    assert all(by_host)
    assert [one.turns for one in await directory.statistics()] == [len(part) for part in by_host]


@pytest.mark.parametrize("error", [AWAY, ShardStopped(0, "closed"), UnknownOutcome(0, "disk")])
async def test_a_turn_is_tried_again_until_its_host_answers(
    hosts: list[ModelHost], store: Store, error: Exception
) -> None:
    directory, clients = failing(hosts, store, begin_turn=[error, error], finish_turn=[error])
    await directory.create_model(ADA)

    made = await directory.finish_turn(await grant_of(directory, turn_of(ADA)), reply())

    assert made.position == 0
    calls = [call for client in clients for call in client.calls]
    assert calls == ["create_model", *["begin_turn"] * 3, *["finish_turn"] * 2]


async def test_a_restarting_host_is_waited_for_where_a_second_effect_is_harmless(
    hosts: list[ModelHost], store: Store
) -> None:
    names = ["show_model", "read_log", "publish_revision", "list_revisions", "list_models", "keys.of_tenant"]
    names.append("export_model")
    directory, _ = failing(hosts, store, **{name: [AWAY] for name in [*names, "keys.find", "statistics"]})
    await directory.create_model(ADA)

    published = await directory.publish_revision(ADA, revision())

    assert await directory.show_model(ADA) == published
    assert (await directory.list_models("acme")).models == (published,)
    assert await directory.read_log(ADA) == ()
    assert await directory.list_revisions(ADA) == (revision(),)
    assert (await directory.export_model(ADA)).aliases == published.aliases
    assert await directory.keys.of_tenant() == ()
    assert await directory.keys.find("nothing") is None
    assert len(await directory.statistics()) == 2


async def test_creating_deleting_and_giving_up_are_not_tried_again(
    hosts: list[ModelHost], store: Store
) -> None:
    names = ("create_model", "erase_model", "abandon_turn", "import_model")
    directory, clients = failing(hosts, store, **{name: [AWAY] for name in names})
    await local_directory(hosts, store).create_model(ADA)
    grant = await grant_of(directory, turn_of(ADA))
    content = await directory.export_model(ADA)

    for call in (
        directory.create_model(ADA),
        directory.abandon_turn(grant, "its reader left"),
        directory.erase_model(ADA),
        directory.import_model(ADA, content),
    ):
        with pytest.raises(HostUnavailable):
            await call

    calls = [call for client in clients for call in client.calls]
    names_in_order = ["create_model", "abandon_turn", "erase_model", "import_model"]
    assert calls == ["begin_turn", "export_model", *names_in_order]
    await directory.abandon_turn(grant, "the test ends")


async def test_an_error_that_time_does_not_cure_is_not_tried_again(
    hosts: list[ModelHost], store: Store
) -> None:
    directory, clients = failing(hosts, store, show_model=[Fenced(0, 1, 2)])

    with pytest.raises(Fenced):
        await directory.show_model(ADA)

    assert [call for client in clients for call in client.calls] == ["show_model"]


async def test_a_host_that_stays_away_is_given_up(
    hosts: list[ModelHost], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "RETRY_SECONDS_MAX", 0.05)
    directory, _ = failing(hosts, store, show_model=[AWAY] * 1_000_000)

    with pytest.raises(HostUnavailable):
        await directory.show_model(ADA)
