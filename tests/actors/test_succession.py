"""A host after another on the same store: the successor adopts, the former one is fenced."""

import subprocess
import sys

import pytest

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.storage.records.errors import Fenced, ModelNotFound, OperationConflict, PositionConflict
from populace.storage.store import Store
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.turns import grant_of, queue_turn, reply, take_turn, turn_of
from tests.limits import HANG_SECONDS

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")

SUCCESSOR = """
import sys
from pathlib import Path
from populace.storage.store import Store

store = Store.open(Path(sys.argv[1]))
for number in range(store.shards):
    store.open_shard(number, "the successor").close()
"""


def replace_owner(store: Store) -> None:
    """Take every shard from another process, as a restarted host does while the old one is stopped."""
    subprocess.run([sys.executable, "-c", SUCCESSOR, str(store.path)], check=True, timeout=HANG_SECONDS)


async def test_a_successor_commits_a_turn_that_the_former_host_granted(
    host: ModelHost, make_host: MakeHost
) -> None:
    await host.create_model(ADA)
    await take_turn(host, turn_of(ADA, "op-1"))
    grant = await grant_of(host, turn_of(ADA, "op-2", history_of="main"))
    host.close()

    successor = make_host()
    made = await successor.finish_turn(grant, reply())

    assert (made.position, made.operation, made.conversation, made.replayed) == (1, "op-2", "main", False)
    assert (await successor.read_log(ADA))[1:] == (made,)
    assert (await take_turn(successor, turn_of(ADA, "op-3"))).position == 2


async def test_a_successor_answers_a_turn_that_the_former_host_committed(
    host: ModelHost, make_host: MakeHost
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA))
    made = await host.finish_turn(grant, reply("first"))
    host.close()

    successor = make_host()
    again = await successor.finish_turn(grant, reply("second"))

    assert (again.reply, again.replayed) == ("first", True)
    assert await successor.read_log(ADA) == (made,)


async def test_a_successor_refuses_a_turn_whose_log_has_moved_on(
    host: ModelHost, make_host: MakeHost
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, "op-1"))
    host.close()
    successor = make_host()
    made = await take_turn(successor, turn_of(ADA, "op-2"))

    with pytest.raises(PositionConflict) as conflict:
        await successor.finish_turn(grant, reply())

    assert (conflict.value.expected, conflict.value.stored) == (0, 1)
    assert await successor.read_log(ADA) == (made,)
    assert (await take_turn(successor, turn_of(ADA, "op-1"))).position == 1


async def test_a_successor_keeps_a_deleted_models_turn_out_of_its_namesakes_log(
    host: ModelHost, make_host: MakeHost, clock: FakeClock
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA))
    host.close()
    successor = make_host()
    await successor.erase_model(ADA)
    clock.advance(1)
    await successor.create_model(ADA)

    with pytest.raises(ModelNotFound):
        await successor.finish_turn(grant, reply())

    assert await successor.read_log(ADA) == ()
    assert (await take_turn(successor, turn_of(ADA))).position == 0


async def test_a_successor_holds_operation_ids_to_their_bodies(host: ModelHost, make_host: MakeHost) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, body=b"one"))
    host.close()
    successor = make_host()
    await take_turn(successor, turn_of(ADA, body=b"two"))

    with pytest.raises(OperationConflict):
        await successor.finish_turn(grant, reply())


async def test_giving_up_a_turn_of_the_former_host_is_harmless(host: ModelHost, make_host: MakeHost) -> None:
    await host.create_model(ADA)
    former = await grant_of(host, turn_of(ADA, "op-1"))
    host.close()
    successor = make_host()
    grant = await grant_of(successor, turn_of(ADA, "op-2"))

    await successor.abandon_turn(former, "its reader left")

    assert (await successor.finish_turn(grant, reply())).position == 0


async def test_a_fenced_host_records_nothing_and_answers_everybody(
    host: ModelHost, make_host: MakeHost, store: Store
) -> None:
    await host.create_model(ADA)
    made = await take_turn(host, turn_of(ADA, "op-1"))
    grant = await grant_of(host, turn_of(ADA, "op-2"))
    waiting = await queue_turn(host, turn_of(ADA, "op-3"))

    replace_owner(store)
    with pytest.raises(Fenced):
        await host.finish_turn(grant, reply())

    with pytest.raises(Fenced):
        await waiting
    with pytest.raises(Fenced):
        await host.begin_turn(turn_of(ADA, "op-4"))
    assert [one.active for one in await host.statistics()] == [0]
    host.close()
    assert await make_host().read_log(ADA) == (made,)


async def test_a_fenced_host_creates_and_deletes_nothing(
    host: ModelHost, make_host: MakeHost, store: Store
) -> None:
    await host.create_model(ADA)

    replace_owner(store)
    with pytest.raises(Fenced):
        await host.create_model(BEN)
    with pytest.raises(Fenced):
        await host.erase_model(ADA)

    host.close()
    page = await make_host().list_models("acme")
    assert [view.model for view in page.models] == [ADA]
