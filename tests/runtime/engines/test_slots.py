"""The gate in front of an engine, without an engine. Time is a number that the test sets."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.actors.errors import EngineOverloaded, EngineUnavailable
from populace.actors.owner import Owner, Rank
from populace.engines.slots import AGEING_SECONDS, AdmissionGate, AdmissionQueue, Ticket


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def entered(queue: AdmissionQueue, key: str | None, now_s: float = 0.0) -> Ticket:
    ticket = Ticket(key, now_s)
    queue.join(ticket)
    assert ticket in queue.admit(now_s)
    return ticket


def waiting(queue: AdmissionQueue, key: str | None, now_s: float = 0.0) -> Ticket:
    ticket = Ticket(key, now_s)
    queue.join(ticket)
    assert ticket not in queue.admit(now_s)
    return ticket


def test_a_request_of_an_adapter_in_flight_passes_one_that_needs_a_slot() -> None:
    queue = AdmissionQueue(places=4, slots=1)
    entered(queue, "a")
    waiting(queue, "b")

    entered(queue, "a", now_s=1.9)


def test_nobody_with_an_adapter_passes_once_the_first_has_waited_its_patience() -> None:
    queue = AdmissionQueue(places=4, slots=1)
    first = entered(queue, "a")
    aged = waiting(queue, "b")
    late = waiting(queue, "a", now_s=2.0)

    queue.leave(first)

    assert queue.admit(2.1) == [aged]
    assert queue.statistics().waiting == 1
    queue.leave(aged)
    assert queue.admit(2.2) == [late]


def test_the_base_needs_no_slot_and_never_waits_for_one() -> None:
    queue = AdmissionQueue(places=4, slots=1)
    entered(queue, "a")
    waiting(queue, "b")

    entered(queue, None, now_s=60.0)


def test_nobody_passes_when_the_places_are_taken() -> None:
    queue = AdmissionQueue(places=1, slots=2)
    first = entered(queue, "a")
    second, third = waiting(queue, "b"), waiting(queue, "a")

    queue.leave(first)

    assert queue.admit(0.0) == [second]
    queue.leave(second)
    assert queue.admit(0.0) == [third]


def test_leaving_twice_is_leaving_once() -> None:
    queue = AdmissionQueue(places=2, slots=1)
    ticket = entered(queue, "a")

    queue.leave(ticket)
    queue.leave(ticket)

    queue.check_integrity()
    assert queue.statistics().running == queue.statistics().adapters_hot == 0


@given(
    keys=st.lists(st.sampled_from([None, "a", "b", "c", "d"]), max_size=40),
    departures=st.lists(st.integers(0, 39), max_size=80),
    slots=st.integers(1, 3),
    places=st.integers(1, 4),
)
def test_limits_hold_and_everyone_enters_in_the_end(
    keys: list[str | None], departures: list[int], slots: int, places: int
) -> None:
    queue = AdmissionQueue(places=places, slots=slots)
    tickets = [Ticket(key, float(index)) for index, key in enumerate(keys)]
    running: list[Ticket] = []
    for index, ticket in enumerate(tickets):
        queue.join(ticket)
        running += queue.admit(float(index))
        queue.check_integrity()
        if running and index < len(departures):
            queue.leave(running.pop(departures[index] % len(running)))

    while running:
        queue.leave(running.pop(0))
        running += queue.admit(1000.0)
        queue.check_integrity()

    assert queue.statistics().waiting == 0


async def test_entering_waits_until_another_leaves() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    second = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([second], timeout=0)
    assert gate.statistics().waiting == 1

    gate.leave(first)

    gate.leave(await second)
    gate.check_integrity()


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    waiter = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([waiter], timeout=0)

    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)

    assert gate.statistics().waiting == 0
    gate.leave(first)
    gate.check_integrity()


async def test_a_waiter_cancelled_in_the_moment_it_is_admitted_gives_the_place_back() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    waiter = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([waiter], timeout=0)

    gate.leave(first)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)

    assert gate.statistics().running == gate.statistics().adapters_hot == 0
    gate.check_integrity()


async def test_one_too_many_waiting_is_refused() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=0, clock=Clock())
    first = await gate.enter("a")

    with pytest.raises(EngineOverloaded):
        await gate.enter("a")

    assert gate.statistics().waiting == 0
    gate.leave(first)


async def test_closing_ends_those_who_wait_and_refuses_those_who_come() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=4, clock=Clock())
    first = await gate.enter("a")
    waiter = asyncio.create_task(gate.enter("b"))
    await asyncio.wait([waiter], timeout=0)

    gate.close("it was closed")

    with pytest.raises(EngineUnavailable):
        await waiter
    with pytest.raises(EngineUnavailable):
        await gate.enter("c")
    gate.leave(first)
    gate.check_integrity()


def of(tenant: str, rank: Rank = Rank.CHAT, key: str | None = None, *, tokens: int = 1) -> Ticket:
    return Ticket(key, 0.0, Owner(tenant, "a-model", rank), prompt_tokens=tokens)


def joined(queue: AdmissionQueue, *tickets: Ticket) -> None:
    for ticket in tickets:
        queue.join(ticket)


def test_the_tenant_that_was_served_least_is_next_whoever_came_first() -> None:
    queue = AdmissionQueue(places=1, slots=1)
    flood = [of("flood", tokens=10) for _ in range(4)]
    joined(queue, *flood)
    assert queue.admit(0.0) == flood[:1]
    late = of("late", tokens=10)
    joined(queue, late)

    queue.leave(flood[0])

    assert queue.admit(0.0) == [late]
    queue.leave(late)
    assert queue.admit(0.0) == [flood[1]]


def test_a_reply_is_charged_as_it_grows() -> None:
    queue = AdmissionQueue(places=2, slots=1)
    long, short = of("long"), of("short")
    joined(queue, long, short, *(waiting := [of("long"), of("short")]))
    assert queue.admit(0.0) == [long, short]
    queue.charge(long, 5)

    queue.leave(short)

    assert queue.admit(0.0) == waiting[1:]


def test_reserved_places_and_slots_are_for_the_chats_of_tenants_that_have_none() -> None:
    queue = AdmissionQueue(places=2, slots=1, reserve=1)
    flood = [of("flood", key="a"), of("flood", key="a"), of("flood", key="a"), of("flood", key="b")]
    joined(queue, *flood)
    assert queue.admit(0.0) == flood[:2]
    background, quiet, again = of("quiet", Rank.BACKGROUND), of("quiet", key="c"), of("quiet", key="c")

    joined(queue, background, quiet, again)

    assert queue.admit(0.0) == [quiet]
    queue.check_integrity()
    queue.leave(flood[0])
    assert queue.admit(0.0) == [], "the reserved place is still taken"
    queue.leave(flood[1])
    assert queue.admit(0.0) == [flood[2]], "of its chats there is none in the engine now"
    queue.check_integrity()


def test_a_chat_goes_before_a_population_and_that_before_the_background() -> None:
    queue = AdmissionQueue(places=1, slots=1)
    running = of("acme", Rank.BACKGROUND)
    joined(queue, running)
    assert queue.admit(0.0) == [running]
    ranks = [Rank.BACKGROUND, Rank.POPULATION, Rank.CHAT]
    tickets = [of("acme", rank) for rank in ranks]
    joined(queue, *tickets)

    entered_in_order: list[Rank] = []
    while running is not None:
        queue.leave(running)
        running = next(iter(queue.admit(0.0)), None)
        entered_in_order += [] if running is None else [running.owner.rank]

    assert entered_in_order == ranks[::-1]


def test_what_has_waited_for_long_is_as_urgent_as_a_chat() -> None:
    queue = AdmissionQueue(places=1, slots=1)
    running, old = of("acme"), of("acme", Rank.BACKGROUND)
    joined(queue, running, old)
    assert queue.admit(0.0) == [running]
    chat = Ticket(None, 2 * AGEING_SECONDS, Owner("acme", "another"))
    joined(queue, chat)

    queue.leave(running)

    assert queue.admit(2 * AGEING_SECONDS) == [old]


async def test_a_full_queue_is_that_of_one_tenant_and_of_one_rank() -> None:
    gate = AdmissionGate(AdmissionQueue(places=1, slots=1), waiting_max=1, clock=Clock())
    await gate.enter(None, Owner("flood"))
    asked = [Owner("flood"), Owner("flood", rank=Rank.BACKGROUND), Owner("quiet")]
    waits = [asyncio.create_task(gate.enter(None, owner)) for owner in asked]
    await asyncio.wait(waits, timeout=0)

    for owner in asked:
        with pytest.raises(EngineOverloaded, match="1 of your requests"):
            await gate.enter(None, owner)

    assert gate.statistics().waiting == len(waits)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    assert gate.statistics().waiting == 0
    gate.check_integrity()


@given(
    asked=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(Rank), st.sampled_from([None, "x", "y", "z"])),
        max_size=40,
    ),
    departures=st.lists(st.integers(0, 39), max_size=80),
    reserve=st.integers(0, 2),
)
def test_every_tenant_enters_in_the_end_and_the_books_balance(
    asked: list[tuple[str, Rank, str | None]], departures: list[int], reserve: int
) -> None:
    queue = AdmissionQueue(places=2, slots=1, reserve=reserve)
    running: list[Ticket] = []
    for index, (tenant, rank, key) in enumerate(asked):
        queue.join(Ticket(key, float(index), Owner(tenant, "", rank)))
        running += queue.admit(float(index))
        queue.check_integrity()
        if running and index < len(departures):
            queue.charge(running[0], 1)
            queue.leave(running.pop(departures[index] % len(running)))

    while running:
        queue.leave(running.pop(0))
        running += queue.admit(1000.0)
        queue.check_integrity()

    assert queue.statistics().waiting == 0
