"""Deadlines, passivation, overload and the end of a host, on a clock that the tests drive."""

import asyncio

import pytest

from populace.actors.engine import Message, Sampling
from populace.actors.errors import EngineUnavailable, HostOverloaded, HostUnavailable, TurnExpired
from populace.actors.host.model_host import ModelHost
from populace.actors.host.personal_model import ACTIVATION_BYTES
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ChatRequest, ModelId, TurnGrant
from populace.storage.records.errors import ModelNotFound, RevisionNotFound, ShardStopped
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock, ScriptedEngine, spoken
from tests.actors.turns import grant_of, queue_turn, reply, take_turn, turn_of, wait_until

ADA, BEN, CAT = (ModelId("acme", name) for name in ("ada", "ben", "cat"))
ROOM_FOR_TWO = HostLimits(resident_bytes_max=2 * ACTIVATION_BYTES)


async def active_of(host: ModelHost) -> list[str]:
    page = await host.list_models("acme")
    return [view.model.name for view in page.models if view.active]


async def test_a_turn_ends_by_its_deadline_and_the_next_is_granted(host: ModelHost, clock: FakeClock) -> None:
    await host.create_model(ADA)
    first = await grant_of(host, turn_of(ADA, "op-1", turn_seconds_max=30))
    second = await queue_turn(host, turn_of(ADA, "op-2", turn_seconds_max=30))

    clock.advance(29)
    assert not second.done()
    clock.advance(1)
    granted = await second

    assert isinstance(granted, TurnGrant)
    assert granted.position == 0
    with pytest.raises(TurnExpired):
        await host.finish_turn(first, reply())
    assert await host.read_log(ADA) == ()
    await host.finish_turn(granted, reply())


async def test_a_turn_that_nobody_waits_behind_ends_by_its_deadline_too(
    host: ModelHost, clock: FakeClock
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, turn_seconds_max=30))

    clock.advance(30)

    assert [(one.busy, one.active) for one in await host.statistics()] == [(0, 1)]
    with pytest.raises(TurnExpired):
        await host.finish_turn(grant, reply())


async def test_a_deadline_cannot_end_a_turn_that_is_being_committed(
    host: ModelHost, clock: FakeClock
) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, turn_seconds_max=30))

    commit = asyncio.ensure_future(host.finish_turn(grant, reply()))
    await asyncio.sleep(0)
    clock.advance(1000)

    assert (await commit).position == 0
    assert (await take_turn(host, turn_of(ADA, "op-2"))).position == 1


async def test_a_commit_goes_on_without_the_caller_that_asked_for_it(host: ModelHost) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA))

    leaving = asyncio.ensure_future(host.finish_turn(grant, reply()))
    await asyncio.sleep(0)
    leaving.cancel()
    again = await host.begin_turn(turn_of(ADA))

    assert not isinstance(again, TurnGrant)
    assert (again.position, again.replayed) == (0, True)


async def test_a_grant_of_an_earlier_activation_cannot_end_a_later_turn(
    host: ModelHost, clock: FakeClock
) -> None:
    await host.create_model(ADA)
    early = await grant_of(host, turn_of(ADA, "op-1", turn_seconds_max=30))
    clock.advance(30)
    assert host.passivate(ADA)
    late = await grant_of(host, turn_of(ADA, "op-2"))

    await host.abandon_turn(early, "late")
    with pytest.raises(TurnExpired):
        await host.finish_turn(early, reply())
    made = await host.finish_turn(late, reply())

    assert await host.read_log(ADA) == (made,)


async def test_a_caller_that_leaves_at_the_moment_of_its_grant_passes_the_turn_on(host: ModelHost) -> None:
    await host.create_model(ADA)
    first = await grant_of(host, turn_of(ADA, "op-1"))
    leaving = await queue_turn(host, turn_of(ADA, "op-2"), waiting=1)
    staying = await queue_turn(host, turn_of(ADA, "op-3"), waiting=2)

    await host.abandon_turn(first, "its reader left")
    leaving.cancel()
    granted = await staying

    assert isinstance(granted, TurnGrant)
    assert granted.operation == "op-3"
    assert leaving.cancelled()
    await host.abandon_turn(granted, "the test ends")


async def test_a_model_is_passivated_when_it_was_idle_for_long_enough(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host(limits=HostLimits(idle_seconds_max=300))
    await host.create_model(ADA)
    made = await take_turn(host, turn_of(ADA, "op-1"))

    clock.advance(299)
    early = host.passivate_idle()
    clock.advance(1)
    late = host.passivate_idle()

    assert (early, late) == (0, 1)
    assert await active_of(host) == []
    assert await host.read_log(ADA) == (made,)
    assert (await take_turn(host, turn_of(ADA, "op-2"))).position == 1


async def test_passivation_and_activation_change_nothing_but_where_the_model_is(host: ModelHost) -> None:
    await host.create_model(ADA)
    await take_turn(host, turn_of(ADA, "op-1"))
    view, log = await host.show_model(ADA), await host.read_log(ADA)

    assert host.passivate(ADA)
    assert not (await host.show_model(ADA)).active
    grant = await grant_of(host, turn_of(ADA, "op-2"))

    assert await host.show_model(ADA) == view
    assert await host.read_log(ADA) == log
    assert grant.position == 1
    await host.abandon_turn(grant, "the test ends")


async def test_over_the_byte_budget_the_longest_idle_leaves_first(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host(limits=ROOM_FOR_TWO)
    for model in (ADA, BEN, CAT):
        await host.create_model(model)
    await take_turn(host, turn_of(ADA, "op-1"))
    clock.advance(1)
    await take_turn(host, turn_of(BEN, "op-1"))
    clock.advance(1)
    await take_turn(host, turn_of(ADA, "op-2"))

    await take_turn(host, turn_of(CAT, "op-1"))

    assert await active_of(host) == ["ada", "cat"]
    (statistics,) = await host.statistics()
    assert (statistics.passivations, statistics.resident_bytes) == (1, 2 * ACTIVATION_BYTES)


async def test_a_busy_model_is_never_passivated_and_overload_is_refused(
    make_host: MakeHost, clock: FakeClock
) -> None:
    host = make_host(limits=ROOM_FOR_TWO)
    for model in (ADA, BEN, CAT):
        await host.create_model(model)
    busy = [await grant_of(host, turn_of(model, turn_seconds_max=10_000)) for model in (ADA, BEN)]

    clock.advance(5000)
    assert host.passivate_idle() == 0
    assert not host.passivate(ADA)
    with pytest.raises(HostOverloaded) as refused:
        await host.begin_turn(turn_of(CAT))

    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 0
    assert [one.refusals for one in await host.statistics()] == [1]
    await host.finish_turn(busy[0], reply())
    assert (await take_turn(host, turn_of(CAT))).position == 0
    await host.finish_turn(busy[1], reply())


async def test_a_refused_turn_leaves_the_model_idle(host: ModelHost) -> None:
    await host.create_model(ADA)

    with pytest.raises(RevisionNotFound):
        await host.begin_turn(turn_of(ADA, alias="canary"))

    assert host.passivate(ADA)


async def test_a_deletion_goes_on_without_the_caller_that_asked_for_it(host: ModelHost) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, "op-1"))

    leaving = asyncio.ensure_future(host.erase_model(ADA))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(ModelNotFound):
        await host.begin_turn(turn_of(ADA, "op-2"))
    with pytest.raises(ModelNotFound):
        await host.erase_model(ADA)
    await host.finish_turn(grant, reply())

    async def is_gone() -> bool:
        return (await host.list_models("acme")).models == ()

    await wait_until(is_gone)


async def test_closing_answers_a_deletion_that_waits_for_the_running_turn(host: ModelHost) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA, "op-1"))
    waiting = await queue_turn(host, turn_of(ADA, "op-2"), waiting=1)
    deletion = asyncio.ensure_future(host.erase_model(ADA))
    with pytest.raises(ModelNotFound):
        await waiting

    host.close()

    for call in (deletion, host.finish_turn(grant, reply()), host.begin_turn(turn_of(ADA, "op-3"))):
        with pytest.raises(ShardStopped):
            await call


async def test_closing_answers_those_who_wait_for_a_turn(host: ModelHost) -> None:
    await host.create_model(ADA)
    await grant_of(host, turn_of(ADA, "op-1"))
    waiting = [await queue_turn(host, turn_of(ADA, f"op-{number}"), waiting=number - 1) for number in (2, 3)]

    host.close()

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [HostUnavailable, HostUnavailable]


async def test_closing_finishes_the_commits_that_were_begun(host: ModelHost, make_host: MakeHost) -> None:
    await host.create_model(ADA)
    grant = await grant_of(host, turn_of(ADA))
    commit = asyncio.ensure_future(host.finish_turn(grant, reply()))
    for _ in range(3):
        await asyncio.sleep(0)

    host.close()

    made = await commit
    assert await make_host().read_log(ADA) == (made,)


@pytest.mark.slow
async def test_a_host_holds_thousands_of_models(make_host: MakeHost) -> None:
    host = make_host()
    models = [ModelId("acme", f"model-{number}") for number in range(5000)]
    await asyncio.gather(*(host.create_model(model) for model in models))

    grants = await asyncio.gather(*(grant_of(host, turn_of(model)) for model in models))
    host.check_integrity()
    await asyncio.gather(*(host.finish_turn(grant, reply()) for grant in grants))
    host.check_integrity()

    (statistics,) = await host.statistics()
    assert (statistics.active, statistics.busy, statistics.turns) == (5000, 0, 5000)
    assert statistics.commits == 10_000
    assert statistics.commit_batches < 1000


async def test_a_host_with_an_engine_runs_whole_turns(make_host: MakeHost) -> None:
    engine = ScriptedEngine(spoken("Hel", "lo."))
    host = make_host(engine=engine)
    await host.create_model(ADA)

    made = await host.chat(ChatRequest(turn_of(ADA), (Message("user", "Hi."),), Sampling()))

    assert (made.reply, made.completion_tokens, made.prompt_tokens) == ("Hello.", 2, 7)
    assert await host.read_log(ADA) == (made,)
    assert [request.prompt for request in engine.requests] == [(Message("user", "Hi."),)]


async def test_a_host_without_an_engine_refuses_to_chat(host: ModelHost) -> None:
    await host.create_model(ADA)

    with pytest.raises(EngineUnavailable):
        await host.chat(ChatRequest(turn_of(ADA), (Message("user", "Hi."),), Sampling()))
