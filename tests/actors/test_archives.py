"""What leaves a population with a model, and what comes in: through hosts in this process and in Ray's."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from populace.actors.errors import InvalidName
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.keepers.log_compactor import TURNS_BETWEEN_LOOKS
from populace.actors.turn import Interaction, ModelId
from populace.hosting.directory.directory import Directory
from populace.policies.log_retention import LogLimits
from populace.storage.records.errors import ArchiveInvalid, ModelExists, ModelNotFound
from populace.storage.records.records import OperationRecord
from populace.storage.rows.portable import PortableModel
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.populations import SHARDS, local_directory, local_hosts, ray_directory
from tests.actors.turns import grant_of, revision, take_turn, turn_of

ADA = ModelId("acme", "ada")
DAY_S = 24 * 3600.0
LIMITS = HostLimits(log=LogLimits(interactions_min=4))
LONG_LOG_BYTES = 64 * 2**20
TURNS = TURNS_BETWEEN_LOOKS


def untimed(content: PortableModel) -> PortableModel:
    """The model without what the clock of its shard says: until when its operation ids are kept."""
    kept = [OperationRecord.unpack(data).model_copy(update={"expires_ms": 0}) for data in content.operations]
    return content._replace(operations=tuple(record.pack() for record in kept))


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncGenerator[Directory]:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    hosts = local_hosts(store, FakeClock())
    directory = local_directory(hosts, store)
    await directory.create_model(ADA, revision())
    for number in range(3):
        await take_turn(directory, turn_of(ADA, f"op-{number}"))
    yield directory
    for host in hosts:
        host.check_integrity()
        host._owned.check_integrity()
        host.close()


@pytest.mark.parametrize("name", [f"zoe-{number}" for number in range(6)])
async def test_a_model_that_was_brought_in_is_the_one_that_left(directory: Directory, name: str) -> None:
    zoe = ModelId("globex", name)
    content = await directory.export_model(ADA)

    view = await directory.import_model(zoe, content)

    assert await directory.export_model(zoe) == content
    assert view == await directory.show_model(zoe)
    assert (view.log_position, view.aliases) == (3, (await directory.show_model(ADA)).aliases)
    again = await directory.begin_turn(turn_of(zoe, "op-1"))
    assert isinstance(again, Interaction)
    assert (again.position, again.replayed) == (1, True)
    new = await take_turn(directory, turn_of(zoe, "op-new"))
    assert new.position == 3
    assert len(await directory.read_log(ADA)) == 3


async def test_what_may_not_come_in_creates_nothing(directory: Directory) -> None:
    content = await directory.export_model(ADA)
    zoe = ModelId("acme", "zoe")

    with pytest.raises(ModelExists):
        await directory.import_model(ADA, content)
    with pytest.raises(InvalidName):
        await directory.import_model(ModelId("acme", "../x"), content)
    with pytest.raises(ArchiveInvalid, match="base"):
        await directory.import_model(zoe, content._replace(base="another"))
    with pytest.raises(ArchiveInvalid, match="not in the log"):
        await directory.import_model(zoe, content._replace(interactions=content.interactions[1:]))

    with pytest.raises(ModelNotFound):
        await directory.show_model(zoe)
    with pytest.raises(ModelNotFound):
        await directory.export_model(zoe)


async def test_turns_go_on_while_a_model_is_read_and_one_of_many_imports_wins(directory: Directory) -> None:
    content = await directory.export_model(ADA)
    zoe = ModelId("acme", "zoe")

    outcomes = await asyncio.gather(
        *(directory.import_model(zoe, content) for _ in range(4)),
        *(directory.export_model(ADA) for _ in range(4)),
        take_turn(directory, turn_of(ADA, "op-meanwhile")),
        return_exceptions=True,
    )

    taken = [one for one in outcomes if isinstance(one, ModelExists)]
    assert len(taken) == 3
    assert [one for one in outcomes if isinstance(one, Exception)] == taken
    assert len(await directory.read_log(ADA)) == 4
    assert len(await directory.read_log(zoe)) == 3


@pytest.mark.parametrize("days_ahead", [-40, 0, 40, 4000])
async def test_what_was_promised_before_a_move_is_kept_in_a_store_of_another_time(
    make_host: MakeHost, clock: FakeClock, tmp_path: Path, days_ahead: int
) -> None:
    """A shard's time is its own. One that is ahead must not take what comes in for old."""
    source = make_host(limits=LIMITS)
    await source.create_model(ADA)
    for number in range(TURNS):
        await take_turn(source, turn_of(ADA, f"op-{number}"))
    clock.jump(days_ahead * DAY_S)
    target = make_host(home=Store.create_or_open(tmp_path / "other", SHARDS), limits=LIMITS)

    await target.import_model(ADA, await source.export_model(ADA))

    clock.advance(LIMITS.operation_seconds_kept - 1)
    again = await target.begin_turn(turn_of(ADA, "op-0"))
    assert isinstance(again, Interaction)
    assert (again.position, again.replayed) == (0, True)
    clock.advance(2)
    await look_at_log(target)
    assert len(await target.read_log(ADA)) == TURNS, "it has been here for less than a log is kept"
    assert (await take_turn(target, turn_of(ADA, "op-0"))).position == TURNS, "its id is free again"
    clock.advance(LIMITS.log.seconds_kept)
    await look_at_log(target)
    assert len(await target.read_log(ADA)) < TURNS


async def look_at_log(host: ModelHost) -> None:
    """Let the log be looked at, as it is when its model leaves memory."""
    await host.abandon_turn(await grant_of(host, turn_of(ADA, "left")), "only to activate it")
    assert host.passivate(ADA)
    await asyncio.gather(*host._logs._looks.values())


@pytest.mark.ray
async def test_a_log_of_64_mib_passes_between_processes(
    two_ray_hosts: tuple[Store, list[Any]], tenant: str
) -> None:
    store, handles = two_ray_hosts
    directory = ray_directory(handles, store)
    ada, zoe = ModelId(tenant, "ada"), ModelId(tenant, "zoe")
    await directory.create_model(ada)
    text = os.urandom(512 * 1024).hex()
    turns = LONG_LOG_BYTES // len(text)
    for number in range(turns):
        await take_turn(directory, turn_of(ada, f"op-{number}"), text)

    content = await directory.export_model(ada)
    view = await directory.import_model(zoe, content)

    assert sum(map(len, content.interactions)) > LONG_LOG_BYTES
    assert view.log_position == turns
    assert untimed(await directory.export_model(zoe)) == untimed(content)
