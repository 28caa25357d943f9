"""A lock that is shared fairly among tenants."""

import asyncio

import pytest

from populace.engines.fair_turns import FairTurns


async def test_one_holds_it_at_a_time_and_the_tenant_that_had_least_is_next() -> None:
    turns, held, order = FairTurns(), asyncio.Event(), list[str]()

    async def take(tenant: str) -> None:
        async with turns.turn(tenant, 10):
            assert not turns.is_free
            order.append(tenant)
            await held.wait()

    async with asyncio.TaskGroup() as group:
        for tenant in ("flood", "flood", "flood", "quiet"):
            group.create_task(take(tenant))
        await asyncio.sleep(0)
        assert (order, turns.waiting("flood"), turns.waiting("quiet")) == (["flood"], 2, 1)
        held.set()

    assert order == ["flood", "quiet", "flood", "flood"]
    assert turns.is_free


async def test_those_that_are_cancelled_give_their_turn_back() -> None:
    turns = FairTurns()
    async with turns.turn("ada", 1):
        waits = [asyncio.create_task(turns.turn(tenant, 1).__aenter__()) for tenant in ("bob", "cyd")]
        await asyncio.sleep(0)
        waits[0].cancel()
    # The first was passed the turn or was not, as it happened; the second has it now.
    await waits[1]
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    assert not turns.is_free


async def test_a_turn_that_fails_is_over() -> None:
    turns = FairTurns()
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("ada", 1):
            raise ZeroDivisionError

    assert turns.is_free
