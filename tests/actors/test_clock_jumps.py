"""A wall clock that jumps neither loses nor doubles a turn, and lets go of nothing before its time.

What is promised: retention counts the time for which a shard was served (``policies/served_time.py``).
The wall clock labels what is made, and decides nothing.
"""

import asyncio
from dataclasses import replace

import pytest

from populace.actors.errors import TurnExpired
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.turn import Interaction, ModelId, TurnGrant
from populace.policies.log_retention import LogLimits
from populace.storage.records.errors import OperationConflict
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.turns import grant_of, reply, revision, take_turn, turn_of

ADA = ModelId("acme", "ada")
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
YEARS_S = 3650 * DAY_S
LIMITS = HostLimits(log=LogLimits(interactions_min=4, seconds_kept=30 * DAY_S))

jumps = pytest.mark.parametrize("jump_s", [-YEARS_S, -3 * DAY_S, 3 * DAY_S, YEARS_S])


async def look_at_the_log(host: ModelHost) -> int:
    """Passivate Ada and wait until her log was looked at; answers where it begins."""
    assert host.passivate(ADA)
    await asyncio.gather(*host._logs._looks.values())
    return (await host.show_model(ADA)).log_start


async def check_retry(host: ModelHost, made: Interaction) -> None:
    """A retry is answered with the turn that was made, and the id is not free for another."""
    assert await host.begin_turn(turn_of(ADA, made.operation)) == replace(made, replayed=True)
    with pytest.raises(OperationConflict):
        await host.begin_turn(turn_of(ADA, made.operation, body=b"another"))


@jumps
async def test_a_retry_finds_its_turn_while_the_clock_is_wrong_and_afterwards(
    make_host: MakeHost, clock: FakeClock, jump_s: float
) -> None:
    host = make_host(limits=LIMITS)
    await host.create_model(ADA)
    before = await take_turn(host, turn_of(ADA, "before"))

    clock.jump(jump_s)
    await check_retry(host, before)
    during = await take_turn(host, turn_of(ADA, "during"))
    clock.jump(-jump_s)
    after = await take_turn(host, turn_of(ADA, "after"))

    clock.advance(DAY_S - 1)
    for made in (before, during, after):
        await check_retry(host, made)
    assert await host.read_log(ADA) == (before, during, after)


@jumps
async def test_a_host_that_starts_with_a_wrong_clock_keeps_what_its_predecessor_promised(
    make_host: MakeHost, clock: FakeClock, jump_s: float
) -> None:
    former = make_host(limits=LIMITS)
    await former.create_model(ADA)
    before = await take_turn(former, turn_of(ADA, "before"))
    former.close()

    clock.jump(jump_s)
    wrong = make_host(limits=LIMITS)
    await check_retry(wrong, before)
    during = await take_turn(wrong, turn_of(ADA, "during"))
    wrong.close()
    clock.jump(-jump_s)
    host = make_host(limits=LIMITS)

    for made in (before, during):
        await check_retry(host, made)
    assert await host.read_log(ADA) == (before, during)


@jumps
async def test_an_id_is_free_after_its_time_whatever_the_clock_says(
    make_host: MakeHost, clock: FakeClock, jump_s: float
) -> None:
    host = make_host(limits=LIMITS)
    await host.create_model(ADA)
    made = await take_turn(host, turn_of(ADA))
    clock.jump(jump_s)

    clock.advance(DAY_S - 1)
    await check_retry(host, made)
    clock.advance(1)

    assert (await take_turn(host, turn_of(ADA))).position == 1


@jumps
async def test_a_log_is_kept_for_its_time_and_not_longer_whatever_the_clock_says(
    make_host: MakeHost, clock: FakeClock, jump_s: float
) -> None:
    host = make_host(limits=LIMITS)
    await host.create_model(ADA)
    for number in range(64):
        await take_turn(host, turn_of(ADA, f"op-{number}"))
    await asyncio.gather(*host._logs._looks.values())

    clock.advance(2 * DAY_S)
    clock.jump(jump_s)
    await take_turn(host, turn_of(ADA, "during"))
    assert await look_at_the_log(host) == 0

    clock.advance(28 * DAY_S - 1)
    await take_turn(host, turn_of(ADA, "late"))
    assert await look_at_the_log(host) == 0
    clock.advance(1)
    await take_turn(host, turn_of(ADA, "later"))
    assert await look_at_the_log(host) == 63


@jumps
async def test_a_deadline_and_an_idle_time_are_not_the_wall_clocks_business(
    make_host: MakeHost, clock: FakeClock, jump_s: float
) -> None:
    host = make_host(limits=LIMITS)
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, turn_seconds_max=30))

    clock.jump(jump_s)
    clock.advance(29)
    made = await host.finish_turn(grant, reply())
    late = await grant_of(host, turn_of(ADA, "late", turn_seconds_max=30))
    clock.jump(-2 * jump_s)
    clock.advance(30)
    with pytest.raises(TurnExpired):
        await host.finish_turn(late, reply())

    assert host.passivate_idle() == 0
    clock.advance(LIMITS.idle_seconds_max)
    assert host.passivate_idle() == 1
    assert await host.read_log(ADA) == (made,)


async def test_what_is_made_says_when_by_the_wall_clock(make_host: MakeHost, clock: FakeClock) -> None:
    host = make_host(limits=LIMITS)
    created = await host.create_model(ADA)
    clock.jump(-DAY_S)

    made = await take_turn(host, turn_of(ADA))

    assert made.created_ms == created.created_ms - DAY_S * 1000 == clock.epoch_ms()


async def test_lists_are_whole_and_in_one_order_under_a_clock_that_was_set_back(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host(limits=LIMITS)
    for name in ("c", "a", "b"):
        await host.create_model(ModelId("acme", name))
        clock.jump(-DAY_S)
    model = ModelId("acme", "a")
    # Two that were made before the clock was set back, and two of one moment after it.
    published = [revision(seed, made_ms) for seed, made_ms in (("1", 8), ("2", 9), ("3", 3), ("4", 3))]
    for one in published:
        await host.publish_revision(model, one)
    made = [await take_turn(host, turn_of(model, f"op-{number}")) for number in range(3)]

    page = await host.list_models("acme")
    assert [view.model.name for view in page.models] == ["a", "b", "c"]
    assert list(await host.list_revisions(model)) == sorted(
        published, key=lambda one: (one.created_ms, one.digest)
    )
    assert (await host.show_model(model)).aliases == {"latest": published[-1].digest}
    assert await host.read_log(model) == tuple(made)


async def test_an_idle_host_remembers_for_how_long_it_served(make_host: MakeHost, clock: FakeClock) -> None:
    former = make_host(limits=LIMITS)
    await former.create_model(ADA)
    await take_turn(former, turn_of(ADA))
    for _ in range(24):
        clock.advance(HOUR_S)
        await former.record_time()
    former.close()

    assert isinstance(await make_host(limits=LIMITS).begin_turn(turn_of(ADA)), TurnGrant)
