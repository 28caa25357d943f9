"""What cannot be read of a store is named in lists, which have all of the rest."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import lacking
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.policies.placement import shard_of
from populace.storage.records import keys
from populace.storage.records.errors import ShardUnavailable
from populace.storage.shards.rows import Writer
from populace.storage.store import Store
from populace.storage.training.sessions import SessionFiles
from populace.trainer.keeping import KeptSessions
from tests.actors.expected_model import LIMITS
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import take_turn, turn_of

TENANT, SHARDS = "acme", 2
PEOPLE = tuple(f"person{number}" for number in range(8))
AWAY, THERE = ([name for name in PEOPLE if shard_of(TENANT, name, SHARDS) == shard] for shard in (1, 0))


def opened(store: Store) -> Directory:
    host = ModelHost(
        "the host", store, range(SHARDS), base=BASE.fingerprint, clock=FakeClock(), limits=LIMITS
    )
    return Directory.over([LocalHostClient(host)], shard_count=SHARDS)


@contextmanager
def hosting(store: Store) -> Generator[Directory]:
    directory = opened(store)
    try:
        yield directory
    finally:
        for client in directory._clients:
            assert isinstance(client, LocalHostClient)
            host = client._host
            assert isinstance(host, ModelHost)
            host.close()


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    """A store of people in two shards who all take part, and wait for a training."""
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    assert AWAY
    assert THERE
    with hosting(store) as hosts:
        for name in PEOPLE:
            model = (await hosts.create_model(ModelId(TENANT, name))).model
            await take_turn(hosts, turn_of(model, "op-1"), "a reply")
            await hosts.members.share(model, "votes")
            await hosts.jobs.ask(model, TrainingOptions(), "train-1")
    return store


def zero(store: Store, number: int) -> None:
    [data] = store.shard_path(number).rglob("data.mdb")
    data.write_bytes(bytes(4096) + data.read_bytes()[4096:])


async def test_a_shard_that_cannot_be_opened_is_named_in_the_list_which_has_the_others(store: Store) -> None:
    zero(store, 1)
    with hosting(store) as hosts:
        page = await hosts.list_models(TENANT)

        assert [view.model.name for view in page.models] == THERE
        assert page.missing == ("shard 1",)
        assert lacking(page.missing) == "The list does without shard 1: what is there cannot be read."
        assert [job.model.name for job in await hosts.jobs.of_tenant(TENANT)] == THERE
        assert [member.model.name for member in await hosts.members.of_tenant(TENANT)] == THERE
        with pytest.raises(ShardUnavailable):
            await hosts.show_model(ModelId(TENANT, AWAY[0]))


async def test_trainings_of_the_others_go_on_and_no_session_of_the_missing_is_removed(
    store: Store, tmp_path: Path
) -> None:
    with hosting(store) as hosts:
        sessions = [open_job.session_key for open_job in await hosts.jobs.open_jobs()]
    files = SessionFiles(tmp_path / "sessions")
    for key in sessions:
        files.write(key, b"a step")
    zero(store, 1)
    with hosting(store) as hosts:
        assert [open_job.job.model.name for open_job in await hosts.jobs.open_jobs()] == THERE
        with pytest.raises(ShardUnavailable):
            await hosts.jobs.open_jobs(whole=True)
        await KeptSessions(hosts.jobs, files, bytes_max=0).sweep()

        assert all(map(files.has, sessions))


async def test_a_damaged_row_of_one_person_hides_no_other(store: Store) -> None:
    shard = store.open_shard(0, "rot")
    shard.apply(lambda writer: Writer.put(writer, keys.head(TENANT, THERE[0]), b"\xff"))
    shard.close()
    with hosting(store) as hosts:
        page = await hosts.list_models(TENANT)

        assert [view.model.name for view in page.models] == sorted({*PEOPLE} - {THERE[0]})
        assert page.missing == (THERE[0],)


async def test_a_whole_list_misses_nothing(store: Store) -> None:
    with hosting(store) as hosts:
        page = await hosts.list_models(TENANT)

    assert ([view.model.name for view in page.models], page.missing) == ([*PEOPLE], ())
