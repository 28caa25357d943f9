"""A turn outlives the failure of its shard's disk: who has grant and reply can still commit it, once."""

import asyncio

from populace.actors.host.model_host import ModelHost
from populace.actors.turn import Interaction, Reply, TurnGrant
from populace.storage.records.errors import ShardStopped, UnknownOutcome
from tests.actors.test_compaction import ADA, BEN
from tests.actors.test_owned_shards import disk_full
from tests.actors.turns import grant_of, reply, take_turn, turn_of
from tests.limits import HANG_SECONDS


async def lose_shard(host: ModelHost) -> None:
    """Let a turn of Ben fail, and with it the shard of both."""
    await host.create_model(BEN)
    grant = await grant_of(host, turn_of(BEN))
    with disk_full():
        try:
            await host.finish_turn(grant, reply("long" * 100_000))
        except UnknownOutcome:
            return
    raise AssertionError("the disk had room")


async def finish_patiently(host: ModelHost, grant: TurnGrant, answer: Reply) -> Interaction:
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                return await host.finish_turn(grant, answer)
            except ShardStopped:
                await asyncio.sleep(0.001)


async def test_a_turn_granted_before_its_shard_failed_is_committed_when_the_shard_serves_again(
    host: ModelHost,
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA))
    await lose_shard(host)

    made = await finish_patiently(host, grant, reply("kept"))
    again = await host.finish_turn(grant, reply("kept"))

    assert (made.position, made.reply, made.replayed) == (0, "kept", False)
    assert (again.position, again.reply, again.replayed) == (0, "kept", True)
    assert [turn.reply for turn in await host.read_log(ADA)] == ["kept"]


async def test_a_turn_whose_commit_failed_is_committed_by_the_same_call_again(host: ModelHost) -> None:
    await host.create_model(ADA)
    await take_turn(host, turn_of(ADA, "op-1"), "first")
    grant = await grant_of(host, turn_of(ADA, "op-2"))
    answer = reply("long" * 100_000)
    with disk_full():
        try:
            await host.finish_turn(grant, answer)
        except UnknownOutcome:
            pass
        else:
            raise AssertionError("the disk had room")

    made = await finish_patiently(host, grant, answer)

    assert made.position == 1
    assert [turn.operation for turn in await host.read_log(ADA)] == ["op-1", "op-2"]


async def test_a_shard_that_failed_is_not_open_in_the_statistics_until_it_serves_again(
    host: ModelHost,
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA))
    (before,) = await host.statistics()
    await lose_shard(host)
    (lost,) = await host.statistics()
    await finish_patiently(host, grant, reply("kept"))
    (after,) = await host.statistics()

    assert before.store.shards_open == after.store.shards_open == len(before.shards)
    assert lost.store.shards_open == len(before.shards) - 1
    assert lost.store.file_bytes < before.store.file_bytes
